"""Every recorded run in the book can be checked by anyone from what lies beside it."""

import json
from pathlib import Path

import numpy as np
import pytest

from occfer.data import load_faces
from occfer.data.duplicates import drop_leaks, occurs_in
from occfer.emotions import EMOTIONS
from occfer.engine.records import Record
from occfer.experiments import datacard, figure3, figure4, paper, readings, table1
from occfer.experiments.rows import CONTROL_ROWS, TABLE1_ROWS
from occfer.experiments.study import Study
from occfer.recipes import BaselineRecipe, FinetuneRecipe, from_dict

RESULTS = Path(__file__).resolve().parents[2] / "book" / "results"
SYNTHFER = Study("synthfer", "laptop", RESULTS)
# No runs of a network: what MTCNN saw (tests/tools/test_synthfer_quality.py checks that record),
# what becomes of pictures on their way (tests/data), duplicates (test_duplicates.py), costs, what
# was found of runs that were killed (tests/tools/test_kills.py), and what stored predictions say of
# really occluded faces (test_occlusion_ferplus.py).
OTHERS = {"collecting", "duplicates", "kills", "scale", "occlusion-ferplus"}
PATHS = sorted(
    path
    for path in set(RESULTS.glob("*/*.json")) - {RESULTS / "synthfer" / "mtcnn.json"}
    if path.parent.name not in OTHERS
)
ASIDE = {"cut-short", "earlier"}
"""Runs of Table 1 that are no rows of it: those that ended too early, as the engine's page tells,
and the first ones of what was trained twice (chapter 7)."""
SCORED = [path for path in PATHS if path.with_suffix(".npz").exists()]
OWN = "own-faces"
"""Several trainings a record, one after the other: chapter 13."""


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", SCORED, ids=name)
def test_numbers_follow_from_the_predictions(path: Path) -> None:
    record = Record.load(path)
    assert record.predictions.metrics() == record.metrics


@pytest.mark.parametrize("path", PATHS, ids=name)
def test_record_says_how_it_came_about(path: Path) -> None:
    values = Record.load(path).values
    recipe = from_dict(values["recipe"])
    assert path.stem == values["name"]
    assert (
        values["experiment"] == "table1"
        if path.parent.name in ASIDE
        else values["experiment"] == path.parent.name
    )
    assert values["seed"] == recipe.seed
    assert f"-{values['tier']}-" in values["name"]
    assert len(values["environment"]["commit"].rstrip("+")) == 40
    for described in values["data"].values():
        assert len(described["sha256"]) == 64
        assert sum(described["counts"].values()) + described["unlabelled"] == described["count"]
    count = "trial" if isinstance(recipe, BaselineRecipe) else "epoch"
    assert [row[count] for row in values["history"]] == list(range(1, len(values["history"]) + 1))


@pytest.mark.parametrize("path", [p for p in SCORED if p.parent.name != OWN], ids=name)
def test_validation_chose(path: Path) -> None:
    values = Record.load(path).values
    recipe = from_dict(values["recipe"])
    assert isinstance(recipe, FinetuneRecipe | BaselineRecipe)
    accuracies = [row["validation_accuracy"] for row in values["history"]]
    chosen = "best_trial" if isinstance(recipe, BaselineRecipe) else "best_epoch"
    assert accuracies.index(max(accuracies)) + 1 == values[chosen]
    validation = values["data"]["validation"]["sha256"]
    tests = [each for role, each in values["data"].items() if role.startswith("test")]
    if path.parent.name == readings.EXPERIMENT:  # to look for a better reading is to select
        assert values["scored"] == "validation"
        assert Record.load(path).predictions.ids == load_faces("synthfer", "val").ids
        assert not tests
        return
    assert tests
    assert validation not in [each["sha256"] for each in tests]


@pytest.mark.parametrize("path", [p for p in SCORED if p.parent.name == OWN], ids=name)
def test_own_faces_are_split_by_people(path: Path) -> None:
    """Half of the hundred test people; the other half's faces taught and chose."""
    record = Record.load(path)
    counts = {role: each["count"] for role, each in record.values["data"].items()}
    said = list(record.predictions.values())
    people = {face.split("/")[1].split("-")[0] for face in said[0].ids}
    assert len(people) == 50
    assert all(each.ids == said[0].ids for each in said)
    assert counts["test"] == len(said[0].ids)
    assert 0.8 * 500 < counts["learn"] + counts["choose"] <= 500


