"""The measurements of SynthFER's data card."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from occfer import recipes
from occfer.data import FaceSet
from occfer.engine.records import Record
from occfer.experiments import budget, datacard, table1
from occfer.experiments.study import Study
from occfer.recipes import NetworkRecipe

RESULTS = Path(__file__).resolve().parents[2] / "book" / "results"


def test_the_halves_meet_at_the_tip_of_the_nose(synthfer_test) -> None:
    faces = synthfer_test[:8]
    # On the middle of a pixel, so that its row could fall to both halves or to none.
    faces = replace(faces, landmarks=faces.landmarks.round())
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
    for tier in ("smoke", "laptop"):
        network = NetworkRecipe(width=8, stem="small", size=24)
        monkeypatch.setitem(recipes.NETWORKS, tier, network)
        epochs = {"pretrain": dict(epochs=1), "finetune": dict(epochs=1, batch_size=64)}
        monkeypatch.setitem(recipes.BUDGETS, tier, epochs)
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
    (found,) = Study("synthfer", "smoke", tmp_path).recorded("lower", datacard.EXPERIMENT)
    assert found.values == lower.values


def shas(data: dict) -> dict[str, str]:
    """Of the faces in each role, be they there or described."""
    return {
        role: faces.sha256 if isinstance(faces, FaceSet) else faces["sha256"]
        for role, faces in data.items()
        if role != "test, 0 %"
    }


def never(*_, **__) -> None:
    pytest.fail("what is recorded is not trained again")


def test_a_record_says_who_was_learnt_from_and_who_was_asked(
    small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt = []

    def watched(train: FaceSet, validation: FaceSet, recipe, **more):
        learnt.append({"train": train.sha256, "validation": validation.sha256})
        return finetune(train, validation, recipe, **more)

    finetune = datacard.finetune
    monkeypatch.setattr(datacard, "finetune", watched)
    run = dict(study=Study("synthfer", "laptop", tmp_path, tmp_path / "runs"), seed=1)
    record = datacard.run_look("lower", **run)
    stated = shas(record.values["data"])
    assert stated == shas(datacard.faces_of("lower", "laptop"))
    assert learnt == [{role: stated[role] for role in ("train", "validation")}]
    test = datacard.synthfer_splits("laptop")["test"]
    assert record.predictions.ids == tuple(test.ids)
    assert record.values["seed"] == record.values["recipe"]["seed"] == 1
    assert record.values["tier"] == "laptop"
    assert record.values["look"] == "lower"
    assert record.values["best_epoch"] == 1
    monkeypatch.setattr(datacard, "finetune", never)
    assert datacard.run_look("lower", **run).values == record.values


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
    (record, *_) = Study("synthfer", "laptop", RESULTS).recorded(row, datacard.EXPERIMENT)
    today, stated = datacard.faces_of(row, "laptop"), record.values["data"]
    assert {role: stated[role]["sha256"] for role in stated.keys() & today.keys()} == {
        role: faces.sha256 for role, faces in today.items() if role in stated
    }


def test_the_records_of_every_seed_are_looked_at(
    small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = dict(rows=("lower",), tier="smoke", results=tmp_path, runs=tmp_path / "runs", seeds=2)
    first, second = datacard.reproduce(**run)
    assert [first.values["seed"], second.values["seed"]] == [0, 1]
    (tmp_path / "synthfer" / f"{first.name}.json").unlink()
    splits = datacard.synthfer_splits("smoke")
    other = splits | {"train": splits["train"][::-1]}
    monkeypatch.setattr(datacard, "synthfer_splits", lambda tier: other)
    with pytest.raises(ValueError, match=f"{second.name}.* runs of that name in {run['runs']}"):
        datacard.reproduce(**run)


@pytest.mark.parametrize(("minutes", "seconds"), [(2, 120), (None, float("inf"))])
def test_minutes_are_what_is_left(
    small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes, seconds
) -> None:
    found = []
    monkeypatch.setattr(datacard, "_paces", lambda *_: {})
    monkeypatch.setattr(datacard, "carry_out", lambda *given: found.append(given[3]()))
    datacard.reproduce(tier="smoke", results=tmp_path, runs=tmp_path, minutes=minutes)
    assert found == [pytest.approx(seconds, abs=30)]


def test_only_known_rows_are_run(small, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"one of whole, upper, .* got 'left'"):
        datacard.reproduce(tier="smoke", rows=("left",), results=tmp_path)
    for other in ("rafdb", "fer2013"):
        with pytest.raises(ValueError, match=f"is SynthFER's, got data '{other}'"):
            datacard.reproduce(other, tier="smoke", results=tmp_path)
    with pytest.raises(ValueError, match="one of to-fer2013, from-fer2013, got 'grey'"):
        datacard.run_transfer("grey", Study("synthfer", "smoke", tmp_path))


def test_networks_cross_between_rendered_and_real_faces(
    small, shared_data: Path, tmp_path: Path
) -> None:
    """On the first faces of FER2013's own splits: what matters here is who is scored on what."""
    study = Study("synthfer", "smoke", tmp_path, tmp_path / "runs")
    there = datacard.run_transfer("to-fer2013", study, root=shared_data)
    assert there.values["data"]["test"]["name"] == "fer2013"
    assert there.values["data"]["train"]["name"] == "synthfer"
    assert there.metrics["count"] == 3589


