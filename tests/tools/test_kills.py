"""Forty runs killed at random moments, and two on a full disk, lose nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.kills import KILLS, RESULTS

ROOT = Path(__file__).resolve().parents[2]
IN_A_SAVE = {"saving tensors", "tensors saved", "renaming .safetensors", "renaming .json"}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> dict[str, dict]:
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("mounts a small file system, which needs root on Linux")
    folder = tmp_path_factory.mktemp("kills")
    subprocess.run(
        [sys.executable, "-m", "tools.kills", str(folder)],
        cwd=ROOT, check=True, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


@pytest.mark.parametrize("method", ["pretrain", "finetune"])
def test_twenty_kills_and_a_full_disk_change_no_bit(tables, method) -> None:
    table = tables[method]
    assert len(table["kills"]) == KILLS == 20
    assert len({*table["weights"].values(), table["full_disk"]["weights"]}) == 1


@pytest.mark.parametrize("method", ["pretrain", "finetune"])
def test_the_last_good_state_survives_every_kill(tables, method) -> None:
    kills = tables[method]["kills"]
    assert [kill["damaged"] for kill in kills] == [[]] * KILLS
    places = [(k["sound"]["epoch"], k["sound"]["step"]) if k["sound"] else (0, 0) for k in kills]
    assert places == sorted(places)
    assert any(kill["killed"] in IN_A_SAVE for kill in kills)
    assert any(kill["killed"] not in IN_A_SAVE for kill in kills)


@pytest.mark.parametrize("method", ["pretrain", "finetune"])
def test_a_full_disk_keeps_the_state_it_had_room_for(tables, method) -> None:
    full = tables[method]["full_disk"]
    assert full["found"] == {"sound": {"epoch": 0, "step": 1}, "damaged": [], "unfinished": []}
    assert "could not be saved in epoch 0, step 2 (" in full["said"]
    assert "No space left on device" in full["said"]
    assert full["said"].endswith("make room for it in FOLDER.")


@pytest.mark.parametrize("name", ["pretrain", "finetune", "pretrain-cuda", "finetune-cuda"])
def test_the_recorded_tables_say_the_same(name) -> None:
    table = json.loads((ROOT / RESULTS / f"{name}.json").read_text())
    on_a_gpu = "NVIDIA" in table["environment"]["device"]
    assert on_a_gpu == name.endswith("-cuda")
    assert len(table["kills"]) == KILLS
    assert len({*table["weights"].values(), table["full_disk"]["weights"]}) == 1
