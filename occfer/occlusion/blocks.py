"""Random blocks over a face: the local occlusion of §2.2 and of the test sets of §3.5.

A block covers the asked share of a picture to the pixel. Parameters are drawn first, for the
whole batch and from a passed generator, and applied second, so that any occlusion can be drawn
again, inspected and replayed.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from occfer.randomness import fresh_generator, uniform

Fill = Literal["black", "mean", "constant", "noise", "texture", "mixed"]
MIXED: tuple[Fill, ...] = ("constant", "noise", "texture")
ASPECT = (0.3, 3.3)
TEXTURE_CELLS = 8


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
        return Blocks(*(value.to(device) for value in vars(self).values()))


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
    started = row >= blocks.top[:, None]
    return (row[:, None] < end[:, None, :]) & started[:, :, None]


def noise(shape: tuple[int, ...], generator: Generator, device: torch.device | str) -> Tensor:
    """White noise in {0, 1/255, …, 1}: eight pixels from every 64-bit draw."""
    count = math.prod(shape)
    words = torch.empty((count + 7) // 8, dtype=torch.int64, device=generator.device)
    words.random_(-(2**63), None, generator=generator)
    return words.view(torch.uint8)[:count].view(shape).to(device).float().div_(255)


def texture(shape: tuple[int, int, int, int], generator: Generator, device) -> Tensor:
    """Smooth coloured patches: a coarse random grid, enlarged bilinearly."""
    batch, channels, height, width = shape
    cells = uniform(
        0, 1, batch, channels, TEXTURE_CELLS, TEXTURE_CELLS, generator=generator, device=device
    )
    return F.interpolate(cells, size=(height, width), mode="bilinear", align_corners=False)


def draw_fill(
    images: Float[Tensor, "batch channels height width"], fill: Fill, generator: Generator
) -> Float[Tensor, "batch channels #height #width"]:
    """What stands where a face is covered, in [0, 1]; broadcastable over each picture."""
    shape, device = tuple(images.shape), images.device
    one_colour = (shape[0], shape[1], 1, 1)
    match fill:
        case "black":
            return images.new_zeros(one_colour)
        case "mean":
            return images.mean(dim=(2, 3), keepdim=True)
        case "constant":
            return uniform(0, 1, *one_colour, generator=generator, device=device)
        case "noise":
            return noise(shape, generator, device)
        case "texture":
            return texture(shape, generator, device)
        case "mixed":
            return _mixed(images, generator)
    raise ValueError(
        f"fill must be one of black, mean, constant, noise, texture, mixed; got {fill!r}."
    )


def _mixed(images: Tensor, generator: Generator) -> Tensor:
    """Each picture draws one of ``MIXED``; only the pictures that need a canvas get one."""
    choice = torch.randint(
        len(MIXED), (len(images),), generator=generator, device=generator.device
    ).to(images.device)
    canvas = torch.empty_like(images)
    for number, fill in enumerate(MIXED):
        chosen = choice == number
        if chosen.any():
            canvas[chosen] = draw_fill(images[chosen], fill, generator).expand_as(images[chosen])
    return canvas


def block(
    images: Float[Tensor, "batch channels height width"],
    ratio: float | Float[Tensor, " batch"],
    fill: Fill = "noise",
    generator: Generator | None = None,
    aspect: tuple[float, float] = ASPECT,
) -> tuple[Float[Tensor, "batch channels height width"], Bool[Tensor, "batch height width"]]:
    """Cover one random block of each face (§2.2, §3.5).

    Args:
        images: faces in [0, 1].
        ratio: the covered share of the picture in [0, 1], one for all or one per face; the
            mask holds ``round(ratio * height * width)`` pixels exactly.
        fill: ``black``, ``mean`` (of the picture), ``constant`` (a random colour), ``noise``,
            ``texture``, or ``mixed`` (each face draws one of the last three).
        generator: source of all chance; without one the operating system seeds a fresh one.
        aspect: bounds of the log-uniform height : width.

    Returns:
        The covered faces (the input is left alone) and the mask of covered pixels.
    """
    generator = generator or fresh_generator(images.device)
    ratio = torch.as_tensor(ratio, dtype=torch.float64).expand(len(images)).to(images.device)
    if not bool(((ratio >= 0) & (ratio <= 1)).all()):
        raise ValueError(
            f"ratio is the covered share of a face and must lie in [0, 1]; got values from "
            f"{ratio.min():.3g} to {ratio.max():.3g}."
        )
    height, width = images.shape[-2:]
    mask = block_mask(draw_blocks(ratio, height, width, generator, aspect), height, width)
    return torch.where(mask[:, None], draw_fill(images, fill, generator), images), mask
