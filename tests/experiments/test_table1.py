"""Table 1 as a run: small faces, the whole way, and nothing done twice."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

from occfer import recipes
from occfer.data import FaceSet
from occfer.data.duplicates import drop_leaks, occurs_in
from occfer.engine.curves import read_table
from occfer.engine.finetune import build_classifier, fingerprint
from occfer.engine.models import load_encoder
from occfer.engine.records import Record
from occfer.experiments import carry, table1
from occfer.experiments.rows import table1_row
from occfer.experiments.study import Study

NETWORK = dict(width=8, stem="small", size=24)


def faces(count: int, seed: int, split: str) -> FaceSet:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 24, 24), dtype=torch.uint8, generator=generator)
    labels = torch.arange(count) % 7
    return FaceSet(images, labels, [f"{split}-{n}" for n in range(count)], name="toy", split=split)


@pytest.fixture
def splits() -> table1.Splits:
    train, validation, test = faces(42, 0, "train"), faces(14, 1, "val"), faces(14, 2, "test")
    leaked = train.images.clone()
    leaked[5], leaked[9] = validation.images[3], test.images[0]
    return table1.Splits(replace(train, images=leaked), validation, test)


def test_leaks_are_exactly_the_copied_faces(splits: table1.Splits) -> None:
    found = occurs_in(splits.train, splits.validation, splits.test)
    assert found.nonzero().flatten().tolist() == [5, 9]
    assert not set(splits.pool.ids) & {"train-5", "train-9"}
    assert len(drop_leaks(splits.train, splits.train)) == 0


@pytest.fixture
def run(splits: table1.Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """One epoch of a tiny network; what ``run_row`` takes beside the row."""
    small = recipes.NetworkRecipe(**NETWORK)
    monkeypatch.setitem(recipes.NETWORKS, "smoke", small)
    budget = {
        "pretrain": dict(epochs=1, batch_size=16),
        "finetune": dict(epochs=1, batch_size=16),
    }
    monkeypatch.setitem(recipes.BUDGETS, "smoke", budget)
    return dict(splits=splits, study=Study("toy", "smoke", tmp_path / "results", tmp_path / "runs"))


def test_rows_are_recorded_once(run: dict, splits: table1.Splits, tmp_path: Path) -> None:
    first = table1.run_row("OCL+Res18", **run)
    control = table1.run_row("Res18-scratch", **run)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    again = table1.run_row("OCL+Res18", **run)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == written
    assert again.values == first.values
    assert first.predictions.ids == splits.test.ids

    pool = next((tmp_path / "results").rglob("*OCL-seed0.json"))
    assert '"leaks_dropped": 2' in pool.read_text()
    lines = {line.row: line for line in table1.lines(run["study"])}
    assert lines["OCL+Res18"].accuracies == [100 * first.metrics["accuracy"]]
    assert lines["Res18-scratch"].records[0].values == control.values
    assert lines["Res18"].result == "not run"


def test_a_record_names_the_encoder_that_its_row_started_from(run: dict) -> None:
    started = {row: table1.run_row(row, **run) for row in ("OCL+Res18", "SimCLR+Res18")}
    for row, record in started.items():
        name, study = table1.encoder_name(row), run["study"]
        found = fingerprint(load_encoder(study.run(name, 0) / "model"))
        pretrained = Record.load(study.record(name, 0))
        assert record.values["encoder"] == pretrained.values["encoder"] == found
    assert started["OCL+Res18"].values["encoder"] != started["SimCLR+Res18"].values["encoder"]
    assert table1.run_row("Res18-scratch", **run).values["encoder"] is None
    # And where a row is read, not trained.
    assert (
        table1.train_row("OCL+Res18", **run)[1].encoder_fingerprint
        == started["OCL+Res18"].values["encoder"]
    )


def test_the_unleaked_row_never_sees_a_held_out_face(
    run: dict, splits: table1.Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}
    finetune = table1.finetune

    def watched(train, *others, run, **more):
        seen[run.name] = train
        return finetune(train, *others, run=run, **more)

    monkeypatch.setattr(table1, "finetune", watched)
    rows = ("Res18-scratch", "Res18-scratch-unleaked")
    records = {row: table1.run_row(row, **run) for row in rows}
    whole, unleaked = (seen[f"toy-smoke-{row}-seed0"] for row in rows)
    assert whole.ids == splits.train.ids
    assert set(whole.ids) - set(unleaked.ids) == {"train-5", "train-9"}
    for row, faces in zip(rows, (whole, unleaked), strict=True):
        assert records[row].values["data"]["train"] == faces.describe()
        assert records[row].values["data"]["test"] == splits.test.describe()


def test_a_tenth_of_the_labels_is_a_tenth_of_each_expression() -> None:
    mixed = torch.randperm(56, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0] * 31 + [3] * 20 + [-1] * 5)[mixed]
    many = FaceSet(torch.zeros(56, 1, 4, 4, dtype=torch.uint8), labels, [str(n) for n in range(56)])
    splits = table1.Splits(many, faces(14, 1, "val"), faces(14, 2, "test"))
    few = splits.training("OCL+Res18-tenth")
    assert (few.labels == 0).sum() == 4
    assert (few.labels == 3).sum() == 2
    assert len(few) == 6
    assert list(map(int, few.ids)) == sorted(map(int, few.ids))
    assert splits.training("OCL+Res18") is many


def card(run: dict, name: str) -> ModelCard:
    return ModelCard.load(run["study"].run(name, 0) / "model" / "README.md")


def test_a_model_card_tells_the_data_and_the_score_of_its_row(run: dict) -> None:
    table1.train_row("OCL+Res18", **run)
    trained = card(run, "OCL+Res18")
    assert trained.data.eval_results is None
    assert "| train | toy | train | 42 |" in trained.content
    assert "| test |" not in trained.content
    assert "learnt from toy" in trained.content

    metrics = table1.run_row("OCL+Res18", **run).metrics
    scored = card(run, "OCL+Res18")
    [accuracy, f1] = scored.data.eval_results
    assert (accuracy.dataset_split, accuracy.metric_value) == ("test", metrics["accuracy"])
    assert f1.metric_value == metrics["macro_f1"]
    low, high = metrics["accuracy_interval_95"]
    assert f"| its 95 % interval (Wilson) | {low:.4f} to {high:.4f} |" in scored.content
    assert "On 14 faces of the test split of toy" in scored.content
    assert "Not recorded." not in scored.content

    table1.train_row("OCL+Res18", **run)  # as a figure does, which asks for the same network
    assert card(run, "OCL+Res18").content == scored.content
    assert "| pool | toy | train | 40 |" in card(run, "OCL").content
    assert "learnt from toy" in card(run, "OCL").content


def test_a_network_that_was_trained_anew_does_not_boast_of_the_score_of_the_last(run: dict) -> None:
    table1.run_row("Res18-scratch", **run)
    assert card(run, "Res18-scratch").data.eval_results
    shutil.rmtree(run["study"].runs)
    table1.train_row("Res18-scratch", **run)
    assert card(run, "Res18-scratch").data.eval_results is None


@pytest.mark.parametrize(
    ("row", "encoder"),
    [
        ("OCL+Res18", "OCL"),
        ("OCL+Res18+FGW+LGDS", "OCL"),
        ("OCL+Res18-occluded", "OCL"),
        ("SimCLR+Res18", "SimCLR"),
        ("OCL+MobileNetV2", "OCL-MobileNetV2"),
        ("OCL+MobileNetV2+FGW", "OCL-MobileNetV2"),
    ],
)
def test_rows_share_the_encoder_of_their_backbone(row: str, encoder: str) -> None:
    assert table1.encoder_name(row) == encoder


def test_the_mobilenet_row_starts_from_imagenet_and_its_ocl_row_from_nothing(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = shared_data / "weights" / "mobilenet_v2-b0353104.pth"
    if not file.is_file():
        pytest.skip(f"needs weights/{file.name} beside the data sets")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints" / file.name
    place.parent.mkdir(parents=True)
    place.symlink_to(file)
    published = torch.load(file, weights_only=True)["features.0.0.weight"]
    first = {
        row: next(build_classifier(table1_row(row, "laptop")).parameters())
        for row in ("MobileNetV2", "OCL+MobileNetV2", "MobileNetV2-scratch")
    }
    assert torch.equal(first["MobileNetV2"], published)
    assert torch.equal(first["OCL+MobileNetV2"], first["MobileNetV2-scratch"])
    assert not torch.equal(first["MobileNetV2-scratch"], published)


def elsewhere(run: dict, *kept: str) -> dict:
    """The same call on another machine, to which these files of each run were copied."""
    here, folder = run["study"], run["study"].runs.parent / "there"
    there = replace(here, results=folder / "results", runs=folder / "runs")
    shutil.copytree(here.results, there.results)
    for done in here.all_runs():
        for name in kept:
            shutil.copytree(done / name, there.runs / "table1" / done.name / name)
    return {**run, "study": there}


@pytest.mark.parametrize("kept", ["parts", "model"])
def test_a_network_that_came_without_its_run_is_read(run: dict, kept: str, monkeypatch) -> None:
    first = table1.run_row("OCL+Res18", **run)
    _, trained = table1.train_row("OCL+Res18", **run)
    there = elsewhere(run, kept)
    monkeypatch.setattr(table1, "finetune", lambda *_, **__: pytest.fail("was trained anew"))
    _, found = table1.train_row("OCL+Res18", **there)
    assert found.history == first.values["history"]
    told = tuple(first.values[name] for name in ("best_epoch", "seconds", "encoder"))
    assert (found.best_epoch, found.seconds, found.encoder_fingerprint) == told
    for name, value in trained.model.state_dict().items():
        torch.testing.assert_close(found.model.state_dict()[name], value, rtol=1e-3, atol=1e-6)


def test_without_a_record_too_it_is_trained_and_the_plan_says_so(run: dict) -> None:
    table1.run_row("Res18-scratch", **run)
    there = elsewhere(run, "model")
    record = there["study"].record("Res18-scratch", 0)
    folder = there["study"].run("Res18-scratch", 0)
    assert carry.is_finished(folder, record)
    record.unlink()
    assert not carry.is_finished(folder, record)
    table1.train_row("Res18-scratch", **there)
    assert carry.is_finished(folder, record)


def test_another_machine_goes_on_in_the_precision_in_which_a_run_was_begun(
    run: dict, monkeypatch
) -> None:
    monkeypatch.setattr(recipes, "precision", lambda tier: "bf16-mixed")
    first = table1.run_row("OCL+Res18", **run)
    assert first.values["recipe"]["precision"] == "bf16-mixed"
    monkeypatch.setattr(recipes, "precision", lambda tier: "32-true")
    recipe, _ = table1.train_row("OCL+Res18", **run)  # it is finished, and only read
    assert recipe.precision == "bf16-mixed"
    shutil.rmtree(run["study"].run("OCL+Res18", 0) / "model")
    with pytest.warns(UserWarning, match=r"was begun in bf16-mixed and goes on in it, where this"):
        recipe, _ = table1.train_row("OCL+Res18", **run)
    assert recipe.precision == "bf16-mixed"


def test_a_foreign_encoder_of_the_same_name_is_refused(
    run: dict, splits: table1.Splits, monkeypatch
) -> None:
    table1.run_row("OCL+Res18", **run)
    there = {**run, "study": replace(run["study"], results=run["study"].results / "new")}
    other = replace(splits, train=splits.train[:-2])
    with pytest.raises(ValueError, match=r"OCL-seed0 should hold an encoder of the training faces"):
        table1.run_row("OCL+Res18", **{**there, "splits": other})
    monkeypatch.setitem(recipes.BUDGETS["smoke"]["pretrain"], "learning_rate", 0.5)
    with pytest.raises(ValueError, match=r"OCL-seed0 .* with learning_rate 0\.00025 and not 0\.5;"):
        table1.run_row("OCL+Res18", **there)


def test_a_foreign_encoder_that_came_alone_is_refused_too(run: dict, splits: table1.Splits) -> None:
    table1.run_row("OCL+Res18", **run)
    there = elsewhere(run, "model")
    shutil.rmtree(there["study"].results)
    other = {**there, "splits": replace(splits, train=splits.train[:-2])}
    with pytest.raises(ValueError, match=r"OCL-seed0 should hold an encoder of the training faces"):
        table1.run_row("OCL+Res18", **other)
    words = there["study"].run("OCL", 0) / "model" / "config.json"
    stated = json.loads(words.read_text())
    del stated["faces"]  # as older folders
    words.write_text(json.dumps(stated))
    with pytest.warns(UserWarning, match="should say which faces its encoder learnt from"):
        table1.pretrained_encoder("OCL+Res18", **other, seed=0)


def test_a_run_leaves_its_curves(run: dict) -> None:
    record = table1.run_row("OCL+Res18", **run)
    folder, encoder = (run["study"].run(name, 0) for name in ("OCL+Res18", "OCL"))
    assert read_table(folder) == record.values["history"]
    for each in (folder, encoder):
        assert (each / "curves.png").exists()
