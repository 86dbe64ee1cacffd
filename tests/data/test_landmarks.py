"""Faces that are cut out already get landmarks, or a fallback that says it is one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from occfer.data import landmarks
from occfer.data.align import TEMPLATE
from occfer.data.detect import Detections
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


def test_a_face_that_fills_half_of_its_picture_is_found_too(small, found) -> None:
    there = found.extras["landmark_found"]
    framed = replace(small, images=F.pad(small.images, (24, 24, 24, 24), value=128))
    again = add_landmarks(framed, progress=False)
    assert again.extras["landmark_found"][there].float().mean() > 0.8
    both = there & again.extras["landmark_found"]
    assert ((again.landmarks - 24 - found.landmarks)[both].norm(dim=-1).mean()) < 48 / 20


def test_a_face_counts_from_the_asked_score_on(small, found) -> None:
    scores = found.extras["landmark_score"]
    asked = scores[scores > 0].median().item()
    again = add_landmarks(small, min_score=asked, progress=False)
    assert torch.equal(again.extras["landmark_found"], scores >= asked)
    assert torch.equal(again.extras["landmark_score"], scores.where(scores >= asked, 0))


def test_batches_of_another_size_find_the_same(small, found, monkeypatch) -> None:
    monkeypatch.setattr(landmarks, "BATCH", 7)
    again = add_landmarks(small, progress=False)
    assert torch.equal(again.extras["landmark_found"], found.extras["landmark_found"])
    torch.testing.assert_close(again.landmarks, found.landmarks, atol=0.01, rtol=0)


@pytest.fixture
def seen(monkeypatch) -> list[np.ndarray]:
    """In place of MTCNN one that takes light for a face: all five points lie in its middle. It also
    finds a smaller face in a corner, and lists the pictures that it was shown."""
    pictures = []

    def middle(picture: np.ndarray) -> Detections:
        pictures.append(picture)
        light = picture.sum(axis=2, dtype=float)
        faces = 2 if light.any() else 0
        points = np.zeros((faces, 5, 2), np.float32)
        if faces:
            rows, columns = np.indices(light.shape)
            points[0] = np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum()
        scores = np.array([0.9, 1.0], np.float32)[:faces]
        return Detections(np.zeros((faces, 4), np.float32), scores, points)

    monkeypatch.setattr(landmarks, "Detector", lambda **_: lambda shown: list(map(middle, shown)))
    return pictures


@pytest.mark.parametrize("channels", [1, 3])
def test_points_come_back_to_the_pixels_that_they_were_found_on(seen, channels) -> None:
    """On a face that is wider than it is high, so that rows and columns scale differently."""
    places = [(11, 20), (30, 9), (23, 41)]
    images = torch.zeros(3, channels, 40, 56, dtype=torch.uint8)
    for face, (row, column) in zip(images, places, strict=True):
        face[0, row, column] = 255
    faces = FaceSet(images, torch.full((3,), -1), ["a", "b", "c"])
    points = add_landmarks(faces, progress=False).landmarks
    expected = torch.tensor(places).float().flip(1)[:, None].expand(3, 5, 2)
    torch.testing.assert_close(points, expected, atol=0.05, rtol=0)
    for picture in seen:
        assert picture.any(axis=(0, 1)).tolist() == [True, channels == 1, channels == 1]


def test_the_margin_goes_on_with_the_edge_of_the_face(seen) -> None:
    """Where a face touched the side of its picture, no line may stand."""
    grey = torch.full((1, 1, 48, 48), 200, dtype=torch.uint8)
    add_landmarks(FaceSet(grey, torch.tensor([-1]), ["a"]), progress=False)
    (picture,) = seen
    assert min(picture.shape[:2]) > landmarks.ENLARGED
    assert (picture == 200).all()


def test_what_was_found_before_is_replaced(seen, found) -> None:
    again = add_landmarks(found, progress=False)
    assert again.extras["landmark_score"].unique().tolist() == pytest.approx([0, 0.9])
    assert not again.extras["landmark_found"][5]
    assert again.extras["landmark_found"][6], "noise, too, is light"


def test_the_bar_counts_faces_and_is_shown_only_if_asked(seen, found, capsys) -> None:
    add_landmarks(found, progress=False)
    assert not capsys.readouterr().err
    add_landmarks(found)
    assert "100%" in (shown := capsys.readouterr().err)
    assert "24/24" in shown