@pytest.fixture(scope="module")
def covered(shared_data: Path) -> dict[str, str]:
    """What Figure 3's covered pixels of PrivateTest must be, by share in per cent."""
    conditions = figure3.covered_sets(load_faces("fer2013", "test", shared_data))
    return {percent: faces.sha256 for percent, faces in conditions.items()}


@pytest.mark.parametrize("path", [p for p in PATHS if p.stem.startswith("fer2013-")], ids=name)
def test_fer2013_records_used_the_real_splits(
    path: Path, shared_data: Path, covered: dict[str, str]
) -> None:
    values = Record.load(path).values
    splits = {
        split: load_faces("fer2013", split, shared_data) for split in ("train", "val", "test")
    }
    fewer = {
        "unleaked": lambda: drop_leaks(*splits.values()),
        "tenth": lambda: table1.every_tenth(splits["train"]),
    }
    of_row = fewer.get(values.get("row", "").rpartition("-")[2], lambda: splits["train"])
    expected = {
        "train": of_row(),
        "validation": splits["val"],
        "test": splits["test"],
    }
    for role, described in values["data"].items():
        if role == f"test, {figure3.MASK}" or values["experiment"] == figure4.EXPERIMENT:
            # Points found by MTCNN enter the hash, and may differ between machines in a last bit.
            split = splits[{"train": "train", "validation": "val"}.get(role, "test")]
            assert described["counts"] == split.describe()["counts"]
        elif role.startswith("test, "):
            percent = role.removeprefix("test, ").removesuffix(" %")
            assert described["sha256"] == covered[percent]
        elif role == "pool":
            held_out = occurs_in(splits["train"], splits["val"], splits["test"])
            assert described["sha256"] == splits["train"][~held_out].sha256
            assert values["leaks_dropped"] == int(held_out.sum()) > 0
        else:
            assert described["sha256"] == expected[role].sha256


def test_the_papers_table_has_the_rows_we_can_run() -> None:
    assert list(paper.TABLE1) == list(TABLE1_ROWS)
    assert paper.TABLE2["the paper"]["rafdb"] == paper.TABLE1["OCL+Res18+FGW+LGDS"]["rafdb"]
    assert not set(CONTROL_ROWS) & set(TABLE1_ROWS)


def test_a_row_without_a_record_says_not_run(tmp_path: Path) -> None:
    lines = table1.lines(Study("fer2013", "paper", tmp_path))
    assert {line.result for line in lines} == {"not run"}
    assert table1.as_markdown(lines, "fer2013").count("not run") == len(lines)


def test_synthfer_is_neither_trivial_nor_impossible() -> None:
    """What the data card promises of a small network from scratch on people it has never seen."""
    records = SYNTHFER.recorded("whole", datacard.EXPERIMENT)
    assert records
    for record in records:
        heights = [record.metrics[str(ratio)]["accuracy"] for ratio in figure3.RATIOS]
        assert 0.70 <= heights[0] <= 0.95
        assert heights == sorted(set(heights), reverse=True), "covering more must cost more"


def test_happiness_and_surprise_cross_between_rendered_and_real_faces() -> None:
    """Each is recalled at least half as often again as by guessing, both ways."""
    for direction in datacard.TRANSFERS:
        for record in SYNTHFER.recorded(direction, datacard.EXPERIMENT):
            confusion = np.array(record.metrics["confusion"])
            recall = dict(zip(EMOTIONS, confusion.diagonal() / confusion.sum(axis=1), strict=True))
            assert min(recall["happiness"], recall["surprise"]) > 1.5 / len(EMOTIONS)


def test_costs_of_aligning_follow_from_what_was_counted() -> None:
    """Rates from seconds; a face takes its pixels and little more; larger pictures take longer."""
    values = json.loads((RESULTS / "scale" / "align.json").read_text())
    assert len(values["environment"]["commit"]) == 40, "measured on code that is not committed"
    assert values["environment"]["threads"] == 1
    rows = values["rows"]
    for row in rows:
        rate = row["pictures"] / row["processor_seconds"]
        assert row["pictures_per_core_second"] == pytest.approx(rate)
        assert 1 < row["bytes_per_face"] / (3 * 112 * 112) < 1.05
    rates = [row["pictures_per_core_second"] for row in rows]
    assert rates == sorted(rates, reverse=True)
