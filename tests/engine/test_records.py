import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tokenize import TokenError
from zipfile import BadZipFile

import numpy as np
import pytest
import torch

import occfer
from occfer.engine import records
from occfer.engine.conditions import Conditions
from occfer.engine.evaluate import Predictions
from occfer.engine.measurements import Measurements
from occfer.engine.records import Record, code_commit, environment, make_record
from occfer.recipes import as_dict, from_dict, pretraining


@pytest.fixture
def predictions() -> Predictions:
    probabilities = np.eye(7, dtype=np.float32)[[0, 3, 3, 6]]
    return Predictions(("a", "b", "c", "d"), np.array([0, 3, 6, 6]), probabilities)


@pytest.fixture
def record(toy_faces, predictions) -> Record:
    return make_record(
        "table1",
        "toy-smoke-Res18-seed0",
        as_dict(pretraining("smoke")),
        {"train": toy_faces(8).describe()},
        [{"epoch": 1, "loss": 0.5}],
        1.25,
        predictions,
        tier="smoke",
        row="Res18",
    )


def test_a_record_survives_its_files(record, predictions, tmp_path) -> None:
    path = record.save(tmp_path)
    assert path == tmp_path / "table1" / "toy-smoke-Res18-seed0.json"
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "toy-smoke-Res18-seed0.json",
        "toy-smoke-Res18-seed0.npz",
    ]
    loaded = Record.load(path)
    assert loaded.values == record.values
    assert loaded.name == record.name
    assert loaded.predictions.ids == predictions.ids
    assert (loaded.predictions.probabilities == predictions.probabilities).all()


def test_a_record_without_scores_is_one_file(toy_faces, tmp_path) -> None:
    record = make_record(
        "pretrain", "ocl", as_dict(pretraining("smoke")), {"pool": toy_faces(4).describe()}, [], 1.0
    )
    path = record.save(tmp_path)
    assert [p.name for p in path.parent.iterdir()] == ["ocl.json"]
    loaded = Record.load(path)
    assert loaded.predictions is None
    assert loaded.metrics == {}


def test_every_number_can_be_computed_again(record, tmp_path) -> None:
    loaded = Record.load(record.save(tmp_path))
    assert loaded.predictions.metrics() == loaded.metrics
    assert loaded.metrics["accuracy"] == 0.75


def test_what_lacks_something_that_a_run_states_is_one_sentence(record, tmp_path) -> None:
    path = record.save(tmp_path)
    [train] = record.values["data"].values()
    nameless = {name: value for name, value in train.items() if name != "sha256"}
    for strange in (
        {"metrics": 5}, {"data": {"train": nameless}}, {"data": {"train": 5}}, {"history": "none"},
        {"recipe": 5}, {"environment": None}, {"name": 5},
    ):  # fmt: skip
        path.write_text(json.dumps(record.values | strange))
        with pytest.raises(ValueError, match="should be the record of a run, but are damaged"):
            Record.load(path)
    for words in ("{}", '{"data": {}}', "[]", "5", "{", "[" * 100_000):
        path.write_text(words)
        with pytest.raises(ValueError, match="should be the record of a run, but are damaged"):
            Record.load(path)


def test_a_recipe_that_cannot_be_read_says_why(record, tmp_path) -> None:
    path, recipe = record.save(tmp_path), record.values["recipe"]
    for strange, why in (
        (recipe | {"epochs": "ten"}, "is damaged"), (recipe | {"kind": ["a"]}, "is damaged"),
        (recipe | {"network": 5}, "is damaged"), ({}, "kind of recipe must be one of"),
        (recipe | {"of_tomorrow": 1}, r"unknown fields \['of_tomorrow'\]; update occfer"),
    ):  # fmt: skip
        path.write_text(json.dumps(record.values | {"recipe": strange}))
        with pytest.raises(ValueError, match=f"states a recipe that cannot be read: .*{why}"):
            Record.load(path)


def test_a_condition_of_which_nothing_was_measured_loses_no_record(record, tmp_path) -> None:
    found = Measurements(("a", "b"), np.zeros(2, int), {"0": {"ratio": np.ones(2)}, "30": {}})
    values = record.values | {"metrics": found.metrics()}
    assert set(Record.load(Record(values, found).save(tmp_path)).metrics) == {"0", "30"}


@pytest.mark.parametrize(
    "damage", [NotImplementedError, TokenError, RuntimeError, EOFError, BadZipFile, OSError]
)
def test_damaged_predictions_are_one_sentence(record, tmp_path, monkeypatch, damage) -> None:
    """Of what NumPy raises for bytes that were changed, all of it was seen."""
    path = record.save(tmp_path)

    def load(_: Path) -> None:
        raise damage("bad")

    monkeypatch.setattr(records, "load_predictions", load)
    with pytest.raises(ValueError, match="should be the record of a run, but are damaged"):
        Record.load(path)


