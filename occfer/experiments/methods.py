"""What Figures 3 and 4 ask alike (§3.5, §3.6): one method, put before the covered test faces.

A network is the one of Table 1, trained or read; it meets the same faces under every condition, and
what a figure makes of that is recorded once.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import nn

from occfer.baselines import Baseline
from occfer.data import FaceSet
from occfer.engine.conditions import Conditions
from occfer.engine.measurements import Measurements
from occfer.engine.records import Record, make_record
from occfer.experiments import table1
from occfer.experiments.rows import table1_row
from occfer.experiments.study import Study
from occfer.recipes import Recipe, as_dict


class Trained(NamedTuple):
    """A method that is ready for the test faces, and what its record says of the training."""

    recipe: Recipe
    model: nn.Module | Baseline
    history: list[dict[str, Any]]
    seconds: float
    chosen: dict[str, Any]
    """What the validation split chose, an epoch or a trial of the SVM; and the budget, if any."""


def trained_network(row: str, splits: table1.Splits, study: Study, seed: int) -> Trained:
    """A network of Table 1 and its controls: only read where its run is finished, else trained."""
    recipe, tuned = table1.train_row(row, splits, study, seed)
    whole = table1_row(row, study.tier)
    chosen = {
        "best_epoch": tuned.best_epoch,
        "encoder": tuned.encoder_fingerprint,
        **table1.stated_budget(study, whole, recipe, tuned.history),
    }
    return Trained(recipe, tuned.model, tuned.history, tuned.seconds, chosen)


def run(
    experiment: str,
    train: Callable[..., Trained],
    cover: table1.Cover,
    cover_seed: int,
    look: Callable[[nn.Module | Baseline, Mapping[str, FaceSet]], Conditions | Measurements],
    row: str,
    splits: table1.Splits,
    study: Study,
    seed: int = 0,
) -> Record:
    """Train or read one method, look at it under every condition, and record that; skip it where
    recorded.

    The first five arguments are the figure's, the others a row's, as in :func:`table1.run_row`.

    Args:
        experiment: the folder of its records.
        train: see :func:`trained_network`.
        cover: the test faces under every condition: its name, or the covered share in per cent.
        cover_seed: that ``cover`` draws with.
        look: what the figure makes of a model and these faces.
    """
    path = study.record(row, seed, experiment)
    if path.exists():
        return Record.load(path)
    trained = train(row, splits, study, seed)
    conditions, began = splits.covered(cover), time.monotonic()
    found = look(trained.model, conditions)
    record = make_record(
        experiment,
        study.name(row, seed),
        as_dict(trained.recipe),
        {
            "train": splits.training(row).describe(),
            "validation": splits.validation.describe(),
            **{role(condition): faces.describe() for condition, faces in conditions.items()},
        },
        trained.history,
        trained.seconds,
        found,
        tier=study.tier,
        row=row,
        cover_seed=cover_seed,
        scoring_seconds=time.monotonic() - began,
        **trained.chosen,
    )
    record.save(study.results)
    return record


def role(condition: str) -> str:
    """What a record calls the test faces under a condition."""
    return f"test, {condition} %" if condition.isdigit() else f"test, {condition}"
