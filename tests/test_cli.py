"""``python -m occfer`` as its users start it: a process of its own, in a folder of its own."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from occfer import PlainClassifier
from occfer.cli import main, training
from occfer.data import load_faces
from occfer.emotions import EMOTIONS
from occfer.engine.curves import read_table
from occfer.engine.evaluate import Predictions, evaluate
from occfer.engine.export import OnnxClassifier
from occfer.engine.models import load_model
from occfer.engine.records import Record
from occfer.plots import save_curves

ROOT = Path(__file__).resolve().parents[1]
# oneDNN's convolutions of 4 channels write beyond their memory on some processors.
TINY = (
    "--recipe.network.width",
    "8",
    "--recipe.network.size",
    "24",
    "--recipe.batch-size",
    "16",
)

pytestmark = pytest.mark.slow


def environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OCCFER")}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OCCFER_TIER": "smoke"}


def occfer(folder: Path, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "occfer", *map(str, arguments)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
    )


def succeeds(folder: Path, *arguments: object) -> str:
    found = occfer(folder, *arguments)
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory, toy_faces) -> Path:
    """A working folder with pictures in ``faces/<split>/<expression>/``."""
    folder = tmp_path_factory.mktemp("work")
    for split, count, seed in (("train", 48, 0), ("val", 18, 1), ("test", 18, 2)):
        faces = toy_faces(count, seed)
        for pixels, label, name in zip(faces.images, faces.labels, faces.ids, strict=True):
            path = folder / "faces" / split / EMOTIONS[label] / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[0].numpy()).save(path)
    return folder


@pytest.fixture(scope="module")
def encoder(place) -> Path:
    out = succeeds(
        place, "pretrain", "--data", "faces", "--out", "ocl", *TINY, "--recipe.epochs", "2"
    )
    assert "encoder: ocl/model" in out
    return place / "ocl" / "model"


@pytest.fixture(scope="module")
def classifier(place, encoder) -> Path:
    out = succeeds(
        place,
        "finetune",
        "--data",
        "faces",
        "--encoder",
        encoder,
        "--out",
        "net",
        *TINY,
        "--recipe.epochs",
        "8",
        "--recipe.learning-rate",
        "0.01",
        "--recipe.patience",
        "8",
    )
    assert "model: net/model" in out
    return place / "net" / "model"


def test_pretraining_leaves_an_encoder_and_a_record(place, encoder) -> None:
    assert load_model(encoder).backbone.channels == 64
    record = Record.load(place / "ocl" / "pretrain" / "ocl.json")
    assert len(record.values["history"]) == 2
    assert record.values["recipe"]["network"]["width"] == 8
    assert record.values["data"]["pool"]["split"] == "train"
    assert {"knn_accuracy", "linear_accuracy", "alignment"} <= record.values["history"][0].keys()


@pytest.mark.parametrize(("run", "record"), [("ocl", "pretrain/ocl"), ("net", "finetune/net")])
def test_a_run_leaves_its_curves(place, encoder, classifier, run, record) -> None:
    history = Record.load(place / run / f"{record}.json").values["history"]
    assert read_table(place / run) == history
    assert list((place / run / "tensorboard").iterdir())
    with Image.open(place / run / "curves.png") as picture:
        assert min(picture.size) > 100


def test_curves_without_room_are_said_and_the_command_goes_on(tmp_path) -> None:
    """No file may grow beyond a kilobyte, which is how a full disk feels."""
    history = [{"epoch": epoch, "loss": 1 / epoch} for epoch in (1, 2)]
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
        with pytest.warns(UserWarning, match=r"curves\.png could not be written .* make room"):
            save_curves(history, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert not list(tmp_path.iterdir())


def test_finetuning_goes_on_from_a_classifier(place, classifier) -> None:
    """Without a step that moves anything, all that was learnt is still known."""
    train = ("--recipe.epochs", "1", "--recipe.learning-rate", "0", "--out", "further")
    succeeds(place, "finetune", "--data", "faces", "--start", classifier, *train, *TINY)
    before, after = (load_model(folder) for folder in (classifier, place / "further" / "model"))
    for name, value in after.named_parameters():
        assert torch.equal(value, before.get_parameter(name)), name
    stated = json.loads((place / "further" / "recipe.json").read_text())
    assert len(stated["start"]) == 64


def test_finetuning_starts_from_the_encoder_and_is_recorded(place, classifier) -> None:
    record = Record.load(place / "net" / "finetune" / "net.json")
    assert record.values["scored"] == "validation"
    assert record.metrics["count"] == 18
    stated = json.loads((place / "net" / "recipe.json").read_text())
    assert len(stated["encoder"]) == 64


def test_evaluation_scores_the_split_that_was_asked_for(place, classifier) -> None:
    out = succeeds(
        place, "evaluate", "--data", "faces", "--model", classifier, "--predictions", "said.npz"
    )
    metrics = json.loads(out)
    predictions = Predictions.load(place / "said.npz")
    assert len(predictions.ids) == metrics["count"] == 18
    assert all(name.startswith("test/") for name in predictions.ids)
    calibration = metrics.pop("calibration_error")
    assert metrics == predictions.metrics()
    assert calibration == pytest.approx(predictions.calibration_error(), abs=2e-3)
    assert metrics["accuracy"] >= 0.95


def test_prediction_names_the_expression_of_each_picture(place, classifier) -> None:
    pictures = [place / "faces" / "test" / EMOTIONS[n] / f"2-{n // 3}.png" for n in (0, 3, 6)]
    lines = succeeds(place, "predict", *pictures, "--aligned", "--model", classifier).splitlines()
    said = [line.split("\t") for line in lines]
    assert [fields[0] for fields in said] == [str(path) for path in pictures]
    assert [fields[1] for fields in said] == ["anger", "happiness", "neutral"]
    assert all(1 / 7 <= float(fields[2]) <= 1 for fields in said)


def test_an_exported_network_says_the_same(place, classifier) -> None:
    out = succeeds(place, "export", "--model", classifier, "--out", "net.onnx", "--side", "24")
    assert out == "onnx: net.onnx\n"
    test = load_faces(place / "faces", "test")
    np.testing.assert_allclose(
        evaluate(OnnxClassifier(place / "net.onnx"), test).probabilities,
        evaluate(load_model(classifier), test).probabilities,
        atol=1e-4,
        rtol=0,
    )


def test_ctrl_c_saves_and_the_same_command_goes_on(place) -> None:
    arguments = ("pretrain", "--data", "faces", "--out", "stopped", *TINY)
    run = subprocess.Popen(
        [sys.executable, "-m", "occfer", *arguments, "--recipe.epochs", "100000"],
        cwd=place,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (place / "stopped" / "recipe.json").exists() and run.poll() is None:
        time.sleep(0.05)
    time.sleep(1)
    run.send_signal(signal.SIGINT)
    _, stderr = run.communicate(timeout=120)
    assert run.returncode == 1
    assert stderr.splitlines()[-1] == (
        "occfer: stopped and saved; the same call goes on from here."
    )
    assert "Traceback" not in stderr
    assert list((place / "stopped").glob("state-*.safetensors"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("evaluate", "--data", "faces", "--model", "nowhere"), "nowhere should hold config.json"),
        (("predict", "face.png", "--model", "nowhere"), "nowhere should hold config.json"),
        (("pretrain", "--data", "no-such-folder"), "'no-such-folder' is neither a data set nor"),
        (("pretrain", "--data", "empty"), "empty"),
        (("finetune", "--data", "faces", "--encoder", "ocl"), "ocl should hold config.json"),
        (("finetune", "--data", "faces", "--encoder", "ocl/model"), "the encoder should have"),
        (("finetune", "--data", "faces", "--encoder", "net/model"), "should hold a pre-trained"),
        (("finetune", "--data", "faces", "--start", "net/model"), "should be the one that the rec"),
        (("finetune", "--data", "faces", "--start", "ocl/model"), "holds a pre-trained encoder"),
        (("predict", "--model", "net/model"), "either pictures or --camera"),
        (("predict", "--camera", "none.avi", "--model", "net/model"), "video none.avi cannot be"),
        (("predict", "text.png", "--model", "net/model"), "text.png"),
        (("predict", "missing.png", "--model", "net/model"), "missing.png"),
        (("export", "--model", "ocl/model"), "holds a pre-trained encoder"),
        (("evaluate", "--data", "faces", "--model", "ocl/model"), "holds a pre-trained encoder"),
        (("pretrain", "--data", "faces", "--recipe.views.flip", "2"), "flip is a probability"),
        (("pretrain", "--data", "faces", "--out", "ocl"), "ocl holds a run of another recipe"),
        (("reproduce", "datacard", "--shrink", "True"), "all their epochs, but --shrink would cut"),
        (("reproduce", "datacard", "--rows", "left"), "one of whole, upper, lower, grey, to-"),
    ],
)
def test_bad_input_is_one_sentence(
    place, encoder, classifier, arguments, said, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(place)
    (place / "empty").mkdir(exist_ok=True)
    (place / "text.png").write_text("not a picture")
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert str(stop.value.code).startswith("occfer: ")
    assert said in stop.value.code
    assert "\n" not in stop.value.code
    assert capsys.readouterr().out == ""


def test_an_error_is_said_on_stderr_without_a_trace(place) -> None:
    found = occfer(place, "predict", "face.png", "--model", "nowhere")
    assert found.returncode == 1
    assert found.stdout == ""
    assert found.stderr.startswith("occfer: nowhere should hold config.json")
    assert found.stderr.count("\n") == 1


def installed() -> tuple[str, ...]:
    """``occfer`` as pip writes it, a script that calls what pyproject.toml names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, function = project["scripts"]["occfer"].split(":")
    return "-c", f"import sys; from {module} import {function}; sys.exit({function}())"


