"""Networks as runs leave them and as commands take them; :mod:`occfer.pretrained` does the work."""

from pathlib import Path
from typing import Any

from occfer.engine.team import is_first_process
from occfer.ocl import Encoder
from occfer.pretrained import Pretrained
from occfer.recipes import FinetuneRecipe, PretrainRecipe


def save_model(
    model: Pretrained,
    recipe: PretrainRecipe | FinetuneRecipe,
    folder: str | Path,
    record: Any = None,
) -> Path:
    """:meth:`Pretrained.save_pretrained`; of several processes only the first one writes."""
    if not is_first_process():
        return Path(folder)
    return model.save_pretrained(folder, recipe, record)


def load_model(folder: str | Path, revision: str | None = None) -> Pretrained:
    """Whichever network a folder, or a name on the Hugging Face Hub, holds.

    See :meth:`Pretrained.from_pretrained`, which the networks themselves have too.
    """
    return Pretrained.from_pretrained(folder, revision)


def load_encoder(folder: str | Path, revision: str | None = None) -> Encoder:
    """A pre-trained encoder; says so where the folder holds a classifier."""
    model = load_model(folder, revision)
    if not isinstance(model, Encoder):
        raise ValueError(
            f"{folder} should hold a pre-trained encoder, but holds a {type(model).__name__}; "
            "pass the folder that occfer pretrain wrote."
        )
    return model


def load_classifier(folder: str | Path, revision: str | None = None) -> Pretrained:
    """A fine-tuned network; says so where the folder holds an encoder, which names no class."""
    model = load_model(folder, revision)
    if isinstance(model, Encoder):
        raise ValueError(
            f"{folder} should hold a classifier, but holds a pre-trained encoder; pass the folder "
            "that occfer finetune wrote."
        )
    return model
