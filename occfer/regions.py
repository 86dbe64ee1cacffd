"""Five overlapping regions of a face (§2.3, (2), §3.2).

Four corners, each 75 % of the picture, and a centre of 85 %, every one resampled to the size the
backbone expects. Where a hand covers the mouth, the two upper regions still see only face.

Bilinear resampling is linear and separable, so cutting *and* resizing a region is one product
R_y X R_xᵀ with two small matrices, taken from the original pixels.
"""

import math
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
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
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}; it is the side of a region.")
    batch, channels, height, width = images.shape
    rows, columns = _resampling(
        height, width, size, regions, corner, centre, share, images.dtype, images.device
    )
    (vertical, row_of), (horizontal, column_of) = rows, columns
    lines = images.reshape(-1, width)
    with torch.autocast(images.device.type, enabled=False):
        narrowed = [(lines @ matrix.T).view(-1, height, size) for matrix in horizontal]
        cut = [
            torch.bmm(vertical[row].expand(batch * channels, -1, -1), narrowed[column])
            for row, column in zip(row_of, column_of, strict=True)
        ]
    return torch.stack(cut, dim=1).view(batch, channels, len(cut), size, size).transpose(1, 2)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # what a prediction makes first may serve a gradient later
def _resampling(height, width, size, regions, corner, centre, share, dtype, device):
    """Both directions: the different matrices, and which of them each region takes."""
    boxes = region_boxes(regions, corner, centre, share)
    return tuple(
        _matrices(boxes[:, axis], boxes[:, axis + 2], length, size, dtype, device)
        for axis, length in enumerate((height, width))
    )


def _matrices(start: Tensor, extent: Tensor, length: int, size: int, dtype, device):
    spans = list(zip(start.tolist(), extent.tolist(), strict=True))
    different = sorted(set(spans))
    matrices = [resampling_matrix(a * length, b * length, length, size) for a, b in different]
    return torch.stack(matrices).to(device, dtype), [different.index(span) for span in spans]


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
    if scale < 1:
        centres = centres.clamp(pixels[inside].min(), pixels[inside].max())
    weights = (1 - (pixels - centres[:, None]).abs() / reach).clamp(min=0) * inside
    return weights / weights.sum(dim=1, keepdim=True)
