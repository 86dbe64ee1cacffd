"""One other choice at a time: what changes, where it is scored, and what is never touched."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from occfer import recipes
from occfer.data import FaceSet
from occfer.experiments import readings, table1
from occfer.experiments.reproducing import reproduce
from occfer.experiments.rows import (
    METHOD_READINGS,
    OCL_READINGS,
    READINGS,
    WHOLE_METHOD,
    table1_pretraining,
    table1_row,
)
from occfer.experiments.study import Study
from occfer.recipes import stretched


def faces(count: int, seed: int, split: str) -> FaceSet:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 24, 24), dtype=torch.uint8, generator=generator)
    labels = torch.arange(count) % 7
    return FaceSet(images, labels, [f"{split}-{n}" for n in range(count)], name="toy", split=split)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """Two epochs of a tiny network, halved; what ``run_reading`` takes beside the row."""
    monkeypatch.setitem(
        recipes.NETWORKS, "smoke", recipes.NetworkRecipe(width=8, stem="small", size=24)
    )
    epochs = {
        "pretrain": dict(epochs=1, batch_size=16),
        "finetune": dict(epochs=2, batch_size=16),
    }
    monkeypatch.setitem(recipes.BUDGETS, "smoke", epochs)
    splits = table1.Splits(faces(42, 0, "train"), faces(14, 1, "val"), faces(14, 2, "test"))
    study = Study("toy", "smoke", tmp_path / "results", tmp_path / "runs")
    return dict(splits=splits, study=study)


def differences(one, other) -> dict:
    """What two recipes of a kind do not share, from the first to the second."""
    fields = asdict(one).items()
    return {
        name: (value, asdict(other)[name]) for name, value in fields if value != asdict(other)[name]
    }


@pytest.mark.parametrize("row", METHOD_READINGS)
def test_a_reading_of_the_method_changes_what_its_name_says(row: str) -> None:
    changed = differences(table1_row("as-read", "laptop"), table1_row(row, "laptop"))
    assert {name: value for name, (_, value) in changed.items()} == METHOD_READINGS[row]
    names = (f"{name}={value}".removesuffix(".0") for name, (_, value) in changed.items())
    assert row in ("as-read", *names)
    pretraining = table1_pretraining(row, "laptop", seed=3)
    assert pretraining == table1_pretraining(WHOLE_METHOD, "laptop", seed=3)


@pytest.mark.parametrize(
    ("row", "changed"),
    [
        ("OCL-as-read", {}),
        ("one_view=True", {"one_view": (False, True)}),
        ("temperature=0.5", {"temperature": (0.2, 0.5)}),
        ("temperature=0.1", {"temperature": (0.2, 0.1)}),
        ("epochs=2x", {"epochs": (30, 60)}),
        ("occlusion=1", {"occlusion": (0.5, 1.0)}),
        ("occlusion_area=0.05-0.6", {"occlusion_area": ((0.05, 0.3), (0.05, 0.6))}),
    ],
)
def test_a_reading_of_pretraining_changes_that_alone(row: str, changed: dict) -> None:
    usual, other = (table1_pretraining(each, "laptop", seed=3) for each in ("OCL+Res18", row))
    blocks = differences(usual.views, other.views)
    found = differences(usual, other)
    assert {name: value for name, value in found.items() if name != "views"} | blocks == changed
    assert ("views" in found) == bool(blocks)
    assert table1_row(row, "laptop") == stretched(table1_row("OCL+Res18", "laptop"), 0.5)


def test_every_reading_is_of_one_kind() -> None:
    assert sorted(READINGS) == sorted({*METHOD_READINGS, *OCL_READINGS})


def test_as_read_is_the_whole_method_over_half_the_epochs() -> None:
    short, whole = (table1_row(row, "laptop") for row in ("as-read", WHOLE_METHOD))
    assert 2 * short.epochs == whole.epochs
    for epoch in range(short.epochs):
        assert short.learning_rate_at(epoch) == pytest.approx(whole.learning_rate_at(2 * epoch + 1))


def test_an_encoder_of_another_pretraining_has_another_name() -> None:
    names = {row: table1.encoder_name(row) for row in READINGS}
    shared = {*METHOD_READINGS, "OCL-as-read"}
    assert {names.pop(row) for row in shared} == {table1.encoder_name(WHOLE_METHOD)} == {"OCL"}
    assert names == {row: f"OCL-{row}" for row in OCL_READINGS if row != "OCL-as-read"}


def test_readings_are_scored_on_the_validation_split_and_recorded_once(place: dict) -> None:
    test = place["splits"].test
    record = readings.run_reading("head=separate", **place)
    assert record.predictions.ids == place["splits"].validation.ids
    assert not set(record.predictions.ids) & set(test.ids)
    assert set(record.values["data"]) == {"train", "validation"}
    assert record.values["recipe"]["head"] == "separate"
    assert len(record.values["history"]) == 1
    path = place["study"].record("head=separate", 0, "readings")
    written = path.stat().st_mtime_ns
    assert readings.run_reading("head=separate", **place).values == record.values
    assert path.stat().st_mtime_ns == written
    encoders = [each.name for each in place["study"].records()]
    assert encoders == ["toy-smoke-OCL-seed0.json"]


def test_a_reading_of_pretraining_trains_an_encoder_of_its_own(place: dict) -> None:
    record = readings.run_reading("temperature=0.5", **place)
    assert record.values["recipe"]["method"] == "plain"
    [encoder] = place["study"].records()
    assert encoder.name == "toy-smoke-OCL-temperature=0.5-seed0.json"
    assert json.loads(encoder.read_text())["recipe"]["temperature"] == 0.5


def test_only_readings_are_readings(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rows of readings should be among as-read, restrain_"):
        reproduce.reproduce("readings", rows=("OCL+Res18",), results=tmp_path, runs=tmp_path)
    with pytest.raises(ValueError, match=r"rows of table1 should.*got head=separate"):
        reproduce.reproduce("table1", rows=("head=separate",), results=tmp_path, runs=tmp_path)
    assert not list(tmp_path.iterdir())
