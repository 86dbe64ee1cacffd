from contextlib import nullcontext

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from occfer.data.align import TEMPLATE, moved, warp
from occfer.data.camera import frames
from occfer.data.extract import PART, Choice
from occfer.data.pictures import BadPicture
from occfer.emotions import EMOTIONS
from occfer.engine.evaluate import evaluate, require_classifier
from occfer.engine.finetune import build_classifier
from occfer.engine.predict import NoFace, as_faces, files, predict
from occfer.ocl import Encoder


@pytest.fixture(scope="module")
def model(fgw_recipe):
    return build_classifier(fgw_recipe())


@pytest.fixture
def pixels(pictures) -> torch.Tensor:
    return (pictures(3, 20, 30) * 255).round().byte()


def test_a_tensor_an_array_a_picture_and_its_file_agree(model, pixels, tmp_path) -> None:
    array = pixels.permute(1, 2, 0).numpy()
    picture = Image.fromarray(array)
    picture.save(tmp_path / "face.png")
    sources = {
        "bytes": pixels,
        "batch of bytes": pixels[None],
        "floats": pixels.float() / 255,
        "array": array,
        "array laid out otherwise": np.asfortranarray(array),
        "picture": picture,
        "file": tmp_path / "face.png",
        "name of the file": str(tmp_path / "face.png"),
    }
    expected = predict(model, pixels)
    for name, source in sources.items():
        found = predict(model, source, aligned=True)
        assert torch.equal(found.probabilities, expected.probabilities), name
        assert torch.equal(found.region_probabilities, expected.region_probabilities), name
        assert torch.equal(found.attention, expected.attention), name


def test_a_grey_picture_agrees_however_it_comes(model, pixels, tmp_path) -> None:
    grey = pixels[:1]
    Image.fromarray(grey[0].numpy()).save(tmp_path / "face.png")
    expected = predict(model, grey).probabilities
    for source in (grey[0].numpy(), grey[0].numpy()[:, :, None], tmp_path / "face.png"):
        torch.testing.assert_close(predict(model, source, aligned=True).probabilities, expected)


def test_predictions_are_those_of_evaluation(model, toy_faces) -> None:
    faces = toy_faces(6)
    found = predict(model, faces.images)
    scored = evaluate(model, faces)
    np.testing.assert_allclose(found.probabilities.numpy(), scored.probabilities, atol=1e-6)
    assert found.emotions == [EMOTIONS[label] for label in scored.labels]


def test_probabilities_sum_to_one_and_regions_come_along(model, pictures) -> None:
    images = pictures(4, 3, 24, 24)
    found = predict(model, images)
    torch.testing.assert_close(found.probabilities.sum(dim=1), torch.ones(4))
    torch.testing.assert_close(found.region_probabilities.sum(dim=2), torch.ones(4, 5))
    assert found.attention.shape == (4, 5, 2, 2)
    assert not found.probabilities.requires_grad
    with torch.no_grad():
        logits, region_logits, _, attention = model.eval()(images)
    for ours, theirs in (
        (found.probabilities.log(), logits), (found.region_probabilities.log(), region_logits),
    ):  # fmt: skip
        # Logits are logarithms of probabilities, but for a constant that all classes share.
        torch.testing.assert_close(ours - ours[..., :1], theirs - theirs[..., :1])
    torch.testing.assert_close(found.attention, attention)


def test_a_plain_network_has_no_regions(fgw_recipe, pictures) -> None:
    found = predict(build_classifier(fgw_recipe(method="plain")), pictures(2, 1, 24, 24))
    assert found.probabilities.shape == (2, 7)
    assert found.region_probabilities is None
    assert found.attention is None


