import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from timm.layers.cbam import CbamModule
from torch import Tensor, nn

from occfer.attention import ChannelAttention, ChannelSpatialAttention, SpatialAttention
from occfer.randomness import seeded_modules

shapes = st.tuples(
    st.integers(1, 3), st.sampled_from([1, 4, 16, 40]), st.integers(1, 9), st.integers(1, 9)
)
seeds = st.integers(0, 2**31)


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def equation_5(module: ChannelAttention, picture: Tensor) -> list[float]:
    """M_C(F) of one picture, number by number."""
    narrow, widen = module.mlp[0].weight.tolist(), module.mlp[2].weight.tolist()

    def mlp(pooled: list[float]) -> list[float]:
        hidden = [max(0.0, sum(w * p for w, p in zip(row, pooled, strict=True))) for row in narrow]
        return [sum(w * h for w, h in zip(row, hidden, strict=True)) for row in widen]

    planes = [plane.flatten().tolist() for plane in picture]
    average = mlp([sum(plane) / len(plane) for plane in planes])
    maximum = mlp([max(plane) for plane in planes])
    return [sigmoid(a + m) for a, m in zip(average, maximum, strict=True)]


def equation_6(module: SpatialAttention, picture: Tensor) -> list[list[float]]:
    """M_S(F) of one picture, pixel by pixel: a window over [average; maximum], zero outside."""
    weight = module.conv.weight[0].tolist()
    _, height, width = picture.shape
    reach = len(weight[0]) // 2
    pooled = [
        [[picture[:, y, x].mean().item() for x in range(width)] for y in range(height)],
        [[picture[:, y, x].max().item() for x in range(width)] for y in range(height)],
    ]

    def at(y: int, x: int) -> float:
        total = 0.0
        for plane, kernel in zip(pooled, weight, strict=True):
            for dy in range(-reach, reach + 1):
                for dx in range(-reach, reach + 1):
                    if 0 <= y + dy < height and 0 <= x + dx < width:
                        total += kernel[dy + reach][dx + reach] * plane[y + dy][x + dx]
        return sigmoid(total)

    return [[at(y, x) for x in range(width)] for y in range(height)]


@given(shape=shapes, reduction=st.sampled_from([1, 4, 16, 64]), seed=seeds)
def test_channel_attention_is_equation_5(shape, reduction, seed) -> None:
    with seeded_modules(seed):
        module = ChannelAttention(shape[1], reduction).double()
    maps = module(features(*shape, seed=seed))
    expected = [equation_5(module, picture) for picture in features(*shape, seed=seed)]
    torch.testing.assert_close(maps[:, :, 0, 0], torch.tensor(expected, dtype=torch.float64))


@given(shape=shapes, kernel_size=st.sampled_from([1, 3, 7]), seed=seeds)
def test_spatial_attention_is_equation_6(shape, kernel_size, seed) -> None:
    with seeded_modules(seed):
        module = SpatialAttention(kernel_size).double()
    maps = module(features(*shape, seed=seed))
    expected = [equation_6(module, picture) for picture in features(*shape, seed=seed)]
    torch.testing.assert_close(maps[:, 0], torch.tensor(expected, dtype=torch.float64))


@given(shape=shapes, seed=seeds, official=st.booleans())
def test_attention_is_equation_4_channel_first(shape, seed, official) -> None:
    with seeded_modules(seed):
        module = ChannelSpatialAttention(shape[1], official=official).double().eval()
    regions = features(*shape, seed=seed)
    weighted, maps = module(regions)
    batch, channels, height, width = shape
    assert maps.channel.shape == (batch, channels, 1, 1)
    assert maps.spatial.shape == (batch, 1, height, width)
    for one in maps:
        assert ((one > 0) & (one < 1)).all()
    torch.testing.assert_close(maps.channel, module.channel(regions))
    torch.testing.assert_close(maps.spatial, module.spatial(maps.channel * regions))
    torch.testing.assert_close(weighted, maps.spatial * maps.channel * regions)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("channels", [16, 64])
