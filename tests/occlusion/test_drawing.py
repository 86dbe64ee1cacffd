import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from occfer.occlusion.drawing import (
    ROWS_PER_PIXEL,
    blur,
    ellipse,
    fill,
    rounded_box,
    smooth,
    stroke,
)
from occfer.randomness import generator_for

seeds = st.integers(0, 2**31)


@given(x=st.floats(2, 9), y=st.integers(8, 36), w=st.floats(0.1, 12), h=st.integers(1, 40))
def test_an_upright_box_covers_its_area_and_no_pixel_outside(x, y, w, h) -> None:
    # Vertically four rows are sampled per pixel, so a height in quarters is exact.
    top, bottom = y / 4, y / 4 + h / 4
    corners = [[x, top], [x + w, top], [x + w, bottom], [x, bottom]]
    box = torch.tensor([corners], dtype=torch.float64)
    cover = fill(box, 24, 24)[0]
    assert cover.sum().item() == pytest.approx(w * h / 4, rel=1e-6)
    rows = torch.arange(24)
    # What a row adds where it enters the box it takes back where it leaves, up to rounding.
    assert (cover[(rows + 0.5 < top) | (rows - 0.5 > bottom)] < 1e-12).all()
    assert (cover[:, (rows + 0.5 < x) | (rows - 0.5 > x + w)] < 1e-12).all()


@given(seed=seeds)
def test_a_triangle_covers_what_many_points_thrown_at_it_hit(seed) -> None:
    corners = torch.rand(3, 2, generator=generator_for(seed)).double() * 30 + 1
    cover = fill(corners[None], 32, 32)[0]
    (ax, ay), (bx, by), (cx, cy) = corners.tolist()
    area = abs((bx - ax) * (cy - ay) - (cx - ax) * (by - ay)) / 2
    assert abs(cover.sum().item() - area) <= most_missed(area, sorted((ay, by, cy))) + 1e-9
    # Points on the lines along which it measures: a flat sliver between two lines is seen by none.
    y, x = torch.meshgrid(points_across(ROWS_PER_PIXEL), points_across(64), indexing="ij")
    sides = [
        (qx - px) * (y - py) - (qy - py) * (x - px)
        for (px, py), (qx, qy) in zip(corners.tolist(), corners.roll(-1, 0).tolist(), strict=True)
    ]
    inside = torch.stack([side > 0 for side in sides]).all(0)
    inside = inside | torch.stack([side < 0 for side in sides]).all(0)
    sampled = inside.double().view(32, ROWS_PER_PIXEL, 32, 64).mean(dim=(1, 3))
    # On each line either end is missed by less than one point.
    assert (cover - sampled).abs().max() <= 2 / 64


def most_missed(area: float, heights: list[float]) -> float:
    """How far the sum over lines may lie from a triangle's area.

    From top to bottom its width rises straight to the middle corner, and falls straight. Lines in
    the middle of their strips miss at most an eighth of a strip squared for every unit by which
    the slope changes, and of what rises once and falls once at most one strip of the widest.
    """
    top, middle, bottom = heights
    strip, widest = 1 / ROWS_PER_PIXEL, 2 * area / (bottom - top)
    slopes = widest / (middle - top) + widest / (bottom - middle)
    return min(strip * widest, strip**2 / 4 * slopes)


def points_across(a_pixel: int) -> torch.Tensor:
    """Places of 32 pixels with so many points in each, evenly spread."""
    return (torch.arange(32 * a_pixel).double() + 0.5) / a_pixel - 0.5


def test_direction_does_not_matter_and_outside_is_cut() -> None:
    disc = ellipse((10, 10), (6, 6), 200)[None]
    assert torch.allclose(fill(disc, 20, 20), fill(disc.flip(1), 20, 20))
    assert fill(disc, 20, 20).sum().item() == pytest.approx(math.pi * 36, rel=0.01)
    assert fill(disc - 10, 20, 20).sum().item() == pytest.approx(math.pi * 9 + 6 + 0.25, rel=0.05)
    assert not fill(disc + 100, 20, 20).any()


@pytest.mark.parametrize("width", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("angle", [0.0, 0.4, math.pi / 2])
def test_a_line_covers_length_times_width(width, angle) -> None:
    way = torch.tensor([math.cos(angle), math.sin(angle)]).double() * 10
    path = torch.stack([20 - way, 20 + way])[None]
    cover = stroke(path, torch.tensor([width]).double(), (40, 40))
    assert cover.sum().item() == pytest.approx(20 * width, rel=0.05)


def test_a_hair_line_grows_fainter_and_not_broken() -> None:
    path = torch.tensor([[[2.0, 10.0], [38.0, 10.0]]])
    cover = stroke(path, torch.tensor([0.45]), (20, 40))[0, 8:13, 5:35].sum(dim=0)
    assert cover.min() > 0.3
    assert cover.max() < 0.6


def test_a_closed_line_leaves_its_inside_free() -> None:
    ring = stroke(
        ellipse((20, 20), (10, 10), 60)[None], torch.tensor([2.0]).double(), (40, 40), True
    )
    assert ring[0, 20, 20] == 0
    assert ring.sum().item() == pytest.approx(2 * math.pi * 10 * 2, rel=0.03)


def test_curves_go_through_their_points() -> None:
    points = torch.rand(7, 3, generator=generator_for(0)).double()
    assert torch.allclose(smooth(points, steps=4)[::4], points)
    assert torch.allclose(smooth(points, closed=True, steps=4)[::4], points)
    assert len(smooth(points, steps=4)) == 25


def test_a_curve_through_points_of_a_parabola_is_that_parabola() -> None:
    """As Catmull and Rom made it: slopes are central differences. At the ends there is but one."""
    x = torch.arange(7).double()
    curve = smooth(torch.stack([x, x**2], dim=1), steps=4)[4:-4]
    torch.testing.assert_close(curve[:, 1], curve[:, 0] ** 2)


def test_a_rounded_box_fills_all_but_its_corners() -> None:
    box = rounded_box((8.0, 5.0), 3.0, steps=20)[None] + 10
    missing = (4 - math.pi) * 9
    assert fill(box.double(), 20, 20).sum().item() == pytest.approx(160 - missing, rel=0.01)


def test_blur_keeps_the_amount_and_treats_every_picture_by_its_own_radius() -> None:
    point = torch.zeros(2, 41, 41)
    point[:, 20, 20] = 1
    soft = blur(point, torch.tensor([1.0, 3.0]))
    assert torch.allclose(soft.sum(dim=(1, 2)), torch.ones(2), atol=1e-3)
    place = torch.arange(41.0) - 20
    spread = (soft.sum(dim=1) * place**2).sum(dim=1).sqrt()
    assert spread.tolist() == pytest.approx([1.0, 3.0], rel=0.01)
