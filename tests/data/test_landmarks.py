"""Faces that are cut out already get landmarks, or a fallback that says it is one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from occfer.data.align import TEMPLATE
from occfer.data.faceset import FaceSet
from occfer.data.landmarks import add_landmarks
from occfer.data.synthfer import synthfer


@pytest.fixture(scope="module")
def small() -> FaceSet:
    """SynthFER as FER2013 comes: 48 pixels, grey; two of them are no faces."""
    faces = synthfer("val", size=48)[:24]
    images = faces.images.float().mean(dim=1, keepdim=True).round().byte()
    images[5], images[6] = 0, torch.randint(0, 256, (1, 48, 48))
    return replace(faces, images=images)


@pytest.fixture(scope="module")
def found(small) -> FaceSet:
    return add_landmarks(replace(small, landmarks=None), progress=False)


def test_most_are_found_where_the_renderer_put_them(small, found) -> None:
    there = found.extras["landmark_found"]
    assert there.sum() >= 18
    assert not there[5:7].any()
    error = (found.landmarks - small.landmarks)[there].norm(dim=-1).mean()
    assert error < 48 / 20


def test_the_fallback_is_the_mean_of_the_found_ones(found) -> None:
    there = found.extras["landmark_found"]
    mean = found.landmarks[there].mean(dim=0)
    assert torch.allclose(found.landmarks[~there], mean.expand(int((~there).sum()), 5, 2))
    assert (found.extras["landmark_score"][~there] == 0).all()
    assert (found.extras["landmark_score"][there] >= 0.7).all()


def test_without_any_face_the_fallback_is_the_template() -> None:
    flat = FaceSet(torch.zeros(2, 1, 56, 112).byte(), torch.tensor([-1, -1]), ["a", "b"])
    points = add_landmarks(flat, progress=False).landmarks[0].numpy()
    assert points[:, 0] == pytest.approx(TEMPLATE[:, 0], abs=1e-3)
    assert points[:, 1] + 0.5 == pytest.approx((TEMPLATE[:, 1] + 0.5) / 2, abs=1e-3)


def test_everything_else_stays(small, found) -> None:
    assert torch.equal(found.images, small.images)
    assert found.ids == small.ids
    assert set(found.extras) == {*small.extras, "landmark_score", "landmark_found"}


def test_a_face_of_another_size_has_its_points_scaled(small, found) -> None:
    large = replace(small[:4], images=F.interpolate(small.images[:4], size=(96, 96)))
    points = add_landmarks(large, progress=False).landmarks
    expected = (found.landmarks[:4] + 0.5) * 2 - 0.5
    assert np.abs((points - expected).numpy()).max() < 3
