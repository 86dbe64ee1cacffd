"""Figure 4: what is measured of a network on covered faces, checked on maps that are known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import max_pool2d

from occfer import FGW, PlainClassifier, recipes
from occfer.engine.measurements import Measurements
from occfer.engine.records import Record
from occfer.experiments import figure3, figure4, table1
from occfer.experiments.comparison import Difference, difference
from occfer.experiments.study import Study
from occfer.randomness import generator_for, seeded_modules
from occfer.recipes import NetworkRecipe
from occfer.saliency import (
    PARTS,
    attention_map,
    grad_cam,
    occluder_ratio,
    part_masks,
    random_map,
)

SMALL = dict(width=8, stem="small", size=24)


@pytest.fixture(scope="module")
def conditions(synthfer_test) -> dict:
    return figure4.covered_faces(synthfer_test[::25])


@pytest.fixture(scope="module")
def looked(conditions):
    with seeded_modules(0):
        model = FGW(**SMALL).eval()
    chosen = {name: conditions[name] for name in ("0", "20", "30", figure3.MASK)}
    return model, chosen, figure4.look_inside(model, chosen)


def test_masks_are_exact(conditions, synthfer_test) -> None:
    """A block covers its share and leaves all else; beyond a worn mask there is but its shadow.

    The outermost pixels of a worn mask are covered in part: it begins within one of them.
    """
    whole = synthfer_test[::25].images
    for name, faces in conditions.items():
        covered = faces.extras["covered"]
        if name == figure3.MASK:
            assert ((covered.sum(dim=(1, 2)) > 200) & (covered.sum(dim=(1, 2)) < 1000)).all()
            assert (faces.images != whole).any(dim=1)[covered].float().mean() > 0.99
            beyond = ~max_pool2d(covered.float(), 3, stride=1, padding=1).bool()
            assert (faces.images <= whole).all(dim=1)[beyond].all()
        else:
            assert (covered.sum(dim=(1, 2)) == round(int(name) / 100 * 48 * 48)).all()
            assert not ((faces.images != whole).any(dim=1) & ~covered).any()
    expected = figure3.covered_sets(synthfer_test[::25])["15"]
    assert conditions["15"].sha256 == expected.sha256


def test_faces_that_are_wanted_are_covered_as_among_all(conditions, synthfer_test) -> None:
    rows = torch.tensor([11, 2])
    wanted = figure4.covered_faces(synthfer_test[::25], rows)
    assert {name: faces.sha256 for name, faces in wanted.items()} == {
        name: faces[rows].sha256 for name, faces in conditions.items()
    }
    for name, faces in wanted.items():
        assert torch.equal(faces.extras["covered"], conditions[name].extras["covered"][rows])


def test_saliency_by_chance_lies_on_the_occluder_as_often_as_on_anything_else(looked) -> None:
    _, _, found = looked
    for condition in ("20", "30", figure3.MASK):
        values = found.values[condition]
        assert np.mean(values["chance ratio"], dtype=float) == pytest.approx(1, abs=0.03)
        product = values["attention ratio"].astype(float) * values["covered"]
        np.testing.assert_allclose(values["attention on occluder"], product, atol=2e-3)
    assert np.isnan(found.values["0"]["attention ratio"]).all()
    assert found.values["30"]["covered"] == pytest.approx(0.3, abs=1e-3)
    # A mask lies in the middle of a face, where a Gaussian has most of its mass.
    assert np.mean(found.values[figure3.MASK]["middle ratio"], dtype=float) > 1.1


def test_each_face_has_its_own_values_whatever_its_batch(looked, monkeypatch) -> None:
    model, conditions, found = looked
    assert len(conditions["30"]) == 40
    monkeypatch.setattr(figure4, "BATCH", 16)
    again = figure4.look_inside(model, {name: conditions[name] for name in ("0", "30")})
    for condition, values in again.values.items():
        for name, each in values.items():
            # Chance is drawn for each batch, and of equal pixels it decides which one goes first.
            if name.split()[-1] not in ("deletion", "insertion") and "chance" not in name:
                np.testing.assert_allclose(each, found.values[condition][name], atol=2e-3)
    for name in ("shown", "0 attention"):
        np.testing.assert_allclose(again.pictures[name], found.pictures[name], atol=1)
    faces = conditions["30"][17:18]
    saliency = attention_map(model, faces.images / 255)
    ratio = occluder_ratio(saliency, faces.extras["covered"])
    assert found.values["30"]["attention ratio"][17] == pytest.approx(ratio.item(), abs=1e-3)
    mouth = part_masks(faces.landmarks, 48, 48)[0, PARTS.index("mouth")]
    share = (saliency[0] * mouth).sum() / saliency.sum()
    assert found.values["30"]["attention mouth"][17] == pytest.approx(share.item(), abs=1e-3)


def test_what_a_network_looks_at_where_the_occluder_will_be(looked) -> None:
    """Its map of the whole face, on the mask of the covered one; no occluder was in its sight."""
    model, conditions, found = looked
    whole, faces = conditions["0"][21:22], conditions["30"][21:22]
    covered = faces.extras["covered"]
    for name, draw in (("attention", attention_map), ("Grad-CAM", grad_cam)):
        for condition in ("20", "30", figure3.MASK):
            assert f"{name} uncovered ratio" in found.values[condition]
        own = occluder_ratio(draw(model, whole.images / 255), covered).item()
        ratio = found.values["30"][f"{name} uncovered ratio"][21]
        assert ratio == pytest.approx(own, abs=2e-3)
        assert own != pytest.approx(found.values["30"][f"{name} ratio"][21], abs=1e-3)
    assert "middle uncovered ratio" not in found.values["30"]


def test_the_shown_maps_stand_in_for_all_uncovered_ones(conditions) -> None:
    """Two records, whose maps lie on the left half and on the right; the occluder on the left."""
    faces = conditions["30"]
    left = np.zeros((7, 28, 28), np.uint8)
    left[:, :, :14] = 255
    kept = tuple(
        Record({}, Measurements(faces.ids, faces.labels.numpy(), {}, {"0 Grad-CAM": maps}))
        for maps in (left, left[:, :, ::-1].copy())
    )
    covered = torch.zeros(3, 56, 56, dtype=torch.bool)
    covered[:, :, :14] = True
    assert figure4.ratio_of_shown(kept[:1], covered, "Grad-CAM") == pytest.approx(2)
    assert figure4.ratio_of_shown(kept, covered, "Grad-CAM") == pytest.approx(1)
    assert figure4.ratio_of_shown(kept, covered, "attention") is None


def test_shares_of_the_parts_sum_to_one(looked) -> None:
    _, _, found = looked
    for name in figure4.MAPS:
        parts = [found.values["0"][f"{name} {part}"].astype(float) for part in PARTS]
        total = np.sum(parts, axis=0)
        np.testing.assert_allclose(total[~np.isnan(total)], 1, atol=3e-3)


def test_curves_are_kept_and_their_areas_follow_from_them(looked, conditions) -> None:
    _, _, found = looked
    labels = conditions["0"].labels
    chosen = figure4.first_of_each(labels, figure4.CURVED_FACES).tolist()
    for way in ("deletion", "insertion"):
        curves = found.pictures[f"attention {way}"].astype(float)
        areas = found.values["0"][f"attention {way}"].astype(float)
        assert len(curves) == len(chosen)
        np.testing.assert_allclose(np.trapezoid(curves, dx=0.1), areas[chosen], atol=2e-3)
        assert np.isnan(found.values["20"][f"attention {way}"]).all()
    whole, empty = curves[:, -1], found.pictures["attention deletion"][:, 0]
    np.testing.assert_allclose(whole, empty.astype(float), atol=2e-3)


def test_the_first_faces_of_each_expression(conditions) -> None:
    labels = torch.tensor([3, 3, 0, 3, 6, 0, 0])
    assert figure4.first_of_each(labels, 2).tolist() == [0, 1, 2, 4, 5]


def test_a_face_of_each_expression_is_shown(synthfer_test) -> None:
    shown = figure4.one_of_each(synthfer_test.labels)
    assert sorted(synthfer_test.labels[shown].tolist()) == list(range(7))
    assert shown.tolist() == sorted(set(shown.tolist()))
    assert shown.diff().min() > 10, "faces of one person stand together"
    assert figure4.one_of_each(torch.tensor([2, 2, 0])).tolist() == [0, 2]


def test_maps_that_are_shown_keep_their_form() -> None:
    rows = (
        torch.arange(56.0)[None, :, None].expand(2, 56, 56)
        * torch.tensor([1.0, 9.0])[:, None, None]
    )
    found = figure4.as_bytes(rows)
    assert found.shape == (2, 28, 28)
    assert torch.equal(found[0], found[1])
    assert found[0, -1].unique().tolist() == [255]
    assert found[0, 0].unique().tolist() == [round(255 * 0.5 / 54.5)]
    assert (figure4.as_bytes(torch.zeros(1, 56, 56)) == 0).all()


@pytest.mark.parametrize(
    ("kind", "options", "own"),
    [
        (FGW, {}, ["attention", "Grad-CAM"]),
        (FGW, dict(attention="none"), ["Grad-CAM"]),
        (PlainClassifier, {}, ["Grad-CAM"]),
    ],
)
def test_a_network_without_attention_shows_none(kind, options, own, pictures) -> None:
    with seeded_modules(0):
        model = kind(**SMALL, **options).eval()
    images, classes = pictures(2, 3, 48, 48), torch.tensor([1, 4])
    found = figure4.saliency_maps(model, images, classes, generator_for(0))
    assert list(found) == [*own, "chance", "middle", "coarse chance"]
    assert all(each.shape == (2, 48, 48) for each in found.values())
    # What is drawn after the maps does not depend on the coarse one, which early records lack.
    generator, other = generator_for(0), generator_for(0)
    figure4.saliency_maps(model, images, classes, generator)
    random_map(images[:, 0], other)
    assert torch.equal(torch.rand(3, generator=generator), torch.rand(3, generator=other))


def test_methods_are_looked_into_once(
    synthfer_test, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(recipes.NETWORKS, "smoke", NetworkRecipe(**SMALL))
    budget = {"pretrain": dict(epochs=1), "finetune": dict(epochs=1, batch_size=32)}
    monkeypatch.setitem(recipes.BUDGETS, "smoke", budget)
    faces = synthfer_test[:56]
    splits = table1.Splits(faces, replace(faces[:14], split="val"), faces[14:42])
    study = Study("toy", "smoke", tmp_path, tmp_path / "runs")
    run = dict(splits=splits, study=study)
    first = figure4.run_method("Res18-scratch", **run)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    again = figure4.run_method("Res18-scratch", **run)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == written
    assert again.values == first.values
    assert again.predictions.metrics() == first.metrics

    # The same network on the same covered pixels as in Figure 3.
    scored = figure3.run_method("Res18-scratch", **run)
    for condition, predictions in scored.predictions.items():
        assert first.metrics[condition]["correct"]["mean"] == pytest.approx(
            predictions.accuracy, abs=1e-5
        )
        role = f"test, {condition}" if condition == figure3.MASK else f"test, {condition} %"
        assert first.values["data"][role]["sha256"] == scored.values["data"][role]["sha256"]
    assert figure4.recorded(study)["Res18-scratch"][0].values == first.values
    told = {name: value for name, value, _ in first.results()}
    assert told["30 correct"] == first.metrics["30"]["correct"]["mean"]
    assert "0 Grad-CAM ratio" not in told


def test_methods_are_compared_face_by_face_over_seeds(conditions) -> None:
    """A tenth more on every face, with both seeds that both have, is beyond chance, however much
    faces differ; seeds that do not agree are not, however many faces do."""
    faces = conditions["30"]
    spread = np.linspace(0.2, 0.8, len(faces))
    sway = np.resize([0.05, -0.05], len(faces))

    def kept(**by_seed: np.ndarray) -> tuple[Record, ...]:
        return tuple(
            Record(
                {"seed": int(seed[1:])},
                Measurements(faces.ids, faces.labels.numpy(), {"30": {"ratio": values}}),
            )
            for seed, values in by_seed.items()
        )

    found = {
        "high": kept(s0=spread + 0.1 + sway, s1=spread + 0.1 - sway, s2=spread - 9),
        "low": kept(s0=spread, s1=spread, s7=spread),
        "torn": kept(s0=spread + 0.3, s1=spread + 0.001),
        "one": kept(s1=spread + 0.1),
        "like": kept(s0=spread + sway),
        "no": (),
    }

    def told(first: str, second: str) -> Difference | None:
        return figure4.compare(found, first, second, "30", "ratio")

    high = told("high", "low")
    assert (high.first, high.second) == pytest.approx((0.6, 0.5), abs=1e-3)
    assert high.by_seed == pytest.approx({0: 0.1, 1: 0.1}, abs=1e-3)
    assert high.verdict == "higher"
    assert told("low", "high").verdict == "lower"
    assert "over 2 seeds)" in str(high)
    assert told("one", "low").verdict == "higher with these networks"
    assert "over faces, by one seed)" in str(told("one", "low"))
    torn = told("torn", "low")
    assert torn.interval_faces[0] > 0 > torn.interval[0]
    assert torn.verdict == "higher with these networks"
    assert told("like", "low").verdict == "not told apart"
    assert told("low", "no") is None
    assert figure4.compare(found, "high", "low", "30", "other") is None


def test_a_face_without_a_value_counts_for_neither() -> None:
    """Of four faces one is missing here and another there: (1 − 2) and (4 − 3) are left."""
    found = difference(
        {0: np.array([1.0, np.nan, 9.0, 4.0])}, {0: np.array([2.0, 9.0, np.nan, 3.0])}
    )
    assert (found.first, found.second, found.mean) == (2.5, 2.5, 0.0)
    assert found.interval_faces == (-1.0, 1.0)


def test_every_seed_is_of_the_same_faces() -> None:
    """With one seed the second face has no value, so that with the other its 9 does not count."""
    nothing = {0: np.zeros(3), 1: np.zeros(3)}
    found = difference({0: np.array([1.0, np.nan, 3]), 1: np.array([1.0, 9, 3])}, nothing)
    assert found.by_seed == {0: 2, 1: 2}
    assert (found.first, found.mean) == (2, 2)
    assert found.interval_faces == (1, 3)


def test_a_measure_without_meaning_gives_no_difference() -> None:
    unknown = {0: np.full(3, np.nan)}
    assert difference(unknown, {0: np.ones(3)}) is None
    assert difference({0: np.ones(3)}, unknown) is None


def test_seeds_that_contradict_each_other_on_every_face_tell_nothing_apart() -> None:
    """−1 and 1 with one seed, 1 and −1 with the other: whatever faces are drawn, the mean is 0."""
    even = np.full(2, 2.0)
    found = difference({0: np.array([1.0, 3.0]), 1: np.array([3.0, 1.0])}, {0: even, 1: even})
    assert found.by_seed == {0: 0, 1: 0}
    assert found.interval_faces == (0, 0)
    assert found.interval is None
    assert str(found).endswith("by 2 seeds that agree)")
    assert found.verdict == "not told apart"


def test_values_are_averaged_over_the_seeds_that_have_them(conditions) -> None:
    faces = conditions["30"]
    found = {
        "low": tuple(
            Record({}, Measurements(faces.ids, faces.labels.numpy(), {"30": {"ratio": values}}))
            for values in (np.zeros(len(faces)), np.full(len(faces), 0.5))
        )
    }
    assert (figure4.values_of(found["low"], "30", "ratio") == 0.25).all()
    assert figure4.values_of(found["low"], "30", "other") is None
