"""Handing networks on: safetensors weights with their recipe beside them."""

import json
from dataclasses import replace
from pathlib import Path

from torch import nn

from occfer.engine.checkpoint import load_tensors, save_tensors, write_atomically
from occfer.engine.finetune import build_classifier
from occfer.engine.pretrain import build_encoder
from occfer.engine.team import is_first_process
from occfer.ocl import Encoder
from occfer.recipes import FinetuneRecipe, PretrainRecipe, as_dict, from_dict

WEIGHTS, WORDS = "model.safetensors", "model.json"


def save_model(
    model: nn.Module, recipe: PretrainRecipe | FinetuneRecipe, folder: str | Path
) -> Path:
    """Write an encoder (with its :class:`PretrainRecipe`) or a classifier to a folder.

    Of several processes only the first one writes.
    """
    folder = Path(folder)
    if not is_first_process():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    digest = save_tensors(model.state_dict(), folder / WEIGHTS)
    words = {"recipe": as_dict(recipe), "sha256": digest}
    write_atomically(folder / WORDS, (json.dumps(words, indent=1) + "\n").encode())
    return folder


def load_model(folder: str | Path) -> nn.Module:
    """The encoder or classifier that :func:`save_model` wrote, in evaluation mode.

    The recipe is checked field by field and the weights against their hash; nothing in the
    folder is ever executed.
    """
    folder = Path(folder)
    if not (folder / WORDS).is_file():
        raise FileNotFoundError(
            f"{folder} should hold {WORDS} and {WEIGHTS}, but {WORDS} is not there; pass the "
            "folder that occfer pretrain or occfer finetune wrote."
        )
    try:
        words = json.loads((folder / WORDS).read_text())
        stated, sha256 = words["recipe"], words["sha256"]
    except (ValueError, KeyError, TypeError) as damage:
        raise ValueError(
            f"{folder / WORDS} should hold a recipe and a SHA-256, but it is damaged ({damage!r}); "
            "save the model again."
        ) from damage
    recipe = from_dict(stated)
    tensors = load_tensors(folder / WEIGHTS, sha256)
    if isinstance(recipe, PretrainRecipe):
        model: nn.Module = build_encoder(recipe)
    else:
        model = build_classifier(replace(recipe, pretrained=False))
    try:
        model.load_state_dict(tensors)
    except RuntimeError as misfit:
        raise ValueError(
            f"the weights in {folder} do not fit the recipe beside them; save the model again."
        ) from misfit
    return model.eval()


def load_encoder(folder: str | Path) -> Encoder:
    """A pre-trained encoder; says so where the folder holds a classifier."""
    model = load_model(folder)
    if not isinstance(model, Encoder):
        raise ValueError(
            f"{folder} should hold a pre-trained encoder, but holds a {type(model).__name__}; "
            "pass the folder that occfer pretrain wrote."
        )
    return model


def load_classifier(folder: str | Path) -> nn.Module:
    """A fine-tuned network; says so where the folder holds an encoder, which names no class."""
    model = load_model(folder)
    if isinstance(model, Encoder):
        raise ValueError(
            f"{folder} should hold a classifier, but holds a pre-trained encoder; pass the folder "
            "that occfer finetune wrote."
        )
    return model