WAYS = {"occfer": installed(), "python -m occfer": ("-m", "occfer")}
either_way = pytest.mark.parametrize("way", WAYS)


def started(way: str, *arguments: str, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-X", "importtime", *WAYS[way], *arguments],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def without_times(stderr: str) -> str:
    return "".join(
        line for line in stderr.splitlines(keepends=True) if not line.startswith("import time:")
    )


@either_way
def test_an_impossible_tier_is_one_sentence(way) -> None:
    command = started(way, "--help", env={**environment(), "OCCFER_TIER": "foo"})
    out, stderr = command.communicate()
    assert (command.returncode, out) == (2, "")
    assert without_times(stderr) == (
        "occfer: OCCFER_TIER must be one of smoke, laptop, paper, got 'foo'.\n"
    )


@either_way
@pytest.mark.parametrize("module", ["torch.version", "torch", "occfer.emotions"])
def test_ctrl_c_during_the_imports_is_one_sentence(way, module) -> None:
    # Tests that run in the background ignore Ctrl-C, and so would what they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    command = started(way, "--help", env=environment())
    signal.signal(signal.SIGINT, before)
    for line in command.stderr:
        if line.endswith(f" {module}\n"):
            break
    command.send_signal(signal.SIGINT)
    out, stderr = command.communicate()
    assert (command.returncode, out) == (130, "")
    assert without_times(stderr) == "occfer: stopped\n"


def test_the_installed_command_is_the_command() -> None:
    command = started("occfer", "--help", env=environment())
    out, _ = command.communicate()
    assert command.returncode == 0
    assert "pretrain" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ("pretrain", "--recipe.network.width", "10000000000", "--out", "huge"),
        ("finetune", "--recipe.network.width", "10000000000", "--out", "huge"),
        ("export", "--side", "200000"),
    ],
)
def test_a_lack_of_memory_is_one_sentence(tmp_path, monkeypatch, arguments) -> None:
    monkeypatch.chdir(tmp_path)
    if arguments[0] == "export":
        network = PlainClassifier(width=8, stem="small", size=24)
        arguments += ("--model", str(network.save_pretrained("net")))
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code.startswith("occfer: memory ran out")
    assert "\n" not in stop.value.code