@pytest.fixture
def real(small, monkeypatch: pytest.MonkeyPatch) -> dict[str, FaceSet]:
    """What stands for FER2013 at the folder ``here``: SynthFER's faces, grey and mirrored."""
    splits = {
        split: replace(datacard.grey(faces), name="fer2013")
        for split, faces in datacard.synthfer_splits("smoke").items()
    }
    splits = {split: replace(faces, images=faces.images.flip(3)) for split, faces in splits.items()}

    def load(name: str, split: str, root: Path) -> FaceSet:
        assert (name, root) == ("fer2013", Path("here"))
        return splits[split]

    for module in (datacard, table1):
        monkeypatch.setattr(module, "load_faces", load)
    return splits


@pytest.fixture
def transfers(real, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Record]]:
    """Both transfers at the smoke tier, of two epochs so that their pace is known."""
    monkeypatch.setitem(recipes.BUDGETS["smoke"], "finetune", dict(epochs=2, batch_size=64))
    where = dict(root=Path("here"), results=tmp_path / "results", runs=tmp_path / "runs")
    return lambda rows=datacard.TRANSFERS, **more: datacard.reproduce(
        "synthfer", "smoke", rows=rows, **where, **more
    )


def test_either_transfer_learns_from_one_set_and_is_asked_of_the_other(
    real, transfers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, back = transfers()
    rendered = {
        split: datacard.grey(faces) for split, faces in datacard.synthfer_splits("smoke").items()
    }
    for record, row, learnt, asked in (
        (there, "to-fer2013", rendered, real["test"]),
        (back, "from-fer2013", real, rendered["test"]),
    ):
        stated = shas(record.values["data"])
        assert stated == shas(
            {"train": learnt["train"], "validation": learnt["val"], "test": asked}
        )
        assert stated == shas(datacard.faces_of(row, "smoke", Path("here")))
        assert record.predictions.ids == tuple(asked.ids)
        assert record.values["recipe"]["method"] == "plain"
    runs = tmp_path / "runs"
    assert (runs / "synthfer" / "smoke-grey-seed0").is_dir()
    assert (runs / "table1" / "fer2013-smoke-Res18-scratch-seed0").is_dir()
    for module in (datacard, table1):
        monkeypatch.setattr(module, "finetune", never)
    assert [record.values for record in transfers()] == [there.values, back.values]
    monkeypatch.setitem(real, "test", real["test"][::-1])
    with pytest.raises(ValueError, match=r"faces of synthfer and fer2013, .* \(test\); pass"):
        transfers()


def test_a_transfer_has_the_pace_and_the_epochs_of_the_run_that_it_rests_on(
    transfers, tmp_path: Path
) -> None:
    there, back = transfers()
    for record in (there, back):
        (tmp_path / "results" / "synthfer" / f"{record.name}.json").unlink()
    said: list[str] = []
    transfers(dry=True, seeds=2, say=said.append)
    measured, table = said
    assert measured.startswith("plain resnet18: an epoch takes ")
    standing = [line.split(":")[1].strip() for line in table.splitlines()[1:-1]]
    assert standing == ["2 epochs done", "2 epochs done", "missing", "missing"]


@pytest.mark.parametrize(("row", "known"), [("to-fer2013", True), ("from-fer2013", False)])
def test_epochs_on_real_faces_say_nothing_of_the_pace_on_rendered_ones(
    transfers, row: str, known: bool
) -> None:
    """There are far more real ones; and what no row needs is not measured."""
    transfers((row,))
    said: list[str] = []
    transfers((row,), dry=True, say=said.append)
    assert len(said) == 1
    transfers(("lower",), dry=True, say=said.append)
    assert any("(measured)" in words for words in said) is not known


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


@pytest.mark.usefixtures("lost_rings")
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
        # Less than a fast machine needs at first, and longer and longer, so that one that has other
        # work to do comes to the end too.
        found = call("stopped", minutes=0.01 * 1.5**calls)
        calls += 1
    assert any(each.startswith("The time is up; synthfer-smoke-upper-seed0") for each in said)
    assert any("left to do; the same command goes on" in each for each in said)
    (once,) = call("once")
    assert np.array_equal(found[0].predictions.probabilities, once.predictions.probabilities)


def test_a_network_of_table_1_has_the_share_that_was_chosen_there(
    transfers, tmp_path: Path
) -> None:
    """Rendered faces keep all their epochs beside it."""
    there = Study("fer2013", "smoke", runs=tmp_path / "runs")
    budget.Budget(25, 0.5, "a GPU").save(there.budget)
    said: list[str] = []
    transfers(dry=True, say=said.append)
    assert [line.split()[1] for line in said[-1].splitlines()[1:-1]] == ["2", "1"]
    there, back = transfers()
    assert "budget" not in there.values
    stated = back.values["budget"]
    assert (stated["share"], stated["epochs_of_tier"], stated["epochs_planned"]) == (0.5, 2, 1)
    assert back.values["recipe"]["epochs"] == len(back.values["history"]) == 1
