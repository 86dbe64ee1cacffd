"""Random blocks over a face: the local occlusion of §2.2 and of the test sets of §3.5.

A block covers the asked share of a picture to the pixel. Parameters are drawn first, for the
whole batch and from a passed generator, and applied second, so that any occlusion can be drawn
again, inspected and replayed.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from occfer.occlusion.fills import Fill, draw_fill
from occfer.occlusion.shapes import Shape, draw_shapes, shape_mask
from occfer.randomness import fresh_generator, sent, uniform

ASPECT = (0.3, 3.3)


@dataclass(frozen=True)
class Blocks:
    """One block per picture: its corner and sides in pixels, and how many pixels it covers.

    A side product ``height * width`` exceeds ``pixels`` by less than one column; the surplus is
    left out at the bottom of the last column.
    """

    top: Int[Tensor, " batch"]
    left: Int[Tensor, " batch"]
    height: Int[Tensor, " batch"]
    width: Int[Tensor, " batch"]
    pixels: Int[Tensor, " batch"]

    def to(self, device: torch.device | str) -> "Blocks":
        return Blocks(*(sent(value, device) for value in vars(self).values()))


def draw_blocks(
    ratio: Float[Tensor, " batch"],
    height: int,
    width: int,
    generator: Generator,
    aspect: tuple[float, float] = ASPECT,
) -> Blocks:
    """Draw one block per picture, uniform in place, log-uniform in aspect (height : width).

    ``ratio``: the covered share of each picture, in [0, 1]. Where a block of the drawn aspect
    would not fit into ``height`` x ``width``, the nearest aspect that fits is taken.
    """
    device, batch = ratio.device, len(ratio)
    low, high = (math.log(bound) for bound in aspect)
    log_aspect = uniform(low, high, batch, generator=generator, device=device)
    place = uniform(0, 1, 2, batch, generator=generator, device=device)

    pixels = (ratio.double() * height * width).round().long()
    shortest = (pixels + width - 1) // width
    rows = (pixels.double() * log_aspect.double().exp()).sqrt().round().long()
    rows = rows.clamp(max=height).maximum(shortest).clamp(min=1)
    columns = (pixels + rows - 1) // rows
    top = (place[0] * (height - rows + 1)).long().minimum(height - rows)
    left = (place[1] * (width - columns + 1)).long().minimum(width - columns)
    return Blocks(top, left, rows, columns, pixels)


def block_mask(blocks: Blocks, height: int, width: int) -> Bool[Tensor, "batch height width"]:
    """``True`` on exactly ``blocks.pixels`` pixels of each picture."""
    device = blocks.top.device
    row = torch.arange(height, device=device)
    column = torch.arange(width, device=device) - blocks.left[:, None]
    last = (blocks.width - 1)[:, None]
    rows_of_last = blocks.pixels - last[:, 0] * blocks.height
    rows = torch.where(column < last, blocks.height[:, None], rows_of_last[:, None])
    inside = (column >= 0) & (column <= last)
    end = torch.where(inside, blocks.top[:, None] + rows, 0)
    # Rows above the block lie beyond every end, so that one comparison of all pixels is enough.
    reached = torch.where(row >= blocks.top[:, None], row, height)
    # It takes less time the narrower the numbers are.
    narrow = torch.int16 if height < 2**15 - 1 else torch.int32
    return reached.to(narrow)[:, :, None] < end.to(narrow)[:, None, :]


def block(
    images: Float[Tensor, "batch channels height width"],
    ratio: float | Float[Tensor, " #batch"],
    fill: Fill = "noise",
    generator: Generator | None = None,
    aspect: tuple[float, float] = ASPECT,
    shape: Shape = "rectangle",
    count: int = 1,
) -> tuple[Float[Tensor, "batch channels height width"], Bool[Tensor, "batch height width"]]:
    """Cover one random block of each face, or several (§2.2, §3.5).

    Args:
        images: faces in [0, 1], of any floating-point type, which the covered faces keep.
        ratio: the covered share of the picture in [0, 1], one for all or one per face; the
            mask holds ``round(ratio * height * width)`` pixels exactly.
        fill: what is seen instead of the face, see :func:`occfer.occlusion.fills.draw_fill`.
        generator: source of all chance; without one the operating system seeds a fresh one.
        aspect: bounds of the log-uniform height : width.
        shape: ``rectangle``, ``ellipse``, ``stripe`` or ``polygon``.
        count: how many of them share the covered pixels; they may touch and overlap.

    Returns:
        The covered faces (the input is left alone) and the mask of covered pixels.

    Raises:
        ValueError: images that are no floating-point batch of pixels, a ratio outside of [0, 1] or
            of another length, an impossible aspect, no such fill or shape, or no whole count from
            1.
    """
    ratio = torch.as_tensor(ratio, dtype=torch.float64)
    _check(images, ratio, aspect)
    ratio = sent(ratio.expand(len(images)).contiguous(), images.device)
    generator = generator or fresh_generator(images.device)
    height, width = images.shape[-2:]
    if shape == "rectangle" and count == 1:
        # A lone rectangle needs no search for its size, and is drawn ten times as fast.
        mask = block_mask(draw_blocks(ratio, height, width, generator, aspect), height, width)
    else:
        shapes = draw_shapes(len(images), generator, shape, count, aspect)
        mask = shape_mask(shapes.to(images.device), ratio, height, width)
    return paint(images, mask, draw_fill(images, fill, generator)), mask


def paint(
    images: Float[Tensor, "batch channels height width"],
    mask: Bool[Tensor, "batch height width"],
    seen: Float[Tensor, "batch channels #height #width"],
) -> Float[Tensor, "batch channels height width"]:
    """``seen`` where the mask holds, and the faces elsewhere; ``seen`` is used up.

    Fresh memory is what costs most here, so a canvas of the faces' size becomes the result.
    """
    alike = (seen.shape, seen.dtype) == (images.shape, images.dtype)
    canvas = seen if alike and not images.requires_grad else None
    return torch.where(mask[:, None], seen, images, out=canvas)


def _check(images: Tensor, ratio: Tensor, aspect: tuple[float, float]) -> None:
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(
            f"images must be [batch, channels, height, width] of a floating-point type in [0, 1], "
            f"got {list(images.shape)} of {images.dtype}; divide bytes by 255."
        )
    if 0 in images.shape[1:]:
        raise ValueError(f"images must have pixels to cover, got {list(images.shape)}.")
    if ratio.shape not in ((), (1,), (len(images),)):
        raise ValueError(
            f"ratio must be one number or [{len(images)}], one for each face, got "
            f"{list(ratio.shape)}."
        )
    # Before it moves to a GPU, which would have to be waited for.
    if not bool(((ratio >= 0) & (ratio <= 1)).all()):
        raise ValueError(
            f"ratio is the covered share of a face and must lie in [0, 1]; got values from "
            f"{ratio.min():.3g} to {ratio.max():.3g}."
        )
    low, high = aspect
    if not 0 < low <= high < math.inf:
        raise ValueError(
            f"aspect must be bounds of height : width above 0, the lower one first, got {aspect}."
        )
