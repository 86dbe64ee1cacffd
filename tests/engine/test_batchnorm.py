"""Batch normalisation shared by processes, of which there is one here, against PyTorch's own."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from occfer.engine.batchnorm import SharedBatchNorm, synchronised

SHAPES = {2: (12, 5), 4: (12, 5, 6, 7)}


@pytest.fixture
def alone():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def pair(axes: int, dtype: torch.dtype) -> tuple[nn.Module, SharedBatchNorm]:
    """PyTorch's, with weights that were learnt, and ours with the same."""
    kind = nn.BatchNorm1d if axes == 2 else nn.BatchNorm2d
    theirs = kind(5, eps=1e-3, momentum=0.3).to(dtype)
    with torch.no_grad():
        theirs.weight.copy_(torch.linspace(-1, 2, 5))
        theirs.bias.copy_(torch.linspace(0.5, -1, 5))
    (ours,) = synchronised(nn.Sequential(theirs), torch.device("cpu"))
    return theirs, ours


def batch(axes: int, seed: int) -> torch.Tensor:
    """Channels of means and spreads of their own, as float32 has them."""
    generator = torch.Generator().manual_seed(seed)
    shape = (1, 5, *([1] * (axes - 2)))
    spread = torch.tensor([1.0, 0.01, 3.0, 100.0, 1.0]).view(shape)
    mean = torch.tensor([0.0, 1.0, -20.0, 5.0, 3.0]).view(shape)
    return mean + spread * torch.randn(SHAPES[axes], generator=generator)


def passed(norm: nn.Module, axes: int) -> list[torch.Tensor]:
    """Everything that comes out of two training steps, and of one look afterwards."""
    found = []
    for seed in (0, 1):
        values = batch(axes, seed).to(norm.weight.dtype).requires_grad_()
        output = norm(values)
        weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
        norm.zero_grad()
        (weights * output.square()).sum().backward()
        found += [output.detach(), values.grad, norm.weight.grad, norm.bias.grad]
    with torch.no_grad():
        found.append(norm.eval()(batch(axes, 2).to(norm.weight.dtype)))
    return [*found, norm.running_mean, norm.running_var, norm.num_batches_tracked.double()]


@pytest.mark.parametrize("axes", SHAPES)
def test_it_is_pytorchs(alone, axes) -> None:
    for theirs, ours in zip(*(passed(n, axes) for n in pair(axes, torch.float64)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("axes", SHAPES)
def test_it_rounds_no_worse_than_pytorchs(alone, axes) -> None:
    truth = passed(pair(axes, torch.float64)[0], axes)
    theirs, ours = (passed(norm, axes) for norm in pair(axes, torch.float32))
    for exact, native, shared in zip(truth, theirs, ours, strict=True):
        scale = exact.abs().max()
        off, allowed = ((each - exact).abs().max() / scale for each in (shared, native))
        assert off < 3 * allowed + 1e-6


def test_statistics_go_on_where_they_were_and_other_layers_stay(alone) -> None:
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Sequential(nn.BatchNorm2d(5)))
    network(torch.randn(4, 3, 9, 9, generator=torch.Generator().manual_seed(0)))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    shared = synchronised(network, torch.device("cpu"))
    assert [type(each) for each in (shared[1], shared[2][0])] == [SharedBatchNorm] * 2
    assert shared.state_dict().keys() == before.keys()
    assert all(torch.equal(before[name], value) for name, value in shared.state_dict().items())


def test_other_shapes_are_refused(alone) -> None:
    with pytest.raises(ValueError, match=r"expected \[N, C\] or \[N, C, H, W\], got \[4, 5, 6\]"):
        pair(2, torch.float32)[1](torch.zeros(4, 5, 6))