def test_what_is_no_lack_of_memory_keeps_its_trace(monkeypatch) -> None:
    def evaluate(*_, **__) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(training, "load_classifier", evaluate)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        main(["evaluate"])


@pytest.mark.parametrize("name", ["epochs", "temperature"])
def test_a_value_out_of_range_is_named_as_it_was_given(name: str, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["pretrain", f"--recipe.{name}", "0"])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert f"Error parsing what is asked for in recipe: {name} should be" in said
    assert "tyro" not in said
    assert len({len(line) for line in said.splitlines()}) == 1


def test_the_version_is_that_of_the_package(capsys) -> None:
    main(["--version"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert capsys.readouterr().out == f"{project['version']}\n"


@pytest.mark.slow
def test_who_stops_reading_is_told_no_more() -> None:
    """As ``occfer --help | head`` does."""
    words = [sys.executable, "-m", "occfer", "--help"]
    asked = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    asked.stdout.close()
    assert (asked.stderr.read(), asked.wait(timeout=120)) == ("", 1)
    asked.stderr.close()


def test_an_unknown_option_is_explained_by_the_parser(capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["pretrain", "--temprature", "1"])
    assert stop.value.code == 2
    assert "temprature" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("experiment", "records", "row"),
    [("table1", "table1", "Res18-scratch"), ("datacard", "synthfer", "lower")],
)
def test_a_plan_says_what_is_recorded_and_runs_nothing(
    tmp_path, capsys, experiment, records, row
) -> None:
    name = f"synthfer-laptop-{row}-seed0"
    folder = tmp_path / "evidence" / "results" / records
    folder.mkdir(parents=True)
    for suffix in (".json", ".npz"):
        shutil.copy(ROOT / "book" / "results" / records / f"{name}{suffix}", folder)
    before = sorted(tmp_path.rglob("*"))
    chosen = ("--tier", "laptop", "--rows", row, "--out", str(tmp_path / "evidence"))
    main(["reproduce", experiment, *chosen, "--plan"])
    out = capsys.readouterr().out
    assert f"{name}: done" in out
    accuracy = Record.load(folder / f"{name}.json").metrics["accuracy"]
    assert f"{name}\t{accuracy:.4f}\t[" in out
    main(["reproduce", experiment, *chosen])
    assert capsys.readouterr().out == out[out.index(f"{name}\t") :]
    assert sorted(tmp_path.rglob("*")) == before


def test_help_names_every_command(capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert not stop.value.code
    out = capsys.readouterr().out
    for command in ("pretrain", "finetune", "evaluate", "predict", "export", "reproduce"):
        assert command in out
