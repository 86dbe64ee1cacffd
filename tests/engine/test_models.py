import json
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from occfer.engine.finetune import build_classifier
from occfer.engine.models import load_classifier, load_encoder, load_model, save_model
from occfer.engine.pretrain import build_encoder
from occfer.files import file_sha256


@pytest.fixture
def saved(tmp_path, ocl_recipe) -> Path:
    recipe = ocl_recipe()
    return save_model(build_encoder(recipe), recipe, tmp_path / "model")


@pytest.mark.parametrize("changes", [{}, dict(method="plain"), dict(head="separate", regions=4)])
def test_a_classifier_survives_its_folder(tmp_path, fgw_recipe, pictures, changes) -> None:
    recipe = fgw_recipe(**changes)
    model = build_classifier(recipe)
    model(pictures(4, 3, 24, 24))  # moves the statistics of batch normalisation
    loaded = load_model(save_model(model, recipe, tmp_path))
    assert not loaded.training
    images = pictures(2, 3, 24, 24, seed=1)
    for mine, other in zip(model.eval()(images), loaded(images), strict=True):
        assert torch.equal(mine, other)


def test_an_encoder_survives_its_folder(saved, ocl_recipe, pictures) -> None:
    images = pictures(2, 3, 24, 24)
    expected = build_encoder(ocl_recipe()).eval()(images)
    assert torch.equal(load_encoder(saved)(images), expected)


def test_a_folder_may_be_moved_and_names_no_place(saved, tmp_path) -> None:
    words = (saved / "config.json").read_text()
    assert str(tmp_path) not in words
    moved = shutil.move(saved, tmp_path / "elsewhere")
    load_encoder(moved)


def test_imagenet_weights_are_not_fetched_again(tmp_path, fgw_recipe, monkeypatch) -> None:
    """A network that started from ImageNet loads where there is no net."""
    recipe = fgw_recipe()
    model = build_classifier(recipe)
    folder = save_model(model, replace(recipe, pretrained=True), tmp_path / "model")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))
    load_model(folder)
    assert not (tmp_path / "nothing").exists()


def test_tampered_weights_are_refused(saved) -> None:
    weights = load_file(saved / "model.safetensors")
    key = next(key for key in weights if weights[key].is_floating_point())
    weights[key].view(-1)[0] += 1
    save_file(weights, saved / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors should have SHA-256 .*…, has"):
        load_model(saved)


class Intruder:
    def __init__(self, folder: Path):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("knows_the_hash", [False, True])
@pytest.mark.parametrize("write", [pickle.dump, torch.save])
def test_a_pickle_is_refused_and_never_run(saved, tmp_path, write, knows_the_hash) -> None:
    trace = tmp_path / "was-here"
    weights = saved / "model.safetensors"
    with open(weights, "wb") as file:
        write(Intruder(trace), file)
    if knows_the_hash:
        words = json.loads((saved / "config.json").read_text())
        words["sha256"] = file_sha256(weights)
        (saved / "config.json").write_text(json.dumps(words))
    with pytest.raises(ValueError, match=r"model\.safetensors should"):
        load_model(saved)
    assert not trace.exists()


def test_an_empty_folder_is_named(tmp_path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"should hold config\.json .* pass the folder that"
    ):
        load_model(tmp_path)


def test_missing_weights_are_named(saved) -> None:
    (saved / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        load_model(saved)


@pytest.mark.parametrize(
    "words", ["", "[]", "null", "{}", '{"network": "FGW"}', '{"sha256": "00"}', "[" * 100_000]
)
def test_broken_words_are_named(saved, words) -> None:
    (saved / "config.json").write_text(words)
    with pytest.raises(ValueError, match=r"config\.json should say which network"):
        load_model(saved)


def test_a_recipe_that_does_not_fit_the_weights_is_refused(saved) -> None:
    words = json.loads((saved / "config.json").read_text())
    words["options"]["width"] = 12
    (saved / "config.json").write_text(json.dumps(words))
    with pytest.raises(ValueError, match=r"weights in .* do not fit the recipe"):
        load_model(saved)


def test_a_classifier_is_no_encoder(tmp_path, fgw_recipe) -> None:
    recipe = fgw_recipe(method="plain")
    folder = save_model(build_classifier(recipe), recipe, tmp_path)
    with pytest.raises(ValueError, match="pre-trained encoder, but holds a PlainClassifier; pass"):
        load_encoder(folder)
    assert load_classifier(folder).fc.out_features == 7


def test_an_encoder_is_no_classifier(saved) -> None:
    with pytest.raises(ValueError, match="classifier, but holds a pre-trained encoder; pass the"):
        load_classifier(saved)
