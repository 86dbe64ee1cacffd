"""A record is found by its name; these say so where it is not what the name says today.

That is, of other faces than a call would take, or trained in another way.
"""

import functools
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from occfer.data import FaceSet
from occfer.engine.checkpoint import HOW
from occfer.engine.records import Record
from occfer.experiments import table1
from occfer.experiments.jobs import Job
from occfer.recipes import Recipe, as_dict, from_dict


def refuse_other_records(job: Job, splits: table1.Splits) -> None:
    """Refuse records, of rows or their encoders, that were made of other faces or another way."""
    pool = functools.cache(lambda: splits.pool)
    for seed, row in itertools.product(range(job.seeds), job.rows):
        recipes = list(job.recipes(row, seed))
        names = [(job.experiment.records, row)]
        if len(recipes) > 1:
            names.append((table1.EXPERIMENT, table1.encoder_name(row)))
        sets = {
            "train": lambda row=row: splits.training(row),
            "validation": lambda: splits.validation,
            "test": lambda: splits.test,
            "test, 0 %": lambda: splits.test,
            "pool": pool,
        }
        for folder, name in names:
            path = job.results / folder / f"{job.name(name, seed)}.json"
            refuse_other_faces(path, sets, job.data, job.runs)
            if recipes:
                refuse_another_recipe(path, recipes.pop(), job.runs)


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


def refuse_another_recipe(path: Path, recipe: Recipe, runs: Path) -> None:
    """A record is found by name; say so where it was trained otherwise than it would be today.

    How a machine computes, in which precision, compiled or replayed, may differ.
    """
    if not path.exists():
        return
    found = from_dict(Record.load(path).values["recipe"])
    free = dict.fromkeys(("precision", "save_every_seconds", "synchronise_batch_norm", *HOW))
    stated, today = (flat(as_dict(each)) | free for each in (found, recipe))
    if other := [name for name in today if stated.get(name) != today[name]]:
        differences = ", ".join(f"{n} {stated.get(n)} and not {today[n]}" for n in other)
        raise ValueError(
            f"{path} should be of the recipe that this call would take, but was recorded with "
            f"{differences}; pass another --out, or move it away together with the runs of that "
            f"name in {runs}."
        )


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values by names such as ``network.size``."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        inner = flat(value) if isinstance(value, Mapping) else {"": value}
        found |= {f"{name}.{key}".removesuffix("."): each for key, each in inner.items()}
    return found
