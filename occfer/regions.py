"""Five overlapping regions of a face (§2.3, (2), §3.2).

Four corners, each 75 % of the picture, and a centre of 85 %, every one resampled to the size the
backbone expects. Where a hand covers the mouth of an aligned face, the two upper regions still see
mostly face.

Bilinear resampling is linear and separable, so cutting *and* resizing a region is one product
R_y X R_xᵀ with two small matrices, taken from the original pixels. A row of either holds two
numbers that are not zero (more where the region shrinks), and only these are multiplied.
"""

import math
from functools import lru_cache
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

CORNER = 0.75
CENTRE = 0.85
LAYOUTS = {
    1: ("whole",),
    4: ("top-left", "top-right", "bottom-left", "bottom-right"),
    5: ("top-left", "top-right", "bottom-left", "bottom-right", "centre"),
    6: ("top-left", "top-right", "bottom-left", "bottom-right", "centre", "whole"),
}
REGIONS = LAYOUTS[5]

Share = Literal["side", "area"]


def region_boxes(
    regions: int = 5, corner: float = CORNER, centre: float = CENTRE, share: Share = "side"
) -> Float[Tensor, "regions 4"]:
    """The boxes as shares of the picture: top, left, height, width, each in [0, 1].

    Args:
        regions: K. 5 is the paper's; 1 (the whole face), 4 (no centre) and 6 (with the whole
            face) are for comparison.
        corner, centre: size of a corner region and of the centre region.
        share: whether these are shares of each ``side`` (as in region attention networks) or of
            the ``area``; the paper says only "75 % of the original picture".
    """
    if regions not in LAYOUTS:
        raise ValueError(f"regions must be one of {sorted(LAYOUTS)}, got {regions}.")
    if share not in ("side", "area"):
        raise ValueError(f"share must be 'side' or 'area', got {share!r}.")
    if not (0 < corner <= 1 and 0 < centre <= 1):
        raise ValueError(
            f"corner and centre are shares of the picture in (0, 1], got {corner} and {centre}."
        )
    if share == "area":
        corner, centre = math.sqrt(corner), math.sqrt(centre)
    far, inset = 1 - corner, (1 - centre) / 2
    box = {
        "top-left": (0, 0, corner, corner),
        "top-right": (0, far, corner, corner),
        "bottom-left": (far, 0, corner, corner),
        "bottom-right": (far, far, corner, corner),
        "centre": (inset, inset, centre, centre),
        "whole": (0, 0, 1, 1),
    }
    return torch.tensor([box[name] for name in LAYOUTS[regions]], dtype=torch.float64)


def five_regions(
    images: Float[Tensor, "batch channels height width"],
    size: int = 112,
    regions: int = 5,
    corner: float = CORNER,
    centre: float = CENTRE,
    share: Share = "side",
) -> Float[Tensor, "batch regions channels size size"]:
    """Equation (2): cut the K regions and resample each to ``size`` x ``size``.

    Returns regions in the order top-left, top-right, bottom-left, bottom-right, centre. A box
    may fall between pixels; resampling is bilinear with half-pixel centres, clamped at the
    region's own border, and widens its filter where it shrinks, as ``interpolate`` with
    ``antialias=True`` does. Pixels keep their precision under autocast.

    Raises:
        ValueError: bytes or other whole numbers, or a size, layout or share that cannot be.
    """
    if not images.is_floating_point():
        raise ValueError(
            f"images must be of a floating-point type in [0, 1], got {images.dtype}; divide bytes "
            "by 255."
        )
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}; it is the side of a region.")
    batch, channels, height, width = images.shape
    columns, rows = _resampling(
        height, width, size, regions, corner, centre, share, images.dtype, images.device
    )
    plane = torch.arange(batch * channels, device=images.device).view(batch, channels, 1, 1, 1)
    # Along the columns of each plane, in every window: [batch, channels, windows, size, height].
    narrowed = weighted_lines(
        images.mT.reshape(-1, height), plane * width + columns.lines, columns.weights
    )
    # Along the rows of what is left, for every region: [batch, regions, channels, size, size].
    first = plane.transpose(1, 2) * (len(columns.lines) * height)
    return weighted_lines(
        narrowed.mT.reshape(-1, size), first + rows.lines[:, None], rows.weights[:, None]
    )


class Taps(NamedTuple):
    """A resampling matrix without its zeros: a sample is a weighted sum of a few lines."""

    lines: Int[Tensor, "windows size taps"]
    weights: Float[Tensor, "windows size taps"]


def weighted_lines(
    picture: Float[Tensor, "lines length"],
    places: Int[Tensor, "*samples taps"],
    weights: Float[Tensor, "*#samples taps"],
) -> Float[Tensor, "*samples length"]:
    """For each sample the sum of the lines at its ``places``, times its ``weights``."""
    weights = weights.expand(places.shape)
    if torch.compiler.is_compiling():
        # One pass after compilation, and an exporter knows every operation in it.
        return (picture[places] * weights[..., None]).sum(dim=-2)
    bags, weights = places.flatten(0, -2), weights.flatten(0, -2)
    sums = F.embedding_bag(bags, picture, per_sample_weights=weights, mode="sum")
    return sums.unflatten(0, places.shape[:-1])


@torch.compiler.assume_constant_result
def _resampling(*choices) -> tuple[Taps, Taps]:
    return _kept_resampling(*choices)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # what a prediction makes first may serve a gradient later
def _kept_resampling(height, width, size, regions, corner, centre, share, dtype, device):
    """Taps along the columns for every different window, and along its rows for every region.

    The four corners share two windows in either direction. A region's rows are counted below
    those of the windows before its own.
    """
    boxes = region_boxes(regions, corner, centre, share)
    windows, window_of = boxes[:, 1::2].unique(dim=0, return_inverse=True)
    columns = _taps(windows * width, width, size)
    rows = _taps(boxes[:, ::2] * height, height, size)
    rows = Taps(rows.lines + (window_of * height)[:, None, None], rows.weights)
    return tuple(Taps(t.lines.to(device), t.weights.to(device, dtype)) for t in (columns, rows))


def _taps(spans: Float[Tensor, "windows 2"], length: int, size: int) -> Taps:
    matrices = torch.stack([resampling_matrix(*span, length, size) for span in spans.tolist()])
    used = matrices > 0
    taps = int(used.sum(dim=2).max())
    first = used.int().argmax(dim=2, keepdim=True).clamp(max=length - taps)
    lines = first + torch.arange(taps)
    return Taps(lines, matrices.gather(2, lines))


def resampling_matrix(
    start: float, extent: float, length: int, size: int
) -> Float[Tensor, "size length"]:
    """R: ``size`` samples from ``[start, start + extent)`` of a line of ``length`` pixels.

    Each row holds the weights of one sample; a row sums to 1. Pixels whose centre lies outside
    of the interval have weight 0.
    """
    scale = extent / size
    reach = max(scale, 1.0)
    pixels = torch.arange(length, dtype=torch.float64) + 0.5
    centres = start + (torch.arange(size, dtype=torch.float64) + 0.5) * scale
    inside = (pixels > start) & (pixels < start + extent)
    if not inside.any():
        raise ValueError(
            f"a region from {start:.3g} to {start + extent:.3g} holds no pixel of {length}; take "
            "larger pictures or shares."
        )
    weights = (1 - (pixels - centres[:, None]).abs() / reach).clamp(min=0) * inside
    return weights / weights.sum(dim=1, keepdim=True)
