"""Exported files run in onnxruntime and say what PyTorch says."""

import json
import os
import shutil
import sys
from contextlib import nullcontext

import jaxtyping
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from skimage.data import astronaut

from occfer.emotions import EMOTIONS
from occfer.engine import export
from occfer.engine.evaluate import evaluate
from occfer.engine.export import OnnxClassifier, export_onnx
from occfer.engine.finetune import build_classifier
from occfer.engine.predict import predict
from occfer.fgw import PlainClassifier
from occfer.recipes import FinetuneRecipe, NetworkRecipe, finetuning

TINY = NetworkRecipe(width=8, stem="small", size=24)
OTHERWISE = dict(attention="per_region", head="separate", fusion="mean")


def lively(model: torch.nn.Module) -> torch.nn.Module:
    """Weights as after a training: statistics of batch normalisation that are not 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if name.endswith("running_mean"):
            value.copy_(torch.randn(value.shape, generator=generator) * 0.1)
        elif name.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return model.eval()


def ran(path, images: torch.Tensor) -> dict[str, np.ndarray]:
    """What plain onnxruntime gives, by the names that the file itself states."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images.numpy()}), strict=True))


@pytest.fixture(scope="module", autouse=True)
def without_checks_of_shapes():
    """They compare sizes with numbers, and would fix the batch that an exporter leaves open."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, fgw_recipe):
    model = lively(build_classifier(fgw_recipe()))
    return model, export_onnx(model, tmp_path_factory.mktemp("onnx") / "model.onnx", side=30)


def agrees(model: torch.nn.Module, path, pictures) -> bool:
    for batch in (1, 2, 7):
        images = pictures(batch, 3, 30, 30, seed=batch)
        found = ran(path, images)
        with torch.no_grad():
            output = model(images)
        assert set(found) == set(output._fields)
        for name, expected in output._asdict().items():
            np.testing.assert_allclose(found[name], expected, atol=1e-4, rtol=0)
    return True


def test_every_output_is_pytorchs_for_any_batch(exported, pictures) -> None:
    assert agrees(*exported, pictures)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [dict(method="plain"), dict(regions=6, **OTHERWISE)])
def test_other_networks_agree_too(tmp_path, fgw_recipe, pictures, changes) -> None:
    """And are left as they were, in training and with gradients."""
    model = lively(build_classifier(fgw_recipe(**changes)))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    path = export_onnx(model.train(), tmp_path / "model.onnx", side=30)
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    model(pictures(2, 3, 30, 30)).logits.sum().backward()
    model.load_state_dict(before)
    assert agrees(model.eval(), path, pictures)


@pytest.mark.slow
def test_the_papers_network_at_112_pixels_agrees(tmp_path, pictures) -> None:
    model = lively(build_classifier(finetuning("paper", network=NetworkRecipe())))
    path = export_onnx(model, tmp_path / "model.onnx")
    images = pictures(2, 3, 112, 112)
    found = ran(path, images)
    with torch.no_grad():
        output = model(images)
    probabilities = np.exp(found["logits"]) / np.exp(found["logits"]).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, output.logits.softmax(1), atol=1e-4, rtol=0)
    np.testing.assert_allclose(found["region_logits"], output.region_logits, atol=1e-4, rtol=0)
    np.testing.assert_allclose(found["attention"], output.attention, atol=1e-4, rtol=0)


def test_the_file_is_one_that_onnx_accepts_and_says_what_it_is(exported) -> None:
    _, path = exported
    onnx.checker.check_model(path, full_check=True)
    assert [each.name for each in path.parent.iterdir()] == ["model.onnx"]
    words = {each.key: each.value for each in onnx.load(path).metadata_props}
    assert json.loads(words["occfer"]) == {"network": "FGW", "side": 30, "classes": list(EMOTIONS)}


def test_an_exported_network_predicts_and_is_scored(exported, pictures, toy_faces) -> None:
    model, path = exported
    runs = OnnxClassifier(path, threads=1)
    for images in (pictures(3, 3, 30, 30), pictures(2, 1, 30, 30)):
        ours, theirs = predict(model, images), predict(runs, images)
        for name in ("probabilities", "region_probabilities", "attention"):
            torch.testing.assert_close(
                getattr(ours, name), getattr(theirs, name), atol=1e-4, rtol=0
            )
    faces = toy_faces(6)
    larger = torch.nn.functional.interpolate(faces.images.float(), 30).byte()
    faces = type(faces)(larger, faces.labels, faces.ids)
    np.testing.assert_allclose(
        evaluate(runs, faces).probabilities, evaluate(model, faces).probabilities, atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("searched", [False, True])
def test_pytorchs_threads_leave_the_cores_to_an_exported_network(
    exported, pictures, searched
) -> None:
    """Also where it refuses, as it does faces of 112 pixels, those which a search finds."""
    model, path = exported
    networks, seen, before = (OnnxClassifier(path), model), [], torch.get_num_threads()
    hooks = [
        network.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
        for network in networks
    ]
    torch.set_num_threads(2)
    try:
        for network, refuses in zip(networks, (searched, False), strict=True):
            with pytest.raises(ValueError, match="30 x 30") if refuses else nullcontext():
                predict(network, astronaut() if searched else pictures(1, 3, 30, 30))
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
        for hook in hooks:
            hook.remove()
    assert seen == [1, 2]


def test_a_file_that_differs_is_not_kept(exported, monkeypatch, tmp_path) -> None:
    model, path = exported
    other = lively(build_classifier(FinetuneRecipe(network=TINY, seed=1)))
    kept = shutil.copy(path, tmp_path / "model.onnx")
    monkeypatch.setattr(export, "_write", lambda _, draft, side: shutil.copy(path, draft))
    with pytest.raises(ValueError, match=r"agree with PyTorch to 0\.0001, but its logits differ"):
        export_onnx(other, kept, side=30)
    assert kept.read_bytes() == path.read_bytes()
    assert list(tmp_path.iterdir()) == [kept]
    export_onnx(model, kept, side=30)


def test_pictures_of_another_size_are_refused(exported, pictures) -> None:
    with pytest.raises(ValueError, match=r"takes pictures of 30 x 30 pixels, got 24 x 24; resize"):
        OnnxClassifier(exported[1])(pictures(1, 3, 24, 24))


def test_other_networks_are_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="one of FGW, PlainClassifier, got a Linear; pass what"):
        export_onnx(torch.nn.Linear(2, 2), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("side", [0, -5])
def test_a_side_that_is_none_is_refused(tmp_path, side) -> None:
    model = PlainClassifier(width=8, stem="small", size=24)
    with pytest.raises(ValueError, match=f"side should be at least 1 pixel, got {side};"):
        export_onnx(model, tmp_path / "model.onnx", side)


def test_other_classes_are_refused(tmp_path) -> None:
    model = PlainClassifier(num_classes=8, width=8, stem="small", size=24)
    with pytest.raises(ValueError, match=r"the 7 classes anger, .*, got one of 8; pass"):
        export_onnx(model, tmp_path / "model.onnx", 24)


@pytest.mark.parametrize("content", [b"", b"no network", os.urandom(3000)])
def test_a_file_that_is_no_network_is_refused(tmp_path, content) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.onnx should be a network that occfer export"):
        OnnxClassifier(path)
    with pytest.raises(FileNotFoundError, match="should be an exported network, but is no file"):
        OnnxClassifier(tmp_path / "missing.onnx")


def test_someone_elses_network_is_refused(exported, tmp_path) -> None:
    content = onnx.load(exported[1])
    del content.metadata_props[:]
    onnx.save(content, tmp_path / "other.onnx")
    with pytest.raises(ValueError, match=r"other\.onnx should be a network that occfer export"):
        OnnxClassifier(tmp_path / "other.onnx")


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named(exported, monkeypatch, tmp_path, package) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"package {package}, .* pip install 'occfer\[onnx\]'"):
        export_onnx(exported[0], tmp_path / "model.onnx")
