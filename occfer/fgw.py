"""FGW, fine-grained weighted features (§2.3): the network that looks at a face region by region.

Five regions pass through one backbone in one batch, are weighted by channel–spatial attention,
pooled, and joined into the global representation r_g, which is classified.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from occfer.attention import ChannelSpatialAttention
from occfer.backbones import Backbone
from occfer.lgds import Fusion, Head, classification_head
from occfer.ocl import Encoder
from occfer.pretrained import Pretrained
from occfer.regions import CENTRE, CORNER, Share, five_regions, region_boxes


class FGWOutput(NamedTuple):
    """What FGW says of a batch of faces."""

    logits: Float[Tensor, "batch classes"]
    region_logits: Float[Tensor, "batch regions classes"]
    features: Float[Tensor, "batch regions channels"]
    attention: Float[Tensor, "batch regions map_height map_width"]


class FGW(Pretrained):
    """The network of Fig. 1, below the dashed line: regions → Z(·) → CSA → fusion → FC(·).

    Args:
        backbone, width, stem, pretrained: see :class:`occfer.backbones.Backbone`.
        num_classes: 7 in the paper.
        regions: K, see :func:`occfer.regions.region_boxes`.
        size: side to which each region is resampled, in pixels.
        corner, centre, share: of the regions.
        attention: ``shared`` by all regions (the paper's wording), ``per_region``, or ``none``.
        attention_after: the stage behind which attention sits, as a Python index into the
            backbone's stages; −1 is the last, −2 the one before (ResNet's stage 3).
        reduction, kernel_size, official: see :class:`ChannelSpatialAttention`.
        head, fusion: see :func:`occfer.lgds.classification_head`.

    Called with images in [0, 1], [B, C, H, W] of any size; returns :class:`FGWOutput`, whose
    ``attention`` is the spatial map of (6), or ones where attention is ``none``.
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        num_classes: int = 7,
        regions: int = 5,
        head: Head = "sliced",
        fusion: Fusion = "concat",
        attention: str = "shared",
        attention_after: int = -1,
        reduction: int = 16,
        kernel_size: int = 7,
        official: bool = False,
        size: int = 112,
        corner: float = CORNER,
        centre: float = CENTRE,
        share: Share = "side",
        width: int | None = None,
        stem: str = "imagenet",
        pretrained: bool = False,
    ):
        super().__init__()
        self.backbone = Backbone(backbone, width=width, stem=stem, pretrained=pretrained)
        region_boxes(regions, corner, centre, share)  # says now what cannot be cut
        self.cut = dict(size=size, regions=regions, corner=corner, centre=centre, share=share)
        self.regions = regions
        stages = len(self.backbone.stages)
        if not -stages <= attention_after < stages:
            raise ValueError(
                f"attention_after must name one of the {stages} stages of {backbone}, got "
                f"{attention_after}; −1 is the last."
            )
        self.attention_after = attention_after % stages
        channels = self.backbone.stage_channels[self.attention_after]
        self.attention = _attention(attention, regions, channels, reduction, kernel_size, official)
        self.head = classification_head(head, fusion, self.backbone.channels, regions, num_classes)

    def forward(self, images: Float[Tensor, "batch colours height width"]) -> FGWOutput:
        maps: list[Tensor] = []

        def weigh(stage: int, features: Tensor) -> Tensor:
            if stage != self.attention_after:
                return features
            features, spatial = self.attention(features)
            maps.append(spatial)
            return features

        crops = five_regions(images, **self.cut)
        weighted = self.backbone(crops.flatten(0, 1), after_stage=weigh)
        features = weighted.mean(dim=(2, 3)).unflatten(0, (-1, self.regions))
        # With scores rounded to bfloat16, the fused one would not be the mean of the regions'.
        with torch.autocast(features.device.type, enabled=False):
            logits, region_logits = self.head(features.to(next(self.head.parameters()).dtype))
        attention = maps[0].squeeze(1).unflatten(0, (-1, self.regions))
        return FGWOutput(logits, region_logits, features, attention)

    def load_encoder(self, encoder: Encoder) -> None:
        """Start from OCL: take over the weights of a pre-trained :class:`occfer.ocl.Encoder`."""
        _take_over(self.backbone, encoder)


class PlainClassifier(Pretrained):
    """The row "Res18" of Table 1: the whole face, one backbone, one linear layer.

    Args:
        backbone, width, stem, pretrained: see :class:`occfer.backbones.Backbone`.
        num_classes: 7 in the paper.
        size: side to which the face is resampled, in pixels, as FGW does with its regions.

    Called with images in [0, 1], [B, C, H, W] of any size; returns :class:`PlainOutput`.
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        num_classes: int = 7,
        size: int = 112,
        width: int | None = None,
        stem: str = "imagenet",
        pretrained: bool = False,
    ):
        super().__init__()
        self.encoder = Encoder(backbone, width=width, stem=stem, pretrained=pretrained)
        self.size = size
        self.fc = nn.Linear(self.encoder.channels, num_classes)

    def forward(self, images: Float[Tensor, "batch colours height width"]) -> "PlainOutput":
        face = five_regions(images, self.size, regions=1).squeeze(1)
        return PlainOutput(self.fc(self.encoder(face)))

    def load_encoder(self, encoder: Encoder) -> None:
        """Start from OCL: take over the weights of a pre-trained encoder."""
        _take_over(self.encoder.backbone, encoder)


class PlainOutput(NamedTuple):
    """Logits only; there is nothing to restrain."""

    logits: Float[Tensor, "batch classes"]


class SharedAttention(nn.Module):
    """One :class:`ChannelSpatialAttention` for all regions."""

    def __init__(self, channels: int, **options):
        super().__init__()
        self.csa = ChannelSpatialAttention(channels, **options)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        weighted, maps = self.csa(features)
        return weighted, maps.spatial


class RegionAttention(nn.Module):
    """One :class:`ChannelSpatialAttention` for each region."""

    def __init__(self, regions: int, channels: int, **options):
        super().__init__()
        self.csa = nn.ModuleList(
            ChannelSpatialAttention(channels, **options) for _ in range(regions)
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        by_region = features.unflatten(0, (-1, len(self.csa))).unbind(dim=1)
        weighed = [csa(region) for csa, region in zip(self.csa, by_region, strict=True)]
        weighted = torch.stack([region for region, _ in weighed], dim=1).flatten(0, 1)
        spatial = torch.stack([maps.spatial for _, maps in weighed], dim=1).flatten(0, 1)
        return weighted, spatial


class NoAttention(nn.Module):
    """Weight one everywhere: FGW without CSA, for the ablation."""

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return features, torch.ones_like(features[:, :1])


def _take_over(backbone: Backbone, encoder: Encoder) -> None:
    try:
        backbone.load_state_dict(encoder.backbone.state_dict())
    except RuntimeError as misfit:
        raise ValueError(
            f"the encoder should have the classifier's backbone, width and stem, but with "
            f"{encoder.channels} channels it does not fit {backbone.channels}; fine-tune the "
            "network that was pre-trained."
        ) from misfit


def _attention(
    kind: str, regions: int, channels: int, reduction: int, kernel_size: int, official: bool
) -> nn.Module:
    options = dict(reduction=reduction, kernel_size=kernel_size, official=official)
    match kind:
        case "shared":
            return SharedAttention(channels, **options)
        case "per_region":
            return RegionAttention(regions, channels, **options)
        case "none":
            return NoAttention()
    raise ValueError(f"attention must be 'shared', 'per_region' or 'none', got {kind!r}.")
