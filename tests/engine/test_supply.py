"""Faces reach the device the same, whether they lie there or are streamed in bounded memory."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from occfer.engine.pretrain import pretrain
from occfer.engine.supply import Supply
from occfer.engine.team import Team

CPU = torch.device("cpu")


@pytest.fixture
def team() -> Team:
    return Team(Fabric(accelerator="cpu", devices=1))


@pytest.mark.parametrize("first", [0, 2, 5])
def test_streamed_faces_are_the_faces(toy_faces, team, first) -> None:
    faces = toy_faces(41)
    plain = Supply(faces, 8, 3, CPU, team).batches(2, first)
    streamed = Supply(faces, 8, 3, CPU, team, streamed=True).batches(2, first)
    steps = 0
    for batch, same in zip(plain, streamed, strict=True):
        assert (batch.epoch, batch.step, batch.whole) == (same.epoch, same.step, same.whole)
        assert torch.equal(batch.index, same.index)
        assert torch.equal(batch.images, faces.images[batch.index])
        assert torch.equal(batch.images, same.images)
        assert torch.equal(batch.labels, same.labels)
        steps += 1
    assert steps == 5 - first


def test_a_streamed_run_has_the_same_weights(toy_faces, ocl_recipe, monkeypatch) -> None:
    faces, recipe = toy_faces(40), ocl_recipe(epochs=1)
    plain = pretrain(faces, recipe, progress=False).encoder.state_dict()

    class Streamed(Supply):
        def __init__(self, *arguments):
            super().__init__(*arguments, streamed=True)

    monkeypatch.setattr("occfer.engine.run.Supply", Streamed)
    streamed = pretrain(faces, recipe, progress=False).encoder.state_dict()
    assert all(torch.equal(plain[key], streamed[key]) for key in plain)


def test_a_loop_that_is_left_leaves_no_reader_behind(toy_faces, team) -> None:
    batches = Supply(toy_faces(40), 8, 0, CPU, team, streamed=True).batches(0)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("faces")]


def test_two_batches_have_to_fit(toy_faces, team) -> None:
    with pytest.raises(ValueError, match=r"room for two batches, 2 x .* lower batch_size"):
        Supply(toy_faces(40), 8, 0, CPU, team, streamed=True, ram_bytes=9 * 24 * 24)


STREAM = """
import sys
import torch
from lightning_fabric import Fabric
from occfer import FaceSet
from occfer.engine.supply import Supply
from occfer.engine.team import Team

torch.set_num_threads(1)
faces = FaceSet.open(sys.argv[1], verify=False)
supply = Supply(faces, 256, 0, torch.device("cpu"), Team(Fabric(accelerator="cpu", devices=1)),
                streamed=sys.argv[3] == "streamed", ram_bytes=int(sys.argv[2]))

def anonymous():
    words = dict(line.split(":") for line in open("/proc/self/status").read().splitlines())
    return int(words["RssAnon"].split()[0]) * 1024

if sys.argv[3] == "copied":
    before = anonymous()
    copy = faces.images.clone()
    print(anonymous() - before)
else:
    # What is read of a mapped file belongs to the system; what a process takes is anonymous.
    first = next(iter(supply.batches(0)))
    before, most = anonymous() - len(supply._ring) * first.images.nbytes, 0
    for batch in supply.batches(1):
        most = max(most, anonymous())
    print(most - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads memory as Linux tells it")
def test_a_mapped_set_is_streamed_in_less_memory_than_it_has(tmp_path) -> None:
    """64 MiB of faces through 8 MiB; a copy of them is seen by the same measure."""
    from occfer.data import FaceSet

    count = 16384
    images = torch.arange(count * 4096).remainder(251).byte().view(count, 1, 64, 64)
    ids = [str(number) for number in range(count)]
    FaceSet(images, torch.zeros(count, dtype=torch.int64), ids).save(tmp_path / "faces")
    here = Path(__file__).resolve().parents[2]

    def taken(how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", STREAM, str(tmp_path / "faces"), str(8 * 2**20), how],
            capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": str(here)},
        )  # fmt: skip
        return int(done.stdout)

    assert images.nbytes == 64 * 2**20
    assert taken("streamed") <= 8 * 2**20
    assert taken("copied") > 60 * 2**20


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("streamed", [False, True])
def test_a_gpu_gets_the_same_faces(toy_faces, team, streamed) -> None:
    faces, device = toy_faces(411), torch.device("cuda")
    plain = Supply(faces, 8, 3, CPU, team).batches(0)
    there = Supply(faces, 8, 3, device, team, streamed=streamed).batches(0)
    kept = [batch.images.clone() for batch in there]
    for batch, images in zip(plain, kept, strict=True):
        assert images.is_cuda
        assert torch.equal(batch.images, images.cpu())