@pytest.mark.parametrize("training", [False, True])
def test_the_network_is_left_as_it_was(model, pixels, training) -> None:
    model.train(training)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    predict(model, pixels)
    assert model.training == training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_many_faces_are_asked_part_by_part(model, pictures) -> None:
    faces, sizes = pictures(2 * PART + 3, 1, 8, 8), []
    handle = model.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    with handle:
        found = predict(model, faces)
    assert sizes == [PART, PART, 3]
    with torch.inference_mode():
        logits, region_logits, _, attention = model.eval()(faces)
    torch.testing.assert_close(found.probabilities, logits.softmax(1))
    torch.testing.assert_close(found.region_probabilities, region_logits.softmax(2))
    torch.testing.assert_close(found.attention, attention)


@pytest.mark.parametrize("broken", [False, True])
def test_a_part_that_was_frozen_stays_frozen(fgw_recipe, pixels, toy_faces, broken) -> None:
    """Also where a network says nothing because it has diverged."""
    model = build_classifier(fgw_recipe()).train()
    model.backbone.eval()
    if broken:
        next(model.parameters()).data.fill_(float("nan"))
    before = {name: module.training for name, module in model.named_modules()}
    for ask in (lambda: predict(model, pixels), lambda: evaluate(model, toy_faces(3))):
        with pytest.raises(FloatingPointError) if broken else nullcontext():
            ask()
        assert {name: module.training for name, module in model.named_modules()} == before


def test_what_names_no_expression_is_refused(pixels, toy_faces) -> None:
    encoder = Encoder(width=8, stem="small")
    for ask in (lambda: predict(encoder, pixels), lambda: evaluate(encoder, toy_faces(3))):
        with pytest.raises(ValueError, match="network that names expressions, got a Encoder; pass"):
            ask()
    # Types are checked in tests before the function itself could do it.
    for other in ("runs/model", None):
        with pytest.raises(ValueError, match=r"network that names expressions, got a \w+; pass"):
            require_classifier(other)


@pytest.mark.parametrize(
    "array", [np.zeros((8, 8), np.float32), np.zeros((2, 8, 8, 3), np.uint8), np.zeros(8, np.uint8)]
)
def test_other_arrays_are_refused(array) -> None:
    with pytest.raises(ValueError, match=r"should be uint8 \[H, W\] .* got .* pass tensors"):
        as_faces(array)


@pytest.mark.parametrize(
    ("change", "came"),
    [
        (lambda faces: faces * 255, "float32 from 0"),
        (lambda faces: faces * float("nan"), "float32 from nan to nan"),
        (lambda faces: (faces * 255).long(), "int64 from 0"),
    ],
)
def test_tensors_in_another_range_are_not_answered(model, pixels, change, came) -> None:
    """They would give seven probabilities like any others."""
    with pytest.raises(ValueError, match=rf"uint8, or float in \[0, 1\], got torch\.{came}"):
        predict(model, change(pixels.float() / 255))


def test_a_picture_is_turned_as_its_camera_says_however_it_comes(model, pixels, tmp_path) -> None:
    lying = Image.fromarray(pixels.permute(1, 2, 0).numpy()).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    lying.save(tmp_path / "face.png", exif=exif)
    expected = predict(model, pixels).probabilities
    for source in (tmp_path / "face.png", Image.open(tmp_path / "face.png")):
        assert torch.equal(predict(model, source, aligned=True).probabilities, expected)


def test_a_network_that_diverged_says_nothing(fgw_recipe, pixels, toy_faces) -> None:
    diverged = build_classifier(fgw_recipe())
    next(diverged.parameters()).data.fill_(float("nan"))
    for ask in (lambda: predict(diverged, pixels), lambda: evaluate(diverged, toy_faces(3))):
        with pytest.raises(FloatingPointError, match="its weights have diverged"):
            ask()


def test_a_file_that_is_no_picture_is_refused(tmp_path) -> None:
    path = tmp_path / "face.png"
    path.write_text("not a picture")
    with pytest.raises(ValueError, match=r"face\.png cannot be read as a picture"):
        as_faces(path)
    with pytest.raises(FileNotFoundError, match=r"missing\.png should be a picture or a folder"):
        as_faces(tmp_path / "missing.png")


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """One face, whose eyes lie near (126, 107) and (164, 105): read off by hand."""
    return np.ascontiguousarray(astronaut()[:300, 80:380])


