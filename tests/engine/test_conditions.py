"""Predictions by condition: kept face by face, compared face by face."""

import numpy as np
import pytest
from sklearn.metrics import auc

from occfer.engine.conditions import (
    Conditions,
    drop,
    load_predictions,
    lost,
    recognised_share,
)
from occfer.engine.evaluate import Predictions
from occfer.engine.records import Record, make_record
from occfer.recipes import as_dict, finetuning

IDS = ("a", "b", "c", "d")
TARGETS = np.array([0, 3, 6, 6])


def said(*labels: int) -> Predictions:
    return Predictions(IDS, TARGETS, np.eye(7, dtype=np.float32)[list(labels)])


@pytest.fixture
def conditions() -> Conditions:
    return Conditions({"0": said(0, 3, 6, 1), "30": said(0, 3, 1, 1)})


def test_each_condition_has_its_own_numbers(conditions) -> None:
    found = conditions.metrics()
    assert list(found) == ["0", "30"]
    assert [each["accuracy"] for each in found.values()] == [0.75, 0.5]
    assert found["30"] == conditions["30"].metrics()


def test_they_survive_their_file(conditions, tmp_path) -> None:
    loaded = load_predictions(conditions.save(tmp_path / "said.npz"))
    assert isinstance(loaded, Conditions)
    assert list(loaded) == list(conditions)
    assert loaded.metrics() == conditions.metrics()
    for name, each in conditions.items():
        assert loaded[name].ids == each.ids
        assert (loaded[name].probabilities == each.probabilities).all()


def test_labels_are_kept_where_half_precision_would_change_them(tmp_path) -> None:
    """Two probabilities that differ by less than half precision can tell."""
    close = np.full((4, 7), 1 / 7, dtype=np.float32)
    close[:, 5] += 1e-6
    conditions = Conditions({"0": Predictions(IDS, TARGETS, close), "30": said(0, 3, 6, 6)})
    loaded = Conditions.load(conditions.save(tmp_path / "said.npz"))
    assert loaded["0"].labels.tolist() == [5, 5, 5, 5]
    assert loaded["0"].probabilities.argmax(axis=1).tolist() == [0, 0, 0, 0]


def test_a_single_set_is_read_as_such(tmp_path) -> None:
    assert isinstance(load_predictions(said(0, 3, 6, 6).save(tmp_path / "one.npz")), Predictions)


def test_a_record_keeps_them(conditions, toy_faces, tmp_path) -> None:
    record = make_record(
        "figure3", "toy", as_dict(finetuning("smoke")), {"test": toy_faces(4).describe()}, [], 1.0,
        conditions,
    )  # fmt: skip
    loaded = Record.load(record.save(tmp_path))
    assert loaded.predictions.metrics() == loaded.metrics == conditions.metrics()


def test_the_drop_is_told_in_points_and_relative(conditions) -> None:
    points, relative = drop(conditions["0"], conditions["30"])
    assert points == pytest.approx(25)
    assert relative == pytest.approx(1 / 3)
    # Where nothing was recognised before, there is nothing to be relative to.
    points, relative = drop(said(1, 1, 1, 1), said(0, 3, 6, 6))
    assert points == -100
    assert np.isnan(relative)


def test_what_each_face_loses_averages_to_the_drop(conditions) -> None:
    each = lost(conditions["0"], conditions["30"])
    assert each.tolist() == [0, 0, 1, 0]
    assert lost(conditions["30"], conditions["0"]).tolist() == [0, 0, -1, 0]
    assert 100 * each.mean() == drop(conditions["0"], conditions["30"])[0]


def test_only_the_same_faces_lose(conditions) -> None:
    few = conditions["30"].among(np.array([True, False, False, False]))
    turned = Predictions(IDS, TARGETS[::-1], np.eye(7)[[0, 3, 6, 6]])
    for other in (few, turned):
        for compare in (drop, lost):
            with pytest.raises(ValueError, match="same faces in the same order, with the same"):
                compare(conditions["0"], other)


def test_recognised_over_part_of_the_range() -> None:
    """Always, never, up to the second of three shares, and only at the last."""
    at = {"10": said(0, 1, 6, 1), "20": said(0, 1, 6, 1), "40": said(0, 1, 1, 6)}
    shares = recognised_share(Conditions({**at, "other": at["10"]}), (10, 20, 40))
    assert shares.tolist() == pytest.approx([1, 0, 2 / 3, 1 / 3])
    heights = [each.accuracy for each in at.values()]
    assert shares.mean() == pytest.approx(auc([10, 20, 40], heights) / 30)
    for no_range in ((), (10,), (20, 10), (10, 10)):
        with pytest.raises(ValueError, match="two or more numbers that rise"):
            recognised_share(Conditions(at), no_range)


def test_other_faces_are_refused() -> None:
    others = Predictions(("a", "b", "c", "x"), TARGETS, np.eye(7)[[0, 3, 6, 6]])
    other_labels = Predictions(IDS, TARGETS[::-1], np.eye(7)[[0, 3, 6, 6]])
    for odd in (others, other_labels):
        with pytest.raises(ValueError, match="same faces in one order, got 2 different sets"):
            Conditions({"0": said(0, 3, 6, 6), "30": odd})
    with pytest.raises(ValueError, match="got 0 different sets"):
        Conditions({})