def test_official_is_timm_s_cbam_with_the_same_weights(channels, training) -> None:
    with seeded_modules(0):
        ours = ChannelSpatialAttention(channels, official=True)
        theirs = CbamModule(channels)
    nn.init.normal_(ours.spatial.norm.weight, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours.spatial.norm.running_mean.fill_(0.3)
        theirs.channel.fc1.weight.copy_(ours.channel.mlp[0].weight[:, :, None, None])
        theirs.channel.fc2.weight.copy_(ours.channel.mlp[2].weight[:, :, None, None])
        # timm leaves the authors' biases out.
        ours.channel.mlp[0].bias.zero_()
        ours.channel.mlp[2].bias.zero_()
        # timm puts the mean first where the authors' code, and ours, puts the maximum.
        theirs.spatial.conv.conv.weight.copy_(ours.spatial.conv.weight.flip(1))
        theirs.spatial.conv.bn.load_state_dict(ours.spatial.norm.state_dict())
    ours.train(training)
    theirs.train(training)
    regions = features(4, channels, 5, 6).float()
    torch.testing.assert_close(ours(regions)[0], theirs(regions))


class ChannelGate(nn.Module):
    """As its authors wrote it (Jongchan/attention-module, ``MODELS/cbam.py``)."""

    def __init__(self, gate_channels: int, reduction_ratio: int = 16):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Flatten(),
            nn.Linear(gate_channels, gate_channels // reduction_ratio),
            nn.ReLU(),
            nn.Linear(gate_channels // reduction_ratio, gate_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        size = (x.size(2), x.size(3))
        average = self.mlp(F.avg_pool2d(x, size, stride=size))
        maximum = self.mlp(F.max_pool2d(x, size, stride=size))
        return x * torch.sigmoid(average + maximum).unsqueeze(2).unsqueeze(3).expand_as(x)


class SpatialGate(nn.Module):
    """As its authors wrote it, too."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, stride=1, padding=3, bias=False)
        self.bn = nn.BatchNorm2d(1, eps=1e-5, momentum=0.01, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat((x.max(1)[0].unsqueeze(1), x.mean(1).unsqueeze(1)), dim=1)
        return x * torch.sigmoid(self.bn(self.conv(pooled)))


def test_official_is_the_authors_code_with_its_biases_and_running_statistics() -> None:
    with seeded_modules(0):
        theirs = nn.Sequential(ChannelGate(64), SpatialGate())
        ours = ChannelSpatialAttention(64, official=True)
    assert all(theirs[0].mlp[layer].bias.abs().min() > 0 for layer in (1, 3))
    weights = zip(ours.state_dict(), theirs.state_dict().values(), strict=True)
    ours.load_state_dict(dict(weights))
    for step in range(3):  # in training the running statistics move, and the last step reads them
        for module in (ours, theirs):
            module.train(step < 2)
        regions = 2 + 3 * features(4, 64, 5, 6, seed=step).float()
        torch.testing.assert_close(ours(regions)[0], theirs(regions))
        torch.testing.assert_close(ours.spatial.norm.running_mean, theirs[1].bn.running_mean)


def test_as_printed_and_official_differ_in_order_and_normalisation() -> None:
    printed, official = SpatialAttention(), SpatialAttention(official=True)
    assert isinstance(printed.norm, nn.Identity)
    assert isinstance(official.norm, nn.BatchNorm2d)
    with torch.no_grad():
        for module in (printed, official):
            module.conv.weight.zero_()
            module.conv.weight[0, 0, 3, 3] = 1  # looks at the first of the two pooled maps only
    regions = features(1, 6, 4, 4).float()
    torch.testing.assert_close(printed.eval()(regions), regions.mean(1, keepdim=True).sigmoid())
    first = official.eval()(regions)
    torch.testing.assert_close(
        first, (regions.amax(1, keepdim=True) / math.sqrt(1 + 1e-5)).sigmoid()
    )


@given(seed=seeds)
def test_channel_attention_does_not_see_where_and_pools_do_not_see_which(seed) -> None:
    with seeded_modules(seed):
        module = ChannelSpatialAttention(16).double()
    regions = features(1, 16, 4, 4, seed=seed)
    moved = regions.flatten(2).flip(2).view_as(regions)
    torch.testing.assert_close(module.channel(moved), module.channel(regions))
    torch.testing.assert_close(module.spatial(regions.flip(1)), module.spatial(regions))


def test_the_mlp_narrows_by_the_reduction_and_never_to_nothing() -> None:
    assert ChannelAttention(512, 16).mlp[0].weight.shape == (32, 512)
    assert ChannelAttention(8, 16).mlp[0].weight.shape == (1, 8)


@pytest.mark.parametrize("kernel_size", [2, 4, 0, -1])
def test_a_kernel_without_a_middle_is_refused(kernel_size) -> None:
    with pytest.raises(ValueError, match=f"kernel_size must be odd .* got {kernel_size}; "):
        ChannelSpatialAttention(8, kernel_size=kernel_size)


@pytest.mark.parametrize("reduction", [0, -4])
def test_the_mlp_narrows_by_a_positive_number(reduction) -> None:
    with pytest.raises(ValueError, match=f"reduction must be at least 1, .* got {reduction}; "):
        ChannelSpatialAttention(8, reduction)
