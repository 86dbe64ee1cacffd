"""What is seen where a face is covered: one colour, noise, texture, blur, or another face."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from occfer.randomness import sent, uniform

Fill = Literal["black", "mean", "constant", "noise", "texture", "mixed", "blur", "patch"]
MIXED: tuple[Fill, ...] = ("constant", "noise", "texture")
TEXTURE_CELLS = 8
BLUR_CELLS = 6


def noise(shape: tuple[int, ...], generator: Generator, device: torch.device | str) -> Tensor:
    """White noise in {0, 1/255, …, 1}: eight pixels from every 64-bit draw."""
    count = math.prod(shape)
    words = torch.empty((count + 7) // 8, dtype=torch.int64, device=generator.device)
    words.random_(-(2**63), None, generator=generator)
    return sent(words.view(torch.uint8)[:count].view(shape), device).float().div_(255)


def texture(shape: tuple[int, int, int, int], generator: Generator, device) -> Tensor:
    """Smooth coloured patches: a coarse random grid, enlarged bilinearly."""
    batch, channels, height, width = shape
    cells = uniform(
        0, 1, batch, channels, TEXTURE_CELLS, TEXTURE_CELLS, generator=generator, device=device
    )
    return enlarged(cells, height, width)


def blurred(images: Float[Tensor, "batch channels height width"]) -> Tensor:
    """The picture itself, its details lost: averaged in few cells, enlarged bilinearly."""
    rows, columns = (_windows(side, BLUR_CELLS, images) for side in images.shape[-2:])
    with torch.autocast(images.device.type, enabled=False):
        cells = (rows @ images) @ columns.mT
    return enlarged(cells, *images.shape[-2:])


def _windows(size: int, cells: int, like: Tensor) -> Float[Tensor, "cells size"]:
    """The share of every pixel in each cell's mean; the windows of adaptive pooling, which touch
    or overlap by a pixel."""
    pixel = torch.arange(size, device=like.device)
    cell = torch.arange(cells, device=like.device)[:, None]
    first, end = cell * size // cells, ((cell + 1) * size + cells - 1) // cells
    inside = (pixel >= first) & (pixel < end)
    return (inside / (end - first)).to(like)


def enlarged(
    cells: Float[Tensor, "batch channels rows columns"], height: int, width: int
) -> Float[Tensor, "batch channels height width"]:
    """What bilinear ``interpolate`` gives, by two products of matrices: twice as fast on a CPU."""
    rows, columns = cells.shape[-2:]
    down, across = _tents(rows, height, cells), _tents(columns, width, cells)
    with torch.autocast(cells.device.type, enabled=False):
        return down @ (cells @ across.mT)


def _tents(cells: int, size: int, like: Tensor) -> Float[Tensor, "size cells"]:
    """The share of every cell in each of ``size`` pixels; pixels beyond the outer centres clamp."""
    # In half precision pixels would have no places of their own.
    exact = torch.promote_types(like.dtype, torch.float32)
    centre = torch.arange(cells, dtype=exact, device=like.device)
    pixel = torch.arange(size, dtype=exact, device=like.device)
    place = ((pixel + 0.5) * (cells / size) - 0.5).clamp(0, cells - 1)
    return (1 - (place[:, None] - centre).abs()).relu().to(like)


def other_faces(images: Float[Tensor, "batch channels height width"], generator: Generator):
    """For each face another one of the batch, each equally likely."""
    batch = len(images)
    if batch < 2:
        raise ValueError(
            "fill 'patch' covers a face with another one of its batch, but this batch holds "
            f"{batch}; pass several faces or take another fill."
        )
    further = torch.randint(1, batch, (batch,), generator=generator, device=generator.device)
    here = torch.arange(batch, device=generator.device)
    return images[sent((here + further) % batch, images.device)]


def draw_fill(
    images: Float[Tensor, "batch channels height width"], fill: Fill, generator: Generator
) -> Float[Tensor, "batch channels #height #width"]:
    """What stands where a face is covered, in [0, 1] and of the pictures' type; broadcastable.

    ``fill``: ``black``, ``mean`` (of the picture), ``constant`` (a random colour), ``noise``
    (white), ``texture`` (smooth patches), ``mixed`` (each face draws one of the last three),
    ``blur`` (the face itself, blurred), or ``patch`` (the same place of another face).
    """
    shape, device = tuple(images.shape), images.device
    one_colour = (shape[0], shape[1], 1, 1)
    match fill:
        case "black":
            return images.new_zeros(one_colour)
        case "mean":
            return images.mean(dim=(2, 3), keepdim=True)
        case "constant":
            return uniform(0, 1, *one_colour, generator=generator, device=device).to(images)
        case "noise":
            return noise(shape, generator, device).to(images)
        case "texture":
            return texture(shape, generator, device).to(images)
        case "mixed":
            return _mixed(images, generator)
        case "blur":
            return blurred(images)
        case "patch":
            return other_faces(images, generator)
    known = "black, mean, constant, noise, texture, mixed, blur, patch"
    raise ValueError(f"fill must be one of {known}; got {fill!r}.")


def _mixed(images: Tensor, generator: Generator) -> Tensor:
    """Each picture draws one of ``MIXED``; only the pictures that need a canvas get one."""
    choice = torch.randint(len(MIXED), (len(images),), generator=generator, device=generator.device)
    if choice.is_cuda:
        # To learn how many pictures drew a fill, a GPU would have to be waited for.
        canvases = [draw_fill(images, fill, generator).expand_as(images) for fill in MIXED]
        return torch.stack(canvases)[choice, torch.arange(len(images), device=choice.device)]
    canvas = torch.empty_like(images)
    for number, fill in enumerate(MIXED):
        chosen = (choice == number).nonzero()[:, 0]
        if len(chosen):
            # Of the pictures these fills look at nothing but the shape.
            alike = images[: len(chosen)]
            canvas[sent(chosen, images.device)] = draw_fill(alike, fill, generator).expand_as(alike)
    return canvas
