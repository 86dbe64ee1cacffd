"""What a GPU adds to training: replayed and compiled networks, streamed faces, no other results."""

from dataclasses import replace

import jaxtyping
import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from occfer.engine.finetune import finetune
from occfer.engine.graphs import Replayed
from occfer.engine.pretrain import build_views, pretrain
from occfer.engine.supply import Supply
from occfer.randomness import generator_for

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
METHODS = pytest.mark.parametrize("method", ["pretrain", "finetune"])


@pytest.fixture(autouse=True)
def shapes_unchecked(monkeypatch) -> None:
    """A compiled network cannot ask for the shapes of what it is given; the CPU's tests do."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def losses(toy_faces, ocl_recipe, fgw_recipe):
    """``losses(method, accelerator, **changes)``: the loss of each epoch.

    Black covers faces, since noise is drawn on the device, from generators that differ.
    """
    faces = toy_faces(41)

    def make(method, accelerator="cuda", **changes) -> list[float]:
        fabric = Fabric(accelerator=accelerator, devices=1)
        options = dict(fabric=fabric, progress=False)
        changes = {"learning_rate": 1e-4, **changes}
        if method == "pretrain":
            recipe = ocl_recipe(**changes)
            black = replace(recipe, views=replace(recipe.views, fill="black"))
            found = pretrain(faces, black, **options)
        else:
            found = finetune(faces, faces, fgw_recipe(**changes), **options)
        return [row["loss"] for row in found.history]

    return make


@METHODS
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("replayed", [False, True])
def test_a_gpu_learns_what_a_cpu_learns(losses, method, replayed, compiled) -> None:
    # TF32 keeps three digits.
    found = losses(method, cuda_graphs=replayed, compile=compiled)
    assert found == pytest.approx(losses(method, "cpu"), rel=0.01)


@METHODS
def test_a_replay_computes_what_was_written(losses, method) -> None:
    # Batches of 16, 16 and 9: the last one of each epoch is not replayed.
    replayed, written = (losses(method, cuda_graphs=each) for each in (True, False))
    assert replayed == pytest.approx(written, rel=1e-3)


@METHODS
def test_a_record_gives_its_memory_back(losses, method) -> None:
    losses(method)  # what CUDA's libraries take once
    before = torch.cuda.memory_allocated()
    losses(method)
    assert torch.cuda.memory_allocated() <= before


def test_statistics_do_not_count_the_recording() -> None:
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)).cuda()
    replayed, images = Replayed(network, 4), torch.rand(4, 3, device="cuda")
    for _ in range(2):
        replayed(images).sum().backward()
    assert network[0].num_batches_tracked == 2
    expected = 0.19 * images.mean(dim=0)
    torch.testing.assert_close(network[0].running_mean, expected)


@pytest.mark.parametrize("change", [nn.Module.eval, lambda network: network.train()])
def test_only_whole_batches_in_training_are_replayed(change) -> None:
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)).cuda()
    replayed = Replayed(network, 4)
    replayed(torch.rand(4, 3, device="cuda"))
    change(network)
    called = []
    network[1].register_forward_hook(lambda *_: called.append(1))
    replayed(torch.rand(5, 3, device="cuda"))
    with torch.no_grad():
        replayed(torch.rand(4, 3, device="cuda"))
    assert called == [1, 1]
    network.train()
    replayed(torch.rand(4, 3, device="cuda"))
    assert called == [1, 1]  # no Python runs in a replay


def test_a_network_that_asks_the_gpu_cannot_be_replayed() -> None:
    class Asking(nn.Linear):
        def forward(self, images):
            return super().forward(images) if images.sum().item() > -1 else images

    with pytest.raises(ValueError, match="cuda_graphs=False in its recipe"):
        Replayed(Asking(3, 3).cuda(), 4)(torch.rand(4, 3, device="cuda"))


@METHODS
def test_streamed_faces_give_the_same_losses(losses, method, monkeypatch) -> None:
    resident = losses(method)

    class Streamed(Supply):
        def __init__(self, *arguments):
            super().__init__(*arguments, streamed=True)

    monkeypatch.setattr("occfer.engine.run.Supply", Streamed)
    assert losses(method) == pytest.approx(resident, rel=1e-3)


def test_a_trained_network_calls_hooks_that_are_put_on_it_later(toy_faces, ocl_recipe) -> None:
    found = pretrain(toy_faces(40), ocl_recipe(epochs=1, precision="bf16-mixed"), progress=False)
    called = []
    hook = found.encoder.backbone.register_forward_hook(lambda *_: called.append(1))
    with torch.inference_mode():
        found.encoder(torch.rand(2, 1, 24, 24, device="cuda"))
    hook.remove()
    assert called == [1]


def test_drawing_views_does_not_wait_for_the_gpu(toy_faces, ocl_recipe) -> None:
    images, two_views = toy_faces(40).images.cuda(), build_views(ocl_recipe())
    two_views(images, generator_for(0))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        two_views(images, generator_for(1))
    finally:
        torch.cuda.set_sync_debug_mode("default")