EYES = np.array([[126, 107], [164, 105]])


def test_a_face_is_found_on_a_photograph_however_it_comes(model, photograph, tmp_path) -> None:
    Image.fromarray(photograph).save(tmp_path / "photo.png")
    found = predict(model, photograph)
    np.testing.assert_allclose(found.faces.landmarks[0, :2], EYES, atol=8)
    left, top, right, bottom = found.faces.boxes[0]
    assert (left < EYES[:, 0]).all()
    assert (right > EYES[:, 0]).all()
    assert top < 100 < 115 < bottom
    for source in (Image.fromarray(photograph), tmp_path / "photo.png", tmp_path):
        again = predict(model, source)
        assert torch.equal(again.probabilities, found.probabilities)
        assert torch.equal(again.attention, found.attention)
        np.testing.assert_array_equal(again.faces.matrices, found.faces.matrices)
    assert again.faces.names == (str(tmp_path / "photo.png"),)


def test_what_was_cut_out_is_what_was_asked(model, photograph) -> None:
    found = predict(model, photograph)
    again = predict(model, found.faces.images)
    assert torch.equal(again.probabilities, found.probabilities)
    assert torch.equal(again.region_probabilities, found.region_probabilities)
    assert again.faces is None
    # The similarity nearest to the template brings the points' mean to the template's.
    ours = moved(found.faces.landmarks[0], found.faces.matrices[0])
    np.testing.assert_allclose(ours.mean(axis=0), TEMPLATE.mean(axis=0), atol=1e-3)


def test_several_faces_are_one_row_each(model, photograph) -> None:
    both = np.concatenate([photograph, photograph[:, ::-1]], axis=1)
    found = predict(model, both)
    assert len(found.probabilities) == len(found.faces.boxes) == 2
    eyes = sorted(found.faces.landmarks[:, :2, 0].mean(axis=1).tolist())
    np.testing.assert_allclose(eyes, [145, 599 - 145], atol=8)
    for (left, top, right, bottom), points in zip(
        found.faces.boxes, found.faces.landmarks, strict=True
    ):
        assert ((points > (left, top)) & (points < (right, bottom))).all()
    largest = predict(model, both, choice=Choice(every=False))
    assert len(largest.probabilities) == 1


def test_a_large_photograph_is_searched_small_and_cut_from_the_original(model, photograph) -> None:
    large = np.asarray(Image.fromarray(photograph).resize((3600, 3600), Image.Resampling.BICUBIC))
    found, small = predict(model, large), predict(model, photograph)
    expected = (small.faces.landmarks[0] + 0.5) * 12 - 0.5
    np.testing.assert_allclose(found.faces.landmarks[0], expected, atol=12 * 3)
    cut = warp(Image.fromarray(large), found.faces.matrices[0])
    np.testing.assert_array_equal(found.faces.images[0].permute(1, 2, 0), cut)


def test_a_picture_without_a_face_is_one_sentence(model, pixels, tmp_path) -> None:
    Image.fromarray(np.full((200, 300, 3), 90, np.uint8)).save(tmp_path / "wall.png")
    named = {r"wall\.png": tmp_path / "wall.png", ".": tmp_path}
    named["the picture"] = pixels.permute(1, 2, 0).numpy()
    for name, source in named.items():
        with pytest.raises(NoFace, match=rf"{name} should show a face of at least 40 pixels"):
            predict(model, source)
    with pytest.raises(ValueError, match="tensor should hold faces that are cut out already"):
        predict(model, pixels, aligned=False)


