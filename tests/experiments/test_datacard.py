"""The measurements of SynthFER's data card."""

from pathlib import Path

import numpy as np
import pytest
import torch

from occfer import recipes
from occfer.engine.records import Record
from occfer.experiments import budget, datacard
from occfer.recipes import NetworkRecipe

RESULTS = Path(__file__).resolve().parents[2] / "book" / "results"


def test_the_halves_meet_at_the_tip_of_the_nose(synthfer_test) -> None:
    faces = synthfer_test[:8]
    above, below = datacard.upper(faces), datacard.lower(faces)
    rows = torch.arange(faces.size[0])
    for face, top, bottom, nose in zip(
        faces.images, above.images, below.images, faces.landmarks[:, 2, 1], strict=True
    ):
        shown = rows < nose
        assert 0 < shown.sum() < len(rows)
        assert torch.equal(top[:, shown], face[:, shown])
        assert torch.equal(bottom[:, ~shown], face[:, ~shown])
        assert (top[:, ~shown] == datacard.MASKED).all()
        assert (bottom[:, shown] == datacard.MASKED).all()
    mouths, eyes = faces.landmarks[:, 3:, 1], faces.landmarks[:, :2, 1]
    nose = faces.landmarks[:, 2:3, 1]
    assert (mouths > nose).all()
    assert (eyes < nose).all()


def test_grey_is_the_luminance(synthfer_test) -> None:
    faces = synthfer_test[:4]
    found = datacard.grey(faces)
    assert found.images.shape == (4, 1, *faces.size)
    red, green, blue = faces.images[0, :, 20, 25].tolist()
    expected = 0.299 * red + 0.587 * green + 0.114 * blue
    assert found.images[0, 0, 20, 25].item() == pytest.approx(expected, abs=0.5)
    assert found.ids == faces.ids


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrow network and the first of SynthFER's people, so that a row takes seconds."""
    monkeypatch.setitem(recipes.NETWORKS, "smoke", NetworkRecipe(width=8, stem="small", size=24))
    epochs = {"pretrain": dict(epochs=1), "finetune": dict(epochs=1, batch_size=64)}
    monkeypatch.setitem(recipes.BUDGETS, "smoke", epochs)
    monkeypatch.setattr(budget, "BATCHES", {"cpu": 1, "cuda": 1})
    few = {split: faces[:96] for split, faces in datacard.synthfer_splits("smoke").items()}
    monkeypatch.setattr(datacard, "synthfer_splits", lambda tier: few)


def test_looks_are_recorded_once(small, tmp_path: Path) -> None:
    run = dict(tier="smoke", results=tmp_path, runs=tmp_path / "runs")
    whole, lower = datacard.reproduce(rows=("whole", "lower"), **run)
    assert list(whole.metrics) == ["0", "5", "10", "15", "20", "25", "30"]
    assert lower.metrics["count"] == whole.metrics["0"]["count"]
    assert lower.values["data"]["train"]["sha256"] != whole.values["data"]["train"]["sha256"]
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    again = datacard.reproduce(rows=("whole", "lower"), **run)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == written
    assert [record.values for record in again] == [whole.values, lower.values]
    (found,) = datacard.recorded(tmp_path, "smoke", "lower")
    assert found.values == lower.values


@pytest.mark.parametrize(("split", "role"), [("train", "train"), ("test", "test, 0 %")])
def test_records_of_other_faces_with_the_same_name_are_refused(
    small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str, role: str
) -> None:
    """Such as those of another release of SynthFER."""
    run = dict(rows=("whole",), tier="smoke", results=tmp_path, runs=tmp_path / "runs")
    (record,) = datacard.reproduce(**run)
    splits = datacard.synthfer_splits("smoke")
    monkeypatch.setattr(
        datacard, "synthfer_splits", lambda tier: splits | {split: splits[split][::-1]}
    )
    for dry in (True, False):
        with pytest.raises(ValueError, match=rf"faces of synthfer, .* same name \({role}\); pass"):
            datacard.reproduce(**run, dry=dry)
    assert Record.load(tmp_path / "synthfer" / f"{record.name}.json").values == record.values


@pytest.mark.parametrize("row", datacard.LOOKS)
def test_the_committed_records_are_of_today_s_faces(row: str) -> None:
    (record, *_) = datacard.recorded(RESULTS, "laptop", row)
    today, stated = datacard.faces_of(row, "laptop"), record.values["data"]
    assert {role: stated[role]["sha256"] for role in stated.keys() & today.keys()} == {
        role: faces.sha256 for role, faces in today.items() if role in stated
    }


def test_only_known_rows_are_run(small, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"one of whole, upper, .* got 'left'"):
        datacard.reproduce(tier="smoke", rows=("left",), results=tmp_path)
    with pytest.raises(ValueError, match="is SynthFER's, got data 'rafdb'"):
        datacard.reproduce("rafdb", tier="smoke", results=tmp_path)


def test_networks_cross_between_rendered_and_real_faces(
    small, shared_data: Path, tmp_path: Path
) -> None:
    """On the first faces of FER2013's own splits: what matters here is who is scored on what."""
    run = dict(tier="smoke", root=shared_data, results=tmp_path, runs=tmp_path / "runs")
    there = datacard.run_transfer("to-fer2013", **run)
    assert there.values["data"]["test"]["name"] == "fer2013"
    assert there.values["data"]["train"]["name"] == "synthfer"
    assert there.metrics["count"] == 3589


def test_a_plan_names_what_is_there_and_what_is_missing_and_runs_nothing(
    small, tmp_path: Path
) -> None:
    run = dict(tier="smoke", results=tmp_path / "results", runs=tmp_path / "runs")
    assert len(datacard.reproduce(rows=("lower",), **run)) == 1
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    said: list[str] = []
    rows = ("lower", "grey", "from-fer2013")
    (record,) = datacard.reproduce(rows=rows, seeds=2, dry=True, say=said.append, **run)
    assert record.name == "synthfer-smoke-lower-seed0"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    measured, table = said
    assert measured.startswith("plain resnet18: an epoch takes ")
    lines = [line.split() for line in table.splitlines()]
    assert [(line[0] == "?", *line[2:]) for line in lines[1:-1]] == [
        (row.startswith("from"), f"synthfer-smoke-{row}-seed{seed}:", standing)
        for seed in (0, 1)
        for row, standing in (
            ("lower", "missing" if seed else "done"), ("grey", "missing"),
            ("from-fer2013", "missing"),
        )
    ]  # fmt: skip


def test_time_that_is_up_stops_a_look_and_the_next_call_goes_on(
    small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = dict(epochs=12, batch_size=32, patience=12)
    monkeypatch.setitem(recipes.BUDGETS["smoke"], "finetune", many)
    said: list[str] = []

    def call(folder: str, **more) -> list[Record]:
        where = dict(results=tmp_path / folder / "results", runs=tmp_path / folder / "runs")
        return datacard.reproduce(
            rows=("upper",), tier="smoke", say=said.append, **where, **more
        )  # fmt: skip

    calls, found = 0, []
    while not found:
        # Longer and longer, so that a machine that has other work to do comes to the end too.
        found = call("stopped", minutes=0.04 * 1.5**calls)
        calls += 1
    assert any(each.startswith("The time is up; synthfer-smoke-upper-seed0") for each in said)
    assert any("left to do; the same command goes on" in each for each in said)
    (once,) = call("once")
    assert np.array_equal(found[0].predictions.probabilities, once.predictions.probabilities)
