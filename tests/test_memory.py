"""Memory that stays: asked of the operating system once, and used again."""

import subprocess
import sys
from pathlib import Path

import pytest

from occfer import memory

# What fresh memory costs, in bytes that the system had to hand out; the median, for small things
# of Python's own may settle in between a few times.
TAKEN = """
import resource
import statistics
import torch

torch.set_num_threads(1)  # others would be missing after a fork

def taken() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(12_000_000)  # 48 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def usually_taken() -> float:
    return statistics.median(taken() for _ in range(21)) * resource.getpagesize()
"""
ASKED = """
import runpy
import sys

print(usually_taken())
print(runpy.run_path(sys.argv[1])["keep_memory"]())
print(usually_taken())
"""
# Each in a process of its own, which begins as the one before it did.
IN_USE = """
import os
from occfer import cli, finetune, load_faces, pretrain, recipes

faces = load_faces("synthfer", "val", size=24)[:16]
network = recipes.NetworkRecipe(width=8, size=24)
options = dict(network=network, epochs=1, batch_size=8, precision="32-true")
cli.Align.run = lambda self: None
uses = {
    "nothing": lambda: None,
    "pretrain": lambda: pretrain(faces, recipes.PretrainRecipe(**options), progress=False),
    "finetune": lambda: finetune(faces, faces, recipes.FinetuneRecipe(**options), progress=False),
    "command": lambda: cli.main(["align", ".", "--out", "."]),
}
for name, use in uses.items():
    if not (child := os.fork()):
        use()
        print(name, usually_taken(), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""
ALL, FEW = 40_000_000, 1_000_000

glibc = pytest.mark.skipif(sys.platform != "linux", reason="malloc of the GNU C library")


def printed(script: str, *arguments: Path) -> list[str]:
    command = [sys.executable, "-c", TAKEN + script, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


@glibc
def test_what_was_freed_is_used_again() -> None:
    before, agreed, after = printed(ASKED, Path(memory.__file__))
    assert agreed == "True"
    assert float(before) > ALL > FEW > float(after)


@glibc
def test_training_and_the_command_keep_their_memory() -> None:
    taken = {name: float(bytes_) for name, bytes_ in map(str.split, printed(IN_USE))}
    assert taken.pop("nothing") > ALL
    assert taken.keys() == {"pretrain", "finetune", "command"}
    assert max(taken.values()) < FEW


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert memory.keep_memory() is False
