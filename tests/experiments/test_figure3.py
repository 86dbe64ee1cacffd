"""Figure 3: the same covered pixels for every method, curves from recorded predictions."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from occfer import recipes
from occfer.engine.conditions import Conditions
from occfer.engine.evaluate import Predictions
from occfer.engine.records import Record
from occfer.experiments import figure3, methods, table1
from occfer.experiments.study import Study
from occfer.occlusion.testsets import occluded
from occfer.recipes import NetworkRecipe

RESULTS = Path(__file__).resolve().parents[2] / "book" / "results"


def differing(one, other) -> torch.Tensor:
    """How many pixels differ, per face."""
    return (one.images != other.images).any(dim=1).sum(dim=(1, 2))


def test_each_condition_covers_its_share(synthfer_test) -> None:
    faces = synthfer_test[:16]
    conditions = figure3.covered_sets(faces)
    assert list(conditions) == ["0", "5", "10", "15", "20", "25", "30"]
    assert conditions["0"].sha256 == faces.sha256
    for percent, covered in conditions.items():
        assert covered.ids == faces.ids
        assert torch.equal(covered.labels, faces.labels)
        pixels = round(int(percent) / 100 * 48 * 48)
        found = differing(faces, covered)
        # White noise may equal what it covers in all three channels, but hardly ever does.
        assert (found <= pixels).all()
        assert (found >= pixels - 1).all()
        if percent != "0":
            changed = (faces.images != covered.images).any(dim=1)
            assert not (changed & ~covered.extras["covered"]).any()
            assert (covered.extras["covered"].sum(dim=(1, 2)) == pixels).all()


def test_pixels_are_the_same_every_time_and_differ_by_seed(synthfer_test) -> None:
    faces = synthfer_test[:4]
    assert figure3.cover(faces, 0.2).sha256 == figure3.cover(faces, 0.2).sha256
    assert figure3.cover(faces, 0.2).sha256 != figure3.cover(faces, 0.2, seed=1).sha256


def test_the_manifest_s_blocks_are_others_and_its_masks_the_same(synthfer_test) -> None:
    faces = synthfer_test[:4]
    ours, theirs = figure3.cover(faces, 0.3), occluded(faces, "block-30")
    assert not torch.equal(ours.extras["covered"], theirs.extras["covered"])
    assert figure3.masked(faces).sha256 == occluded(faces, figure3.MASK).sha256


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(recipes.NETWORKS, "smoke", NetworkRecipe(width=8, stem="small", size=24))
    budget = {"pretrain": dict(epochs=1), "finetune": dict(epochs=1, batch_size=32)}
    monkeypatch.setitem(recipes.BUDGETS, "smoke", budget)


def test_methods_are_scored_once_and_drawn_from_the_record(
    small, synthfer_test, tmp_path: Path
) -> None:
    faces = synthfer_test[:56]
    splits = table1.Splits(
        faces,
        replace(faces[:14], split="val"),
        replace(faces[14:42], ids=[f"test/{i}" for i in range(28)], split="test"),
    )
    study = Study("toy", "smoke", tmp_path, tmp_path / "runs")
    run = dict(splits=splits, study=study)
    first = figure3.run_method("Res18-scratch", **run)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    again = figure3.run_method("Res18-scratch", **run)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == written
    assert again.values == first.values

    table = table1.run_row("Res18-scratch", **run)
    assert table.predictions.labels.tolist() == first.predictions["0"].labels.tolist()

    (curve,) = figure3.curves(study)
    heights = [100 * first.metrics[str(ratio)]["accuracy"] for ratio in figure3.RATIOS]
    assert curve.row == "Res18-scratch"
    assert curve.accuracies.tolist() == [heights]
    assert curve.drops[0][0] == pytest.approx(heights[0] - heights[-1])
    assert curve.masked == [100 * first.metrics[figure3.MASK]["accuracy"]]
    middle = [(a + b) / 2 for a, b in pairwise(heights)]
    assert curve.area[0] == pytest.approx(np.mean(middle))
    low, high = curve.drop_interval
    assert low <= curve.drops[0][0] <= high


def test_a_baseline_is_scored_under_the_same_conditions(
    synthfer_test, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = synthfer_test[:84]
    splits = table1.Splits(faces[:56], replace(faces[56:70], split="val"), faces[70:])
    study = Study("toy", "smoke", tmp_path, tmp_path / "runs")
    run = dict(splits=splits, study=study)
    record = figure3.run_method("HOG", **run)
    assert list(record.predictions) == [*map(str, figure3.RATIOS), figure3.MASK]
    assert [row["C"] for row in record.values["history"]] == [1.0, 10.0]
    assert figure3.run_method("HOG", **run).values == record.values
    (curve,) = figure3.curves(study)
    assert curve.row == "HOG"
    # What covers the faces of one method covers them for all.
    monkeypatch.delattr(figure3, "masked")
    assert list(figure3.run_method("LBP", **run).predictions) == list(record.predictions)


def test_the_mask_covers_the_mouth_and_leaves_the_eyes(synthfer_test) -> None:
    faces = synthfer_test[:8]
    changed = (figure3.masked(faces).images != faces.images).any(dim=1)
    for face, points in zip(changed, faces.landmarks.round().long(), strict=True):
        seen = [bool(face[y, x]) for x, y in points.tolist()]
        assert seen[3] or seen[4]
        assert not seen[0]
        assert not seen[1]


def test_seeds_that_were_not_scored_under_a_condition_are_left_out() -> None:
    """Both seeds saw the block, the second one alone the mask."""
    ids, targets = tuple("abcd"), np.zeros(4, np.int64)

    def knows(count: int) -> Predictions:
        said = np.eye(7, dtype=np.float32)[[0 if n < count else 1 for n in range(4)]]
        return Predictions(ids, targets, said)

    curve = figure3.Curve(
        "row",
        (
            Record({"seed": 5}, Conditions({"30": knows(1)})),
            Record({"seed": 7}, Conditions({"30": knows(2), figure3.MASK: knows(3)})),
        ),
    )
    assert {seed: said.accuracy for seed, said in curve.under("30").items()} == {5: 0.25, 7: 0.5}
    assert list(curve.under(figure3.MASK)) == [7]
    assert curve.masked == [75.0]
    assert curve.under("0") == {}


def met(seed: int, **hashes: str) -> Record:
    """A record of four faces under conditions with these hashes."""
    said = Predictions(tuple("abcd"), np.zeros(4, np.int64), np.full((4, 7), 1 / 7, np.float32))
    data = {methods.role(condition): {"sha256": each} for condition, each in hashes.items()}
    values = {"name": f"seed{seed}", "seed": seed, "data": data}
    return Record(values, Conditions(dict.fromkeys(hashes, said)))


def test_records_that_met_other_faces_are_not_compared() -> None:
    here, there = met(0, **{"0": "a", "30": "b", "mask": "c"}), met(1, **{"0": "a", "mask": "d"})
    assert figure3.shared_conditions(here, here) == ("0", "30", "mask")
    assert figure3.shared_conditions(here, there) == ("0",)
    curves = [figure3.Curve("one", (here,)), figure3.Curve("other", (there,))]
    found = figure3.under(curves, "30")
    assert {row: list(said) for row, said in found.items()} == {"one": [0], "other": []}
    assert list(figure3.under(curves, "0")["other"]) == [1]
    with pytest.raises(ValueError, match=r"seed0 and seed1 must have met the same faces .* mask"):
        figure3.under(curves, "mask")


@pytest.mark.parametrize(
    ("data", "tier"), [("synthfer", "laptop"), ("fer2013", "laptop"), ("fer2013", "paper")]
)
def test_within_a_data_set_and_tier_all_records_of_the_book_met_the_same_faces(data, tier) -> None:
    curves = figure3.curves(Study(data, tier, RESULTS))
    for condition in (*map(str, figure3.RATIOS), figure3.MASK):
        assert any(figure3.under(curves, condition).values())


def test_a_block_that_costs_so_many_points_is_read_off_the_mean_curve() -> None:
    """One seed loses a face of twenty at every step, the other three: ten points in the mean."""
    ids, targets = tuple("abcdefghijklmnopqrst"), np.zeros(20, np.int64)

    def record(loses: int) -> Record:
        said = {
            str(ratio): np.eye(7, dtype=np.float32)[(np.arange(20) < loses * step).astype(int)]
            for step, ratio in enumerate(figure3.RATIOS)
        }
        # Row 0 of the identity is the true class, row 1 another one.
        return Record(
            {}, Conditions({r: Predictions(ids, targets, each) for r, each in said.items()})
        )

    curve = figure3.Curve("row", (record(1), record(3)))
    assert curve.accuracies.mean(axis=0).tolist() == [100, 90, 80, 70, 60, 50, 40]
    assert curve.share_lost_at(0) == 0
    assert curve.share_lost_at(10) == pytest.approx(5)
    assert curve.share_lost_at(37) == pytest.approx(18.5)
    assert curve.share_lost_at(60) == pytest.approx(30)
    assert curve.share_lost_at(60.1) is None
