"""Finished networks in small files, so that a folder of runs can be taken to another machine.

Checkpoints hold the optimiser too and are several times as large as the network. What has to
travel are the weights alone: a classifier's in half precision, an encoder's as they are, since
the rows that start from it must start from the same bits everywhere.
"""

import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from occfer.engine.finetune import Finetuned
from occfer.engine.models import load_classifier
from occfer.engine.records import Record
from occfer.experiments.refusals import refuse_another_recipe
from occfer.files import load_tensors, save_tensors, write_atomically
from occfer.pretrained import WEIGHTS, WORDS, stated_options
from occfer.recipes import FinetuneRecipe, Trained

MODEL, PARTS = "model", "parts"
PART_BYTES = 15 * 2**20
"""Of tensors in one file; with its header a part stays below 16 MiB."""
DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading words that are none may raise."""
HALF_MAX = torch.finfo(torch.float16).max


def has_model(run: Path) -> bool:
    """Whether the network of a run is finished and lies there."""
    return (run / MODEL / WORDS).is_file()


def has_parts(run: Path) -> bool:
    """Whether the network of a run lies there in parts."""
    return (run / PARTS / WORDS).is_file()


def has_states(run: Path) -> bool:
    """Whether a run left checkpoints from which it goes on, or which say that it is at its end."""
    return any(run.glob("state-*.json"))


def came_alone(run: Path, record: Path) -> bool:
    """Whether a finished network lies there without the states of its run, and the record that
    tells of it does."""
    return not has_states(run) and (has_model(run) or has_parts(run)) and record.exists()


def is_finished(run: Path, record: Path) -> bool:
    """Whether nothing of a row is left to train."""
    return (has_model(run) and has_states(run)) or came_alone(run, record)


def carried(run: Path, record: Path, recipe: FinetuneRecipe, runs: Path) -> Finetuned | None:
    """A network that came without the states of its run, as its record tells of it, or None.

    In parts its weights are rounded to half precision.
    """
    if not came_alone(run, record):
        return None
    unpack(run)
    refuse_another_recipe(run, stated_recipe(run) or {}, recipe, runs)
    told = Record.load(record).values
    model = load_classifier(run / MODEL)
    return Finetuned(
        model, told["history"], told["best_epoch"], told["seconds"], told.get("encoder")
    )


def stated_recipe(run: Path) -> dict[str, Any] | None:
    """The recipe of the run in a folder, as its files state it; None where none does.

    Where they state the faces of a pre-training, these stand beside it, as ``faces``.
    """
    for path in (run / "recipe.json", run / MODEL / WORDS, run / PARTS / WORDS):
        try:
            words = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            if path.name != WORDS and words:
                return dict(words)
            if words.get("recipe"):
                pool = words.get("faces", {}).get("pool")
                return {**words["recipe"], **({"faces": pool} if pool else {})}
        except (OSError, *DAMAGE):
            continue  # whoever reads the rest of it says that it is damaged
    return None


def as_begun(recipe: Trained, run: Path) -> Trained:
    """A recipe in the precision in which the states of its run are, maybe another machine's."""
    if not has_states(run):
        return recipe
    begun = (stated_recipe(run) or {}).get("precision", recipe.precision)
    if begun != recipe.precision and not has_model(run):
        warnings.warn(
            f"{run} was begun in {begun} and goes on in it, where this machine would take "
            f"{recipe.precision}; if it is slow, delete the folder to begin anew.",
            stacklevel=2,
        )
    return replace(recipe, precision=begun)


def pack(run: Path, precision: torch.dtype) -> Path:
    """Write the network in ``run/model`` once more to ``run/parts``; what is there is kept.

    Args:
        run: folder of a finished run.
        precision: of the floating-point numbers; what is too large for it keeps its own.
    """
    place = run / PARTS
    words = json.loads((run / MODEL / WORDS).read_text())
    if has_parts(run) and _source(place / WORDS) == words["sha256"]:
        return place
    (place / WORDS).unlink(missing_ok=True)
    place.mkdir(exist_ok=True)
    tensors = load_tensors(run / MODEL / WEIGHTS, words["sha256"])
    groups = list(grouped({name: rounded(value, precision) for name, value in tensors.items()}))
    count = len(groups)
    names = [f"model-{number:02d}-of-{count:02d}.safetensors" for number in range(1, count + 1)]
    parts = {
        name: save_tensors(group, place / name) for name, group in zip(names, groups, strict=True)
    }
    source = words.pop("sha256")
    content = json.dumps({**words, "source": source, "parts": parts}, indent=1) + "\n"
    write_atomically(place / WORDS, content.encode())
    return place


def _source(stated: Path) -> Any:
    """The hash of the network that parts were made of; None where their words do not tell."""
    try:
        return json.loads(stated.read_text(encoding="utf-8"))["source"]
    except DAMAGE:
        return None


def unpack(run: Path) -> None:
    """Put the network in ``run/parts`` where ``run/model`` is missing; else do nothing.

    Raises:
        ValueError: a part is missing, damaged, or not named as :func:`pack` names it.
    """
    if has_model(run) or not has_parts(run):
        return
    tensors: dict[str, Tensor] = {}
    try:
        words = json.loads((run / PARTS / WORDS).read_text(encoding="utf-8"))
        for name, sha256 in words.pop("parts").items():
            if PurePosixPath(name).name != name:
                raise ValueError(f"{name!r} is no name of a part")
            tensors |= load_tensors(run / PARTS / name, sha256)
        if not tensors:
            raise ValueError("it names no part")
        del words["source"]
        stating = stated_options(words["network"], words["options"])
    except (OSError, *DAMAGE) as damage:
        raise ValueError(
            f"{run / PARTS} should hold a network in parts, but is damaged ({damage}); copy it "
            "again, or delete it to train again."
        ) from damage
    whole = {name: rounded(value, torch.float32) for name, value in tensors.items()}
    (run / MODEL).mkdir(exist_ok=True)
    digest = save_tensors(whole, run / MODEL / WEIGHTS, stating)
    content = json.dumps({**words, "sha256": digest}, indent=1) + "\n"
    write_atomically(run / MODEL / WORDS, content.encode())


def rounded(value: Tensor, precision: torch.dtype) -> Tensor:
    """A tensor in another precision; whole numbers, and values half cannot hold, stay."""
    if not value.is_floating_point():
        return value
    if precision == torch.float16 and value.numel() and value.abs().max() > HALF_MAX:
        return value
    return value.to(precision)


def grouped(tensors: Mapping[str, Tensor], limit: int = PART_BYTES) -> Iterator[dict[str, Tensor]]:
    """Tensors in their order, as many together as ``limit`` bytes hold, and at least one."""
    group: dict[str, Tensor] = {}
    size = 0
    for name, value in tensors.items():
        if group and size + value.nbytes > limit:
            yield group
            group, size = {}, 0
        group[name] = value
        size += value.nbytes
    yield group
