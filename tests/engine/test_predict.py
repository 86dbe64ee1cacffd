import numpy as np
import pytest
import torch
from PIL import Image

from occfer.emotions import EMOTIONS
from occfer.engine.evaluate import evaluate
from occfer.engine.finetune import build_classifier
from occfer.engine.predict import as_faces, predict


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
        found = predict(model, source)
        assert torch.equal(found.probabilities, expected.probabilities), name
        assert torch.equal(found.region_probabilities, expected.region_probabilities), name
        assert torch.equal(found.attention, expected.attention), name


def test_a_grey_picture_agrees_however_it_comes(model, pixels, tmp_path) -> None:
    grey = pixels[:1]
    Image.fromarray(grey[0].numpy()).save(tmp_path / "face.png")
    expected = predict(model, grey).probabilities
    for source in (grey[0].numpy(), grey[0].numpy()[:, :, None], tmp_path / "face.png"):
        torch.testing.assert_close(predict(model, source).probabilities, expected)


def test_predictions_are_those_of_evaluation(model, toy_faces) -> None:
    faces = toy_faces(6)
    found = predict(model, faces.images)
    scored = evaluate(model, faces)
    np.testing.assert_allclose(found.probabilities.numpy(), scored.probabilities, atol=1e-6)
    assert found.emotions == [EMOTIONS[label] for label in scored.labels]


def test_probabilities_sum_to_one_and_regions_come_along(model, pictures) -> None:
    found = predict(model, pictures(4, 3, 24, 24))
    torch.testing.assert_close(found.probabilities.sum(dim=1), torch.ones(4))
    torch.testing.assert_close(found.region_probabilities.sum(dim=2), torch.ones(4, 5))
    assert found.attention.shape == (4, 5, 2, 2)
    assert not found.probabilities.requires_grad


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


@pytest.mark.parametrize(
    "array", [np.zeros((8, 8), np.float32), np.zeros((2, 8, 8, 3), np.uint8), np.zeros(8, np.uint8)]
)
def test_other_arrays_are_refused(array) -> None:
    with pytest.raises(ValueError, match=r"should be uint8 \[H, W\] .* got .* pass tensors"):
        as_faces(array)


def test_a_file_that_is_no_picture_is_refused(tmp_path) -> None:
    path = tmp_path / "face.png"
    path.write_text("not a picture")
    with pytest.raises(OSError, match=r"face\.png"):
        as_faces(path)
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        as_faces(tmp_path / "missing.png")
