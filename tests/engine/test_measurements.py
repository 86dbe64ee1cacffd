"""Measured values of each face: their means, intervals that a second version gives too, files."""

import numpy as np
import pytest
from scipy import stats

from occfer.engine.conditions import load_predictions
from occfer.engine.measurements import Measurements, bootstrap, interval_of_mean, times_drawn
from occfer.engine.records import Record, make_record
from occfer.recipes import as_dict, finetuning

IDS = ("a", "b", "c", "d")
TARGETS = np.array([0, 3, 6, 6])


@pytest.fixture
def measured() -> Measurements:
    values = {
        "block-0": {"ratio": np.full(4, np.nan), "seen": np.array([1, 0, 1, 1])},
        "block-30": {
            "ratio": np.array([0.5, 1.5, np.nan, 1]),
            "share": np.array([1, 0, np.nan, 0]),
        },
    }
    maps = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    return Measurements(IDS, TARGETS, values, {"maps": maps})


def test_means_leave_out_what_has_no_meaning(measured) -> None:
    found = measured.metrics()
    assert found["block-0"]["ratio"] == {"mean": None, "interval_95": None, "count": 0}
    assert found["block-0"]["seen"]["mean"] == 0.75
    assert found["block-30"]["ratio"]["mean"] == 1
    assert found["block-30"]["ratio"]["count"] == 3
    assert found["block-30"]["ratio"]["interval_95"] == [0.5, 1.5]
    assert found["block-30"]["share"]["mean"] == 0.33333


def test_nothing_measured_has_no_means() -> None:
    assert Measurements(IDS, TARGETS, {"0": {}}).metrics() == {"0": {}}
    assert Measurements((), TARGETS[:0], {}).metrics() == {}


def test_every_face_is_as_likely_as_any_other_and_the_draws_are_those_of_the_seed() -> None:
    drawn = times_drawn(7, 4000)
    assert (drawn.sum(axis=1) == 7).all()
    # A face is drawn once in the mean, with a variance of 6/7; five standard errors.
    np.testing.assert_allclose(drawn.mean(axis=0), 1, atol=5 * np.sqrt(6 / 7 / 4000))
    assert (drawn == times_drawn(7, 4000)).all()
    assert (drawn != times_drawn(7, 4000, seed=1)).any()


def test_a_wider_confidence_is_a_wider_interval_and_another_seed_nearly_the_same_one() -> None:
    values = np.random.default_rng(4).normal(size=300)
    (lowest, highest), (low, high) = (interval_of_mean(values, share) for share in (0.99, 0.5))
    assert lowest < low < values.mean() < high < highest
    seeds = np.array([bootstrap(values[None], seed=seed) for seed in (0, 1, 0)])
    assert (seeds[0] == seeds[2]).all()
    assert (seeds[0] != seeds[1]).all()
    np.testing.assert_allclose(seeds[0], seeds[1], atol=0.25 / np.sqrt(300))


def test_intervals_against_scipy() -> None:
    """Two ways to draw 2,000 times; the ends differ by what 2,000 draws leave to chance."""
    values = np.random.default_rng(1).gamma(2.0, size=(3, 200))
    values[1, ::3] = np.nan
    low, high = bootstrap(values)
    for row, *ends in zip(values, low, high, strict=True):
        known = row[~np.isnan(row)]
        theirs = stats.bootstrap(
            (known,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(2)
        )
        error = stats.sem(known)
        assert theirs.standard_error == pytest.approx(error, rel=0.1)
        assert ends == pytest.approx(list(theirs.confidence_interval), abs=0.25 * error)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    draws = np.random.default_rng(3).exponential(size=(400, 150))
    low, high = bootstrap(draws, resamples=500)
    assert np.mean((low < 1) & (high > 1)) == pytest.approx(0.95, abs=0.03)


def test_they_survive_their_file(measured, tmp_path) -> None:
    loaded = load_predictions(measured.save(tmp_path / "measured.npz"))
    assert isinstance(loaded, Measurements)
    assert loaded.metrics() == measured.metrics()
    assert loaded.ids == IDS
    assert loaded.targets.tolist() == TARGETS.tolist()
    assert list(loaded.values) == list(measured.values)
    assert (loaded.pictures["maps"] == measured.pictures["maps"]).all()


def test_a_record_keeps_them(measured, toy_faces, tmp_path) -> None:
    record = make_record(
        "figure4", "toy", as_dict(finetuning("smoke")), {"test": toy_faces(4).describe()}, [], 1.0,
        measured,
    )  # fmt: skip
    loaded = Record.load(record.save(tmp_path))
    assert loaded.predictions.metrics() == loaded.metrics == measured.metrics()


def test_a_value_for_every_face() -> None:
    with pytest.raises(ValueError, match=r"each of the 4 faces, got \[3, 4\]; put NaN"):
        Measurements(IDS, TARGETS, {"block-0": {"ratio": np.ones(3)}})
    with pytest.raises(ValueError, match=r"each of the 4 faces, got \[3, 4\]; put NaN"):
        Measurements(IDS, TARGETS[:3], {"block-0": {"ratio": np.ones(4)}})
