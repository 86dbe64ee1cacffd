"""A small vector rasteriser: how much of each pixel a shape covers, for a batch at a time.

Shapes are polygons with one outline per picture. Along a row coverage is exact, and four rows are
sampled per pixel, so that edges stay smooth at 48 pixels; every picture is rasterised from its
own points alone.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

ROWS_PER_PIXEL = 4
FINEST = 0.9


def fill(
    outline: Float[Tensor, "batch points 2"], height: int, width: int
) -> Float[Tensor, "batch height width"]:
    """The covered share of each pixel under closed polygons, in [0, 1].

    Every edge that crosses a row changes, from there to the right, the winding number of the
    row's pixels; the changes are written once per crossing and summed up along the row.

    ``outline``: x and y in pixels, the centre of the first pixel being (0, 0).
    """
    batch, device = len(outline), outline.device
    rows = height * ROWS_PER_PIXEL
    y = ((torch.arange(rows, device=device) + 0.5) / ROWS_PER_PIXEL - 0.5).to(outline)[:, None]
    start, end = outline, outline.roll(-1, dims=1)
    (x0, y0), (x1, y1) = (point[:, None].unbind(dim=3) for point in (start, end))  # [B, 1, E]
    crosses = (y0 <= y) != (y1 <= y)  # [B, rows, E]
    rise = torch.where(y1 == y0, 1.0, y1 - y0)
    x = (x0 + (y - y0) / rise * (x1 - x0) + 0.5).clamp(0, width)
    winding = torch.where(y1 > y0, 1.0, -1.0).to(outline) * crosses
    column = x.floor()
    beyond = winding * (x - column)
    change = outline.new_zeros(batch, rows, width + 2)
    place = column.long()
    change.scatter_add_(2, place, winding - beyond)
    change.scatter_add_(2, place + 1, beyond)
    covered = change.cumsum(dim=2)[:, :, :width].abs().clamp(max=1)
    return covered.view(batch, height, ROWS_PER_PIXEL, width).mean(dim=2)


def stroke(
    path: Float[Tensor, "batch points 2"],
    width: Float[Tensor, " batch"],
    size: tuple[int, int],
    closed: bool = False,
) -> Float[Tensor, "batch height width"]:
    """The covered share of each pixel under a line through ``path``.

    ``width`` is in pixels; a line finer than ``FINEST`` is drawn that wide and fainter instead, so
    that it neither breaks up nor grows.
    """
    drawn = width.clamp(min=FINEST)
    along = path.roll(-1, dims=1) - path.roll(1, dims=1)
    if not closed:
        along[:, 0], along[:, -1] = path[:, 1] - path[:, 0], path[:, -1] - path[:, -2]
    along = along / along.norm(dim=2, keepdim=True).clamp(min=1e-6)
    across = torch.stack([-along[..., 1], along[..., 0]], dim=2) * drawn[:, None, None] / 2
    one, other = path + across, path - across
    if closed:
        covered = (fill(one, *size) - fill(other, *size)).abs()
    else:
        covered = fill(torch.cat([one, other.flip(1)], dim=1), *size)
    return covered * (width / drawn).clamp(min=0.5)[:, None, None]


def smooth(
    points: Float[Tensor, "*batch points axes"], closed: bool = False, steps: int = 6
) -> Float[Tensor, "*batch more axes"]:
    """A Catmull-Rom spline through ``points``; a point given twice is a corner."""
    if closed:
        before, after = points.roll(1, dims=-2), points.roll(-1, dims=-2)
        beyond = points.roll(-2, dims=-2)
        here = points
    else:
        first = torch.cat([points[..., :1, :], points, points[..., -1:, :]], dim=-2)
        before, here = first[..., :-3, :], points[..., :-1, :]
        after, beyond = points[..., 1:, :], first[..., 3:, :]
    t = (torch.arange(steps).to(points) / steps)[:, None]
    curve = 0.5 * (
        2 * here[..., None, :]
        + (after - before)[..., None, :] * t
        + (2 * before - 5 * here + 4 * after - beyond)[..., None, :] * t**2
        + (3 * here - before - 3 * after + beyond)[..., None, :] * t**3
    ).flatten(-3, -2)
    return curve if closed else torch.cat([curve, points[..., -1:, :]], dim=-2)


def ellipse(
    centre: tuple[float, float], radii: tuple[float, float], steps: int = 40
) -> Float[Tensor, "steps 2"]:
    """Points around an upright ellipse."""
    angle = torch.arange(steps, dtype=torch.float64) * 2 * math.pi / steps
    circle = torch.stack([angle.cos(), angle.sin()], dim=1)
    return circle * torch.tensor(radii) + torch.tensor(centre)


def rounded_box(
    half: tuple[float, float], corner: float, steps: int = 6
) -> Float[Tensor, "points 2"]:
    """A rectangle around the origin, from -half to half, with round corners."""
    angle = torch.arange(steps, dtype=torch.float64) * math.pi / 2 / (steps - 1)
    arc = torch.stack([angle.cos(), angle.sin()], dim=1) * corner
    inner = torch.tensor([half[0] - corner, half[1] - corner])
    quarters = []
    for sign_x, sign_y, turned in ((1, 1, False), (-1, 1, True), (-1, -1, False), (1, -1, True)):
        part = (arc.flip(0) if turned else arc) + inner
        quarters.append(part * torch.tensor([sign_x, sign_y]))
    return torch.cat(quarters)


def blur(
    cover: Float[Tensor, "batch height width"], radius: Float[Tensor, " batch"]
) -> Float[Tensor, "batch height width"]:
    """Gaussian blur with a standard deviation per picture, in pixels; nothing lies outside."""
    height, width = cover.shape[1:]

    def band(length: int) -> Tensor:
        place = torch.arange(length).to(cover)
        apart = (place[:, None] - place) / radius.clamp(min=0.3)[:, None, None]
        weights = (-0.5 * apart**2).exp()
        return weights / weights[:, length // 2].sum(dim=1)[:, None, None]

    return band(height) @ cover @ band(width)


def constant(points: list[tuple[float, ...]]) -> Float[Tensor, "points axes"]:
    """Control points as a float64 tensor; it takes type and device of what it meets."""
    return torch.tensor(points, dtype=torch.float64)


def mirrored(half: list[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """Points of a right half, from the middle line to the middle line, and their mirror images.

    The first and the last point lie on the middle line and are not doubled.
    """
    return half + [(-point[0], *point[1:]) for point in half[-2:0:-1]]