def test_where_no_picture_can_be_read_no_face_is_said_to_be_missing(model, tmp_path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    for source in (tmp_path / "broken.jpg", tmp_path):
        with pytest.raises(BadPicture, match=r"broken\.jpg cannot be read as a picture"):
            predict(model, source)
    with pytest.raises(ValueError, match=r"its name is empty; write \. for the folder"):
        predict(model, "")


def test_a_folder_gives_what_it_has(model, photograph, tmp_path, monkeypatch) -> None:
    (tmp_path / "deep").mkdir()
    Image.fromarray(photograph).save(tmp_path / "deep" / "b.png")
    Image.fromarray(photograph).save(tmp_path / "a#2.png")
    Image.fromarray(photograph[200:, :200]).save(tmp_path / "COAT.PNG")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("no picture either")
    Image.fromarray(photograph).save(tmp_path / "moving.gif")
    found = predict(model, tmp_path)
    assert found.faces.names == (str(tmp_path / "a#2.png"), str(tmp_path / "deep" / "b.png"))
    assert torch.equal(found.probabilities[0], found.probabilities[1])
    rejected = dict(found.faces.rejected)
    unread = ("COAT.PNG", "broken.jpg", "moving.gif")
    assert set(rejected) == {str(tmp_path / name) for name in unread}
    assert found.faces.scores.min() > 0.9
    # Searched and asked one by one, as a folder of many is part by part.
    monkeypatch.setattr("occfer.engine.predict.PART", 1)
    one_by_one = predict(model, tmp_path)
    torch.testing.assert_close(one_by_one.probabilities, found.probabilities)
    torch.testing.assert_close(one_by_one.attention, found.attention)
    assert one_by_one.faces.names == found.faces.names
    assert sorted(one_by_one.faces.rejected) == sorted(found.faces.rejected)


def test_aligned_faces_of_a_folder_are_one_batch(model, pictures, tmp_path) -> None:
    faces = (pictures(3, 3, 24, 24) * 255).byte()
    for number, face in enumerate(faces):
        Image.fromarray(face.permute(1, 2, 0).numpy()).save(tmp_path / f"{number}.png")
    found = predict(model, tmp_path, aligned=True)
    assert torch.equal(found.probabilities, predict(model, faces).probabilities)
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "other.png")
    with pytest.raises(ValueError, match=r"one size to be one batch, got .* one by one"):
        predict(model, tmp_path, aligned=True)
    (tmp_path / "other.png").write_bytes(b"no picture")
    with pytest.raises(BadPicture, match=r"other\.png cannot be read as a picture"):
        predict(model, tmp_path, aligned=True)


def test_a_folder_that_is_called_like_a_picture_is_a_folder(model, pictures, tmp_path) -> None:
    faces = (pictures(2, 3, 24, 24) * 255).byte()
    for face, name in zip(faces, ("a.png", "b.png/deep.png"), strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(face.permute(1, 2, 0).numpy()).save(tmp_path / name)
    (tmp_path / "empty.jpg").mkdir()
    for hidden in ("._a.png", ".thumbs/a.png", "__MACOSX/b/a.png"):
        (tmp_path / hidden).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / hidden).write_bytes(b"no picture")
    assert files(tmp_path) == [tmp_path / "a.png", tmp_path / "b.png" / "deep.png"]
    found = predict(model, tmp_path, aligned=True)
    assert torch.equal(found.probabilities, predict(model, faces).probabilities)


def test_frames_of_a_video_are_those_that_were_written(model, photograph, tmp_path) -> None:
    """A camera and a file are one to OpenCV."""
    path = tmp_path / "film.avi"
    film = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (300, 300))
    written = [photograph, np.ascontiguousarray(photograph[:, ::-1])]
    for frame in written:
        film.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    film.release()
    read = list(frames(path))
    assert len(read) == 2
    for ours, theirs in zip(written, read, strict=True):
        assert np.abs(ours.astype(int) - theirs).mean() < 4
        eyes = predict(model, theirs).faces.landmarks[0, :2]
        np.testing.assert_allclose(eyes, predict(model, ours).faces.landmarks[0, :2], atol=2)
    for missing in (tmp_path / "none.avi", 97):
        with pytest.raises(FileNotFoundError, match=r"(video|camera) .* cannot be opened; look"):
            next(frames(missing))
