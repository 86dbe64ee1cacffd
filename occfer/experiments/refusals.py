"""A record is found by its name; these say so where it is not what the name says today.

That is, of other faces than a call would take, or trained in another way.
"""

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from occfer.data import FaceSet
from occfer.engine.checkpoint import HOW
from occfer.engine.records import Record
from occfer.recipes import PretrainRecipe, Recipe, as_dict, from_dict

INPUTS = {"faces", "train", "validation", "encoder", "start", "processes"}
"""What a run's folder states beside its recipe."""


def refuse_several_processes() -> None:
    """Records and stages are one process's; several would step on each other's."""
    stated = os.environ.get("WORLD_SIZE") or "1"
    if not stated.isdecimal():
        raise ValueError(
            f"WORLD_SIZE should be the number of processes that torchrun started, but is "
            f"{stated!r}; unset it, or start occfer reproduce without torchrun."
        )
    if (processes := int(stated)) > 1:
        raise ValueError(
            f"experiments should run in one process, but torchrun started {processes}; start "
            "occfer reproduce without it, with another --out on each machine or GPU."
        )


def refuse_nothing_to_do(seeds: int, minutes: float | None) -> None:
    """Seeds and minutes of a call, which are those of a command."""
    if seeds < 1 or not (minutes is None or minutes > 0):
        raise ValueError(
            f"seeds should be at least 1, and minutes more than 0 or left out; got {seeds} and "
            f"{minutes}."
        )


def refuse_other_faces(
    path: Path, sets: Mapping[str, Callable[[], FaceSet]], data: str, runs: Path
) -> None:
    """A record is found by name; say so where it was made of other faces than today's.

    Args:
        path: of the record, which need not be there.
        sets: what gives today's faces, by their role in the record.
        data: what a message calls them.
        runs: where the networks of the record lie.
    """
    stated = Record.load(path).values["data"] if path.exists() else {}
    for role, faces in sets.items():
        if role in stated and stated[role]["sha256"] != faces().sha256:
            raise ValueError(
                f"{path} should be of the faces of {data}, but was recorded for others of the same "
                f"name ({role}); pass another --out, or move it away together with the runs of "
                f"that name in {runs}."
            )


def refuse_another_recipe(path: Path, found: Mapping[str, Any], recipe: Recipe, runs: Path) -> None:
    """A record or a network is found by name; say so where it was trained otherwise than it would
    be today.

    How a machine computes, in which precision, compiled or replayed, may differ.

    Args:
        path: of the record or the network.
        found: the recipe that it states, maybe with ``INPUTS``; a field it lacks is taken at its
            default.
        recipe: today's.
        runs: where the networks lie.
    """
    known = {name: value for name, value in found.items() if name not in INPUTS}
    if not known:
        raise ValueError(
            f"{path} should state the recipe that it was trained with, but states none; pass "
            f"another --out, or move it away together with the runs of that name in {runs}."
        )
    free = dict.fromkeys(("precision", "synchronise_batch_norm", *HOW))
    stated, today = (flat(as_dict(each)) | free for each in (from_dict(known), recipe))
    if other := [name for name in today if stated.get(name) != today[name]]:
        differences = ", ".join(f"{n} {stated.get(n)} and not {today[n]}" for n in other)
        raise ValueError(
            f"{path} should be of the recipe that this call would take, but was recorded with "
            f"{differences}; pass another --out, or move it away together with the runs of that "
            f"name in {runs}."
        )


def refuse_another_encoder(
    folder: Path,
    stated: Mapping[str, Any] | None,
    recipe: PretrainRecipe,
    pool: FaceSet,
    runs: Path,
    record: Path,
) -> None:
    """A finished encoder is found by name; say so where it learnt otherwise, or from other faces.

    Older files do not say which faces it learnt from; where its record is not there to say it
    either, a warning does.

    Args:
        folder: of its run.
        stated: what the files there say of the run.
        recipe, pool: today's.
        runs: where all runs lie.
        record: of the encoder, which need not be there.
    """
    refuse_another_recipe(folder, stated or {}, recipe, runs)
    faces = (stated or {}).get("faces")
    if faces is None and record.exists():
        faces = Record.load(record).values["data"].get("pool", {}).get("sha256")
    if faces is None:
        warnings.warn(
            f"{folder} should say which faces its encoder learnt from, but neither it nor a record "
            f"does; it is taken as learnt from those of this call: copy {record.name} to "
            f"{record.parent} to be sure.",
            stacklevel=2,
        )
    elif faces != pool.sha256:
        raise ValueError(
            f"{folder} should hold an encoder of the training faces of this call, but it learnt "
            f"from others of the same name; pass another --out, or move it away from {runs}."
        )


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values by names such as ``network.size``."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        inner = flat(value) if isinstance(value, Mapping) else {"": value}
        found |= {f"{name}.{key}".removesuffix("."): each for key, each in inner.items()}
    return found