def test_predictions_of_another_run_are_refused(record, predictions, tmp_path) -> None:
    path = record.save(tmp_path)
    other = replace(predictions, targets=np.array([0, 3, 3, 6]))
    other.save(path.with_suffix(".npz"))
    with pytest.raises(ValueError, match=r"beside its own predictions, but .*\.npz gives other"):
        Record.load(path)
    Conditions({"0": predictions}).save(path.with_suffix(".npz"))
    with pytest.raises(ValueError, match="beside its own predictions"):
        Record.load(path)


def test_a_record_whose_predictions_were_lost_is_one_sentence(record, tmp_path) -> None:
    path = record.save(tmp_path)
    path.with_suffix(".npz").unlink()
    with pytest.raises(ValueError, match=r"\.npz is not there; copy it too, or move the record"):
        Record.load(path)


def test_a_curve_is_compared_with_its_own_predictions_condition_by_condition(
    record, predictions, tmp_path
) -> None:
    other = replace(predictions, targets=np.array([0, 3, 3, 6]))
    curve = Conditions({"0": predictions, "30": predictions})
    path = Record(record.values | {"metrics": curve.metrics()}, curve).save(tmp_path)
    assert Record.load(path).metrics == curve.metrics()
    Conditions({"0": other, "30": other}).save(path.with_suffix(".npz"))
    with pytest.raises(ValueError, match="beside its own predictions"):
        Record.load(path)


def test_it_says_what_was_run_on_what_and_with_what(record, toy_faces) -> None:
    values = record.values
    assert from_dict(values["recipe"]) == pretraining("smoke")
    assert values["seed"] == 0
    assert values["tier"] == "smoke"
    assert values["row"] == "Res18"
    assert values["data"]["train"]["sha256"] == toy_faces(8).sha256
    assert values["data"]["train"]["count"] == 8
    assert values["environment"]["python"] == platform.python_version()
    assert values["environment"]["device"]
    assert {"torch", "numpy", "occfer", "commit"} <= values["environment"].keys()
    assert values["peak_memory_bytes"] > 10**7


def test_it_names_neither_the_machine_nor_its_folders_nor_its_user(record) -> None:
    text = json.dumps(record.values)
    assert not re.search(r'"[^"]*(?:/home|/root|/tmp|/Users|\\\\Users)[/\\\\"]', text)
    assert os.getcwd() not in text
    for name in {socket.gethostname(), platform.node()} - {"", "localhost"}:
        assert name not in text


def test_the_commit_is_named_and_marked_where_files_differ() -> None:
    commit = environment()["commit"]
    assert commit is None or re.fullmatch(r"[0-9a-f]{40}\+?", commit)


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    return subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_commit_of_somebody_elses_repository_is_not_the_librarys(tmp_path, monkeypatch) -> None:
    """As where the library is installed in a folder that their .gitignore names."""
    package = tmp_path / ".venv" / "occfer"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(occfer, "__file__", str(package / "__init__.py"))
    assert code_commit() is None
    git(tmp_path, "init")
    (tmp_path / ".gitignore").write_text(".venv\n")
    git(tmp_path, "add", ".gitignore")
    git(tmp_path, "commit", "--message", "theirs")
    assert code_commit() is None
    git(tmp_path, "add", "--force", ".venv")
    git(tmp_path, "commit", "--message", "ours")
    assert code_commit() == git(tmp_path, "rev-parse", "HEAD")
    (package / "__init__.py").write_text("changed = True\n")
    assert code_commit() == git(tmp_path, "rev-parse", "HEAD") + "+"


WITHOUT_RESOURCE = """
import json, math, sys
sys.modules["resource"] = sys.modules["fcntl"] = None
from occfer import *
from occfer.cli import main
from occfer.engine.records import make_record, peak_memory
assert math.isnan(peak_memory())
assert make_record("a", "b", {}, {}, [], 1.0).values["peak_memory_bytes"] is None
"""


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU tells its memory everywhere")
def test_the_library_works_without_what_windows_lacks() -> None:
    command = [sys.executable, "-c", WITHOUT_RESOURCE]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


UNINSTALLED = """
import importlib.metadata as metadata, runpy, sys
version = metadata.version
def asked(name):
    if name == "occfer":
        raise metadata.PackageNotFoundError(name)
    return version(name)
metadata.version, sys.argv[0] = asked, "occfer"
runpy.run_module("occfer", run_name="__main__")
"""


def test_a_copy_of_the_library_that_is_not_installed_is_one_sentence(tmp_path: Path) -> None:
    """As on a machine to which only the files were taken."""
    ours = Path(occfer.__file__).parent
    package = shutil.copytree(ours, tmp_path / "occfer")
    shutil.copy(ours.with_name("occfer_command.py"), tmp_path)
    command = [sys.executable, "-c", UNINSTALLED, "reproduce", "table1", "--plan"]
    done = subprocess.run(command, cwd=package.parent, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr == (
        "occfer: occfer should be installed, so that a record can name its version, but only its "
        f"files are there; run pip install -e {tmp_path}.\n"
    )
