"""``torchrun -m occfer`` as its users start it: two processes, one run, stopped and resumed."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from occfer.engine.curves import read_table
from occfer.engine.models import load_encoder
from occfer.engine.records import Record

ROOT = Path(__file__).resolve().parents[1]
KEPT = {key: value for key, value in os.environ.items() if not key.startswith("OCCFER")}
HERE = {**KEPT, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OCCFER_TIER": "smoke"}
EPOCHS = 2
SMALL = {
    "network.width": 8, "network.size": 24, "batch-size": 128, "epochs": EPOCHS,
    "learning-rate": 1e-3, "save-every-seconds": 0.2,
}  # fmt: skip
PATIENCE = 600
"""Seconds for a machine that has other work to do; on two idle cores a run takes 20."""

pytestmark = pytest.mark.slow


STILL = """
from functools import partial
import occfer.engine.finetune
from occfer.cli import main
from occfer.views import RandomView

occfer.engine.finetune.RandomView = partial(RandomView, crop_aspect=(1.0, 1.0))
main()
"""
"""The command, with crops as wide as they are high: no option of it says so."""
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def started(folder: Path, out: str) -> subprocess.Popen:
    """OCL on the faces of SynthFER, on two processes."""
    return command(folder, "pretrain", "--out", out, "--probe-every", "0")


def command(
    folder: Path, *words: str, launcher: tuple[str, ...] = TORCHRUN,
    program: tuple[str, ...] = ("-m", "occfer"), **recipe,
):  # fmt: skip
    """An occfer command with a small recipe."""
    options = {**SMALL, **recipe}
    chosen = [part for name, value in options.items() for part in (f"--recipe.{name}", str(value))]
    return subprocess.Popen(
        [sys.executable, *launcher, *program, *words, *chosen],
        cwd=folder, env=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def succeeds(run: subprocess.Popen) -> str:
    stdout, stderr = ended(run)
    assert run.returncode == 0, stderr
    return stdout


def ended(run: subprocess.Popen) -> tuple[str, str]:
    """What it said; a run that takes too long is stopped, its processes with it."""
    try:
        return run.communicate(timeout=PATIENCE)
    finally:
        run.terminate()


def test_two_processes_train_one_encoder_and_go_on_to_the_last_bit(tmp_path: Path) -> None:
    said = succeeds(started(tmp_path, "whole"))
    assert said.count("encoder: whole/model") == said.count("record: whole/pretrain") == 1
    assert len(list((tmp_path / "whole" / "tensorboard").iterdir())) == 1
    assert json.loads((tmp_path / "whole" / "recipe.json").read_text())["processes"] == 2
    whole = Record.load(tmp_path / "whole" / "pretrain" / "whole.json").values["history"]
    assert [row["epoch"] for row in whole] == list(range(1, EPOCHS + 1))
    # Among the views of 128 faces chance finds the right one with the loss log(2N - 1), and among
    # the 64 of one process it would with less.
    chance = [math.log(2 * faces - 1) for faces in (SMALL["batch-size"], SMALL["batch-size"] // 2)]
    assert chance[0] > whole[-1]["loss"] > chance[1]
    assert whole[-1]["loss"] < whole[0]["loss"]
    assert read_table(tmp_path / "whole") == whole

    stopped = started(tmp_path, "stopped")
    while not list((tmp_path / "stopped").glob("state-*.json")) and stopped.poll() is None:
        time.sleep(0.05)
    stopped.send_signal(signal.SIGINT)  # torchrun passes it on
    _, stderr = ended(stopped)
    assert stopped.returncode != 0  # a script that goes on after it has to know
    assert "occfer: stopped and saved; the same call goes on from here." in stderr
    places = sorted((tmp_path / "stopped").glob("state-*.json"))
    assert json.loads(places[-1].read_text())["place"]["epoch"] < EPOCHS
    assert not list((tmp_path / "stopped").rglob("model.safetensors"))

    assert succeeds(started(tmp_path, "stopped")).count("record: stopped/pretrain") == 1
    resumed = Record.load(tmp_path / "stopped" / "pretrain" / "stopped.json").values["history"]
    first, second = (
        load_encoder(tmp_path / run / "model").state_dict() for run in ("whole", "stopped")
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [{**row, "seconds": 0} for row in resumed] == [{**row, "seconds": 0} for row in whole]


def test_two_processes_fine_tune_one_network_as_one_process_does(tmp_path: Path) -> None:
    """Each process draws views of its own, so the faces stay as they are; batch norm is shared."""
    words = ["finetune", "--recipe.synchronise-batch-norm", "--recipe.views.crop", "1", "1"]
    recipe = {"method": "plain", "views.rotation": 0, "views.flip": 0, "views.jitter": 0}
    recipe["precision"] = "64-true"  # Adam makes large steps of what rounding leaves in float32
    (tmp_path / "still.py").write_text(STILL)
    for out, launcher in (("two", TORCHRUN), ("one", ())):
        said = succeeds(
            command(
                tmp_path, *words, "--out", out, launcher=launcher, program=("still.py",), **recipe
            )
        )
        assert said.count(f"model: {out}/model") == said.count(f"record: {out}/finetune") == 1
    two, one = (Record.load(tmp_path / out / "finetune" / f"{out}.json") for out in ("two", "one"))
    assert json.loads((tmp_path / "two" / "recipe.json").read_text())["processes"] == 2
    assert two.predictions.ids == one.predictions.ids
    for ours, theirs in zip(two.values["history"], one.values["history"], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-6)
    assert read_table(tmp_path / "two") == two.values["history"]
