"""Whoever watches a run adds to its rows and changes nothing else of it."""

import os
import signal

import pytest
import torch

from occfer.engine.finetune import finetune
from occfer.engine.pretrain import pretrain
from occfer.fgw import FGW
from occfer.ocl import OCL


@pytest.fixture(scope="module")
def run(toy_faces, ocl_recipe, fgw_recipe):
    """``run(method, folder=None, watchers=())``: weights, and the rows without wall times."""
    faces = toy_faces(40)

    def make(method, folder=None, watchers=()):
        options = dict(run=folder, progress=False, watchers=watchers)
        if method == "pretrain":
            found = pretrain(faces, ocl_recipe(), **options)
            weights = found.encoder.state_dict()
        else:
            found = finetune(faces, faces, fgw_recipe(), **options)
            weights = found.model.state_dict()
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in found.history]
        return weights, rows

    return make


def rude(model, row):
    """Draws from the global state, leaves the network in another mode, and asks it something."""
    assert not any(module.training for module in model.modules())
    assert isinstance(model, OCL | FGW)
    torch.manual_seed(0)
    torch.rand(100)
    with torch.no_grad():
        model(torch.rand(4, 1, 24, 24))
    model.train()
    first = next(model.parameters())
    return {"weight": first.detach().abs().sum().item(), "again": row["loss"]}


def also(model, row):
    return {"sum": row["again"] + row["weight"]}


def same(a, b) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.usefixtures("global_chance")
@pytest.mark.parametrize("method", ["pretrain", "finetune"])
def test_a_watched_run_is_the_same_run(run, method) -> None:
    weights, rows = run(method)
    watched_weights, watched_rows = run(method, watchers=[rude, also])
    assert same(weights, watched_weights)
    added = ("weight", "again", "sum")
    assert [{k: v for k, v in row.items() if k not in added} for row in watched_rows] == rows
    for row in watched_rows:
        assert row["again"] == row["loss"]
        assert row["sum"] == row["again"] + row["weight"]
    assert len({row["weight"] for row in watched_rows}) == len(watched_rows)


@pytest.mark.parametrize("step", [2, 4])
@pytest.mark.parametrize("method", ["pretrain", "finetune"])
def test_a_resumed_run_has_every_value_of_every_epoch(
    tmp_path, run, at_training_step, method, step
) -> None:
    whole = run(method, watchers=[rude])
    with (
        pytest.raises(KeyboardInterrupt),
        at_training_step(step, lambda: os.kill(os.getpid(), signal.SIGINT)),
    ):
        run(method, tmp_path, watchers=[rude])
    weights, rows = run(method, tmp_path, watchers=[rude])
    assert rows == whole[1]
    assert same(weights, whole[0])
