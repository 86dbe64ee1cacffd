"""Blocks of other shapes than one rectangle, which still cover the asked share to the pixel.

A shape is given by its gauge, which tells for every pixel by how much the shape would have to grow
to reach it. The pixels with the least gauge are covered, exactly as many as asked.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from occfer.randomness import sent, uniform

Shape = Literal["rectangle", "ellipse", "stripe", "polygon"]
CORNERS = 6


@dataclass(frozen=True)
class Shapes:
    """``count`` shapes of one kind per picture.

    ``centre`` is (x, y) as shares of the picture; ``angle`` turns the shape, in radians;
    ``aspect`` is its height : width, and ``size`` its size relative to the others of its picture;
    ``corners`` jitters direction and distance of a polygon's sides.
    """

    kind: Shape
    centre: Float[Tensor, "batch count 2"]
    angle: Float[Tensor, "batch count"]
    aspect: Float[Tensor, "batch count"]
    size: Float[Tensor, "batch count"]
    corners: Float[Tensor, "batch count 2 corners"]

    def to(self, device: torch.device | str) -> "Shapes":
        tensors = {key: value for key, value in vars(self).items() if key != "kind"}
        return Shapes(self.kind, **{key: sent(value, device) for key, value in tensors.items()})


def draw_shapes(
    batch: int,
    generator: Generator,
    kind: Shape = "ellipse",
    count: int = 1,
    aspect: tuple[float, float] = (0.3, 3.3),
) -> Shapes:
    """Draw ``count`` shapes per picture: uniform in place and angle, log-uniform in aspect.

    Rectangles stay upright.

    Raises:
        ValueError: no such kind, or no whole count from 1.
    """
    if kind not in get_args(Shape) or not isinstance(count, int) or count < 1:
        raise ValueError(
            f"shape must be one of {', '.join(get_args(Shape))} and count a whole number of at "
            f"least 1; got {kind!r} and {count}."
        )
    device = generator.device

    def draw(low: float, high: float, *shape: int) -> Tensor:
        sample = uniform(low, high, batch, count, *shape, generator=generator, device=device)
        return sample.double()

    return Shapes(
        kind,
        centre=draw(0, 1, 2),
        angle=draw(0, 0 if kind == "rectangle" else math.pi),
        aspect=draw(*map(math.log, aspect)).exp(),
        size=draw(0.6, 1.4),
        corners=draw(-1, 1, 2, CORNERS),
    )


def gauge(shapes: Shapes, height: int, width: int) -> Float[Tensor, "batch height width"]:
    """By how much the nearest shape of each picture has to grow to reach each pixel."""
    device = shapes.centre.device
    y = torch.arange(height, device=device)[:, None] + 0.5
    x = torch.arange(width, device=device) + 0.5
    # All shapes and pixels at once: [batch, count, height, width].
    across = x - shapes.centre[:, :, 0, None, None] * width
    down = y - shapes.centre[:, :, 1, None, None] * height
    cos, sin = (part[:, :, None, None] for part in (shapes.angle.cos(), shapes.angle.sin()))
    stretch = shapes.aspect.sqrt()[:, :, None, None]
    across, down = (cos * across + sin * down) * stretch, (cos * down - sin * across) / stretch
    match shapes.kind:
        case "rectangle":
            reach = across.abs().maximum(down.abs())
        case "ellipse":
            reach = (across**2 + down**2).sqrt()
        case "stripe":
            reach = down.abs() * stretch
        case "polygon":
            reach = _polygon(shapes, across, down)
    return (reach / shapes.size[:, :, None, None]).amin(dim=1)


def shape_mask(
    shapes: Shapes, ratio: Float[Tensor, " batch"], height: int, width: int
) -> Bool[Tensor, "batch height width"]:
    """``True`` on exactly ``round(ratio * height * width)`` pixels of each picture."""
    pixels = (ratio.double() * height * width).round().long()
    order = gauge(shapes, height, width).flatten(1).argsort(dim=1, stable=True)
    first = torch.arange(height * width, device=order.device) < pixels[:, None]
    return torch.zeros_like(first).scatter_(1, order, first).view(-1, height, width)


def _polygon(shapes: Shapes, across: Tensor, down: Tensor) -> Tensor:
    """The gauge of a convex polygon: the furthest of its sides decides."""
    turn, distance = shapes.corners.unbind(dim=2)  # [batch, count, corners]
    step = 2 * math.pi / CORNERS
    direction = (torch.arange(CORNERS, device=turn.device) + 0.35 * turn) * step
    reach = torch.zeros_like(across)
    for side in range(CORNERS):
        cos, sin = direction[..., side].cos(), direction[..., side].sin()
        apart = 1 + 0.3 * distance[..., side]
        along = cos[..., None, None] * across + sin[..., None, None] * down
        reach = reach.maximum(along / apart[..., None, None])
    return reach
