"""The boxes are facenet-pytorch's, on a photograph and on rendered faces, by its own weights."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from facenet_pytorch import MTCNN
from PIL import Image
from skimage.data import astronaut

from occfer.data.detect import Detector
from occfer.data.synthfer import synthfer


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    """Eileen Collins, 1999; NASA, in the public domain."""
    return Image.fromarray(astronaut())


@pytest.fixture(scope="module")
def scenes(photograph) -> list[np.ndarray]:
    """Pictures of different sizes, two of the same, with none to nine faces."""
    faces = synthfer("val").images[:9].permute(0, 2, 3, 1).numpy()
    grid = np.concatenate([np.concatenate(faces[n : n + 3], axis=1) for n in (0, 3, 6)])
    two = Image.new("RGB", (420, 300), (90, 120, 90))
    two.paste(photograph.resize((300, 300)), (120, 0))
    two.paste(photograph.resize((110, 110)), (5, 180))
    pictures = [photograph.resize((256, 256)), Image.fromarray(grid).resize((505, 505)), two,
                photograph.rotate(20).resize((256, 256)), Image.new("RGB", (201, 97), (3, 3, 3)),
                photograph.resize((333, 187)), Image.new("RGB", (15, 200))]  # fmt: skip
    return [np.asarray(each) for each in pictures]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector()


@pytest.fixture(scope="module")
def found(detector, scenes):
    return detector(scenes)


def test_the_boxes_scores_and_points_are_facenet_pytorchs(found, scenes) -> None:
    plain = MTCNN(keep_all=True)
    for pixels, ours in zip(scenes[:-1], found, strict=False):
        boxes, scores, points = plain.detect(pixels, landmarks=True)
        if boxes is None:
            assert len(ours) == 0
            continue
        assert np.abs(boxes.astype(float) - ours.boxes).max() < 0.01
        assert np.abs(scores.astype(float) - ours.scores).max() < 1e-4
        assert np.abs(points.astype(float) - 1 - ours.landmarks).max() < 0.01
    assert [len(each) for each in found][3:5] == [1, 0]
    assert len(found[2]) >= 2
    assert len(found[1]) >= 5


def test_a_picture_too_small_for_a_face_has_none(found) -> None:
    """facenet-pytorch raises here."""
    assert len(found[-1]) == 0


def test_a_batch_finds_what_each_picture_alone_has(detector, found, scenes) -> None:
    for pixels, together in zip(scenes, found, strict=True):
        [alone] = detector([pixels])
        assert np.abs(alone.boxes - together.boxes).max(initial=0) < 0.01
        assert np.abs(alone.landmarks - together.landmarks).max(initial=0) < 0.01


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_share_the_pictures_and_leave_no_trace(detector, found, scenes, threads) -> None:
    before, used = torch.get_num_threads(), set()

    def note(network, inputs) -> None:
        used.add((threading.get_ident(), torch.get_num_threads()))

    hook = detector.propose.register_forward_pre_hook(note)
    try:
        torch.set_num_threads(threads)
        again = detector(scenes)
        with ThreadPoolExecutor(1) as fresh:
            assert fresh.submit(torch.get_num_threads).result() == threads
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
        hook.remove()
    # A share that is empty, or done at once, leaves its thread to the next.
    assert min(threads, 2) <= len(used) <= threads
    assert {number for _, number in used} == {1}
    for ours, theirs in zip(again, found, strict=True):
        assert np.abs(ours.boxes - theirs.boxes).max(initial=0) < 0.01
        assert np.abs(ours.landmarks - theirs.landmarks).max(initial=0) < 0.01


def test_the_largest_face_comes_first(found) -> None:
    for each in found:
        areas = (each.boxes[:, 2] - each.boxes[:, 0]) * (each.boxes[:, 3] - each.boxes[:, 1])
        assert (np.diff(areas) <= 0).all()


def test_points_count_from_the_centre_of_the_first_pixel(detector, photograph) -> None:
    """On the mirror image x becomes width - 1 - x, and left becomes right."""
    sums = []
    for side in (200, 256, 300, 333, 400):
        pixels = np.asarray(photograph.resize((side, side)))
        here, there = detector([pixels, np.ascontiguousarray(pixels[:, ::-1])])
        mirrored = there.landmarks[0][[1, 0, 2, 4, 3]]
        sums.append(here.landmarks[0][:, 0] + mirrored[:, 0] - (side - 1))
    assert abs(np.mean(sums) / 2) < 0.25


def test_points_lie_where_the_renderer_put_them(detector) -> None:
    """Within a twentieth of the face on average; nobody's left is another's right."""
    faces = synthfer("val")[:24]
    large = [np.asarray(Image.fromarray(pixels).resize((224, 224)))
             for pixels in faces.images.permute(0, 2, 3, 1).numpy()]  # fmt: skip
    errors = [
        np.linalg.norm((each.landmarks[0] + 0.5) / 2 - 0.5 - points, axis=1).mean()
        for each, points in zip(detector(large), faces.landmarks.numpy(), strict=True)
        if len(each)
    ]
    assert len(errors) >= 20
    assert np.mean(errors) < 112 / 20


def test_no_pictures_have_no_faces(detector) -> None:
    assert detector([]) == []


@pytest.mark.parametrize("options", [dict(min_face=5)])
def test_settings_out_of_range_are_named(options) -> None:
    with pytest.raises(ValueError, match="min_face must be at least 12 pixels"):
        Detector(**options)


def test_gradients_are_not_kept(detector, scenes) -> None:
    before = torch.is_grad_enabled()
    detector(scenes[:1])
    assert torch.is_grad_enabled() == before
