"""Channel–spatial attention (§2.3, (4)–(6)): CBAM, channel first, then space.

Woo et al., CBAM: Convolutional Block Attention Module, ECCV 2018. The channel map asks *what*
in a region speaks of emotion, the spatial map *where*. ``official`` follows the code that its
authors published (github.com/Jongchan/attention-module) where that departs from the equations.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn


class AttentionMaps(NamedTuple):
    """The two maps of (5) and (6), each in (0, 1)."""

    channel: Float[Tensor, "batch channels 1 1"]
    spatial: Float[Tensor, "batch 1 height width"]


class ChannelAttention(nn.Module):
    """M_C of (5): σ(MLP(AvgPool F) + MLP(MaxPool F)), with one MLP for both.

    ``official``: both layers of the MLP have biases.
    """

    def __init__(self, channels: int, reduction: int = 16, official: bool = False):
        super().__init__()
        if reduction < 1:
            raise ValueError(
                f"reduction must be at least 1, since the MLP narrows by it, got {reduction}; the "
                "CBAM paper takes 16."
            )
        hidden = max(1, channels // reduction)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden, bias=official),
            nn.ReLU(),
            nn.Linear(hidden, channels, bias=official),
        )

    def forward(
        self, features: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels 1 1"]:
        average = self.mlp(features.mean(dim=(2, 3)))
        maximum = self.mlp(features.amax(dim=(2, 3)))
        return torch.sigmoid(average + maximum)[:, :, None, None]


class SpatialAttention(nn.Module):
    """M_S of (6): σ(conv([AvgPool F; MaxPool F])), pooled over channels.

    ``official``: maximum first, and a batch normalisation after the convolution, whose running
    statistics move by a hundredth of each batch's.
    """

    def __init__(self, kernel_size: int = 7, official: bool = False):
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size must be odd and at least 1, so that the map keeps its size, got "
                f"{kernel_size}; the paper takes 7."
            )
        self.official = official
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = nn.BatchNorm2d(1, momentum=0.01) if official else nn.Identity()

    def forward(
        self, features: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch 1 height width"]:
        average = features.mean(dim=1, keepdim=True)
        maximum = features.amax(dim=1, keepdim=True)
        pooled = (maximum, average) if self.official else (average, maximum)
        return torch.sigmoid(self.norm(self.conv(torch.cat(pooled, dim=1))))


class ChannelSpatialAttention(nn.Module):
    """Equation (4): r' = M_C(r) ⊗ r, then r_m = M_S(r') ⊗ r'.

    Args:
        channels: C of the feature map.
        reduction: the MLP of (5) narrows to ``channels // reduction``.
        kernel_size: of the convolution in (6); odd.
        official: see :class:`ChannelAttention` and :class:`SpatialAttention`.

    Returns:
        The weighted features, of the shape that came in, and both maps.
    """

    def __init__(
        self, channels: int, reduction: int = 16, kernel_size: int = 7, official: bool = False
    ):
        super().__init__()
        self.channel = ChannelAttention(channels, reduction, official)
        self.spatial = SpatialAttention(kernel_size, official)

    def forward(
        self, features: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "batch channels height width"], AttentionMaps]:
        channel = self.channel(features)
        features = channel * features
        spatial = self.spatial(features)
        return spatial * features, AttentionMaps(channel, spatial)
