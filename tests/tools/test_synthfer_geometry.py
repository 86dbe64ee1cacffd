"""The renderer's geometry: subdivision, spheres, rotations, cameras."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tools.synthfer.eyes import fit_sphere, rotation_between
from tools.synthfer.scene import SIZE, Camera, Piece, render
from tools.synthfer.subdivision import catmull_clark, refine_times, triangles

CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
CUBE_FACES = np.array(
    [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
)


def test_a_cube_corner_moves_to_five_ninths():
    refine, _ = catmull_clark(CUBE_FACES, 8)
    np.testing.assert_allclose((refine @ CUBE)[:8], CUBE * 5 / 9)


def test_subdivision_keeps_a_closed_surface_closed():
    _, faces = refine_times(CUBE_FACES, 8, 2)
    edges = np.sort(np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2), 1)
    distinct, uses = np.unique(edges, axis=0, return_counts=True)
    assert (uses == 2).all()
    assert len(np.unique(faces)) - len(distinct) + len(faces) == 2


def test_a_subdivided_point_is_a_weighted_mean():
    refine, _ = refine_times(CUBE_FACES, 8, 2)
    np.testing.assert_allclose(refine.sum(1), 1, atol=1e-6)


def test_an_open_flat_sheet_stays_flat_and_keeps_the_middle_of_its_border():
    x, y = np.meshgrid(np.arange(4.0), np.arange(4.0), indexing="ij")
    sheet = np.stack([x.ravel(), y.ravel(), np.full(16, 3.0)], 1)
    first = np.array([4 * i + j for i in range(3) for j in range(3)])
    faces = np.stack([first, first + 4, first + 5, first + 1], 1)
    refine, fine = catmull_clark(faces, 16)
    points = refine @ sheet
    np.testing.assert_allclose(points[:, 2], 3)
    np.testing.assert_allclose(points[1], sheet[1])
    assert triangles(fine).shape == (72, 3)


@given(
    st.tuples(*[st.floats(-50, 50)] * 3), st.floats(0.5, 5), st.integers(0, 2**31)
)  # fmt: skip
def test_the_sphere_through_points_of_a_sphere_is_that_sphere(centre, radius, seed):
    direction = np.random.default_rng(seed).normal(size=(40, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    found, size = fit_sphere(np.array(centre) + radius * direction)
    np.testing.assert_allclose(found, centre, atol=1e-6)
    assert size == pytest.approx(radius)


@given(st.tuples(*[st.floats(-1, 1)] * 3), st.integers(0, 2**31))
def test_a_rotation_is_found_again(vector, seed):
    points = np.random.default_rng(seed).normal(size=(20, 3))
    turn = Rotation.from_rotvec(vector).as_matrix()
    np.testing.assert_allclose(rotation_between(points, points @ turn.T + 3), turn, atol=1e-9)


def test_the_target_of_a_camera_is_the_middle_of_the_picture():
    camera = Camera(np.array([3.0, 4.0, 90.0]), np.array([1.0, 2.0, 3.0]), 12.0)
    middle = (SIZE - 1) / 2
    np.testing.assert_allclose(camera.project(camera.target[None]), [[middle, middle]])


@pytest.mark.parametrize("place", [(0, 0, 0), (4, -3, 2), (-5, 4, -6)])
def test_a_rendered_ball_lies_where_its_centre_is_projected(place):
    mitsuba = pytest.importorskip("mitsuba", reason="needs mitsuba, the extra synthfer")
    mitsuba.set_variant("llvm_ad_rgb")
    refine, faces = refine_times(CUBE_FACES, 8, 4)
    ball = refine @ CUBE
    ball = np.array(place) + ball / np.linalg.norm(ball, axis=1, keepdims=True)
    faces = triangles(faces)
    piece = Piece(ball, faces, np.full(ball.shape, 0.5), np.full(len(faces), 4, np.uint8))
    camera = Camera(np.array([10.0, 5.0, 80.0]), np.zeros(3), 12.0)
    picture = render([piece], camera, np.ones((8, 16, 3), np.float32), 16, 0)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    found = [(picture.alpha * axis).sum() / picture.alpha.sum() for axis in (columns, rows)]
    np.testing.assert_allclose(found, camera.project(np.array([place], float))[0], atol=0.15)
    assert set(np.unique(picture.parts)) == {0, 4}
    # The albedo is seen along the same rays as the picture, so that also at the rim, where some
    # rays miss the ball, its share is that of the rays that hit.
    rim = (picture.alpha > 0.05) & (picture.alpha < 0.95)
    assert rim.sum() > 20
    np.testing.assert_allclose(
        picture.albedo, 0.5 * np.repeat(picture.alpha[..., None], 3, -1), atol=2e-3
    )
