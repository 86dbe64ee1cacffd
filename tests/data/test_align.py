"""A similarity brings points where they belong, and pixels with them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from occfer.data.align import SIZE, TEMPLATE, moved, similarity, warp


def turn(degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    angle = np.deg2rad(degrees)
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([rotation, shift])


@given(
    st.floats(-180, 180), st.floats(0.1, 8), st.tuples(st.floats(-900, 900), st.floats(-900, 900))
)
def test_a_turned_scaled_and_shifted_template_comes_back(degrees, scale, shift) -> None:
    points = moved(TEMPLATE.astype(np.float32), turn(degrees, scale, shift))
    [matrix] = similarity(points[None])
    assert moved(points, matrix) == pytest.approx(TEMPLATE, abs=0.05)


def test_no_other_similarity_is_nearer() -> None:
    draw = np.random.default_rng(0)
    points = (TEMPLATE * 2 + draw.normal(0, 9, (5, 2))).astype(np.float32)
    [best] = similarity(points[None])
    error = ((points @ best[:, :2].T + best[:, 2] - TEMPLATE) ** 2).sum()
    a, b, c, d = best[0, 0], best[1, 0], best[0, 2], best[1, 2]
    for change in np.eye(4) * 1e-3:
        for sign in (1, -1):
            p, q, x, y = np.array([a, b, c, d]) + sign * change
            other = np.array([[p, -q, x], [q, p, y]])
            assert ((points @ other[:, :2].T + other[:, 2] - TEMPLATE) ** 2).sum() > error


def test_a_face_is_never_mirrored() -> None:
    mirrored = TEMPLATE * [-1, 1]
    [matrix] = similarity(mirrored[None].astype(np.float32))
    assert np.linalg.det(matrix[:, :2]) > 0


@pytest.mark.parametrize(
    ("degrees", "scale"), [(0, 1), (0, 4.3), (33, 1), (-70, 2.6), (180, 0.5), (12, 9)]
)
def test_pixels_go_where_points_go(degrees, scale) -> None:
    """Five discs in a picture lie on the template afterwards, to a fraction of a pixel."""
    points = moved(TEMPLATE.astype(np.float32), turn(degrees, scale, (0, 0)))
    points += 40 - points.min(axis=0)
    y, x = np.mgrid[: int(points[:, 1].max()) + 40, : int(points[:, 0].max()) + 40]
    [matrix] = similarity(points[None])
    for point, target in zip(points, moved(points, matrix), strict=True):
        disc = np.hypot(x - point[0], y - point[1]) < max(4, 4 * scale)
        picture = Image.fromarray(np.repeat((255 * disc)[..., None], 3, axis=2).astype(np.uint8))
        weight = warp(picture, matrix)[..., 0].astype(float)
        rows, columns = np.mgrid[:SIZE, :SIZE]
        centre = [(weight * each).sum() / weight.sum() for each in (columns, rows)]
        assert centre == pytest.approx(target, abs=0.3)


def test_a_large_picture_is_averaged_not_sampled() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (1120, 560))[..., None].repeat(3, axis=2)
    small = warp(Image.fromarray(stripes), turn(0, 0.1, (-0.45, -0.45)))
    assert np.abs(small.astype(int) - 127).max() <= 3


def test_outside_the_picture_is_black() -> None:
    white = Image.new("RGB", (40, 40), (255, 255, 255))
    pixels = warp(white, turn(0, 1, (60, 60)))
    assert pixels[:58].max() == 0
    assert pixels[70:90, 70:90].min() == 255
