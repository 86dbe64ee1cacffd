"""What an experiment consists of: its rows and seeds, and the stages of training behind them."""

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from occfer.baselines import DESCRIPTORS
from occfer.engine.finetune import build_classifier
from occfer.engine.records import Record
from occfer.experiments import budget, figure3, figure4, readings, table1, table2
from occfer.experiments.carry import came_alone, has_model, has_parts, is_finished
from occfer.experiments.reproducing import plan
from occfer.experiments.rows import (
    READINGS,
    ROWS,
    TABLE1_ROWS,
    table1_pretraining,
    table1_row,
)
from occfer.experiments.study import Study
from occfer.recipes import FinetuneRecipe, PretrainRecipe


@dataclass(frozen=True)
class Experiment:
    """A table, a figure, or the readings.

    Args:
        records: the folder of its records.
        rows: its own choice of rows.
        known: every row that it can run.
        run: trains a row if need be, scores and records it; see :func:`table1.run_row`.
        looks: scoring takes time of its own, as under every condition of a figure.
    """

    records: str
    rows: tuple[str, ...]
    known: tuple[str, ...]
    run: Callable[..., Record]
    looks: bool = False


TRAINED = tuple(ROWS)
EXPERIMENTS = {
    "table1": Experiment(table1.EXPERIMENT, tuple(TABLE1_ROWS), TRAINED, table1.run_row),
    "table2": Experiment(table1.EXPERIMENT, table2.ROWS, TRAINED, table1.run_row),
    "figure3": Experiment(
        figure3.EXPERIMENT, figure3.METHODS, (*DESCRIPTORS, *TRAINED), figure3.run_method, True
    ),
    "figure4": Experiment(figure4.EXPERIMENT, figure4.METHODS, TRAINED, figure4.run_method, True),
    "readings": Experiment(readings.EXPERIMENT, READINGS, READINGS, readings.run_reading),
}


@dataclass(frozen=True)
class Job:
    """What is to be reproduced of which study, and which share of the epochs was chosen, if any."""

    experiment: Experiment
    rows: tuple[str, ...]
    study: Study
    seeds: int = 1
    choice: budget.Budget | None = None

    def record(self, row: str, seed: int) -> Path:
        """Where the experiment's record of one row and seed lies, once there is one."""
        return self.study.record(row, seed, self.experiment.records)

    def recipes(self, row: str, seed: int) -> Iterator[PretrainRecipe | FinetuneRecipe]:
        """Of the encoder a row starts from, and of the row; a descriptor has neither."""
        if row in DESCRIPTORS:
            return
        encoder = table1_pretraining(row, self.study.tier, seed=seed)
        for recipe in (encoder, table1_row(row, self.study.tier, seed=seed)):
            if recipe is not None:
                yield self.choice.applied(recipe) if self.choice else recipe


def recorded(job: Job) -> list[Record]:
    """Every record of the job that is there, in the order of its value."""
    paths = [job.record(row, seed) for seed in range(job.seeds) for row in job.rows]
    return [Record.load(path) for path in paths if path.exists()]


def stages(job: Job) -> list[plan.Stage]:
    """Everything the job consists of, in the order of value, as the files tell it now."""
    found: dict[str, plan.Stage] = {}
    for seed in range(job.seeds):
        for row in job.rows:
            stage = _row_stage(job, row, seed)
            if stage.needs and not stage.done:
                found.setdefault(stage.needs, _encoder_stage(job, row, seed))
            found[stage.name] = stage
    return list(found.values())


def _row_stage(job: Job, row: str, seed: int) -> plan.Stage:
    study, name = job.study, job.study.name(row, seed)
    done = job.record(row, seed).exists()
    if row in DESCRIPTORS:
        scoring = budget.scoring(job.experiment.records, row)
        return plan.Stage(name, row, seed, row, epochs=0, done=done, scoring=scoring)
    *encoder, recipe = job.recipes(row, seed)
    run, record = study.run(row, seed), study.record(row, seed)
    read = came_alone(run, record)  # and nothing that it began from is needed
    kind = budget.kind_of(recipe, row)
    return plan.Stage(
        name, row, seed, kind, recipe.epochs,
        needs=study.name(table1.encoder_name(row), seed) if encoder and not read else "",
        done=done,
        epochs_done=recipe.epochs if is_finished(run, record) else epochs_done(run),
        why_not="" if done or read else missing_weights(recipe),
        scoring=budget.scoring(job.experiment.records, kind) if job.experiment.looks else "",
    )  # fmt: skip


def _encoder_stage(job: Job, row: str, seed: int) -> plan.Stage:
    recipe, _ = job.recipes(row, seed)
    run = job.study.run(table1.encoder_name(row), seed)
    return plan.Stage(
        run.name, row, seed, budget.kind_of(recipe), recipe.epochs,
        done=has_model(run) or has_parts(run),
        epochs_done=epochs_done(run),
        pretraining=True,
    )  # fmt: skip


def epochs_done(run: Path) -> int:
    """Of the newest state in a run's folder."""
    for state in sorted(run.glob("state-*.json"), reverse=True):
        try:
            return int(json.loads(state.read_text())["place"]["epoch"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue  # training passes over it too, and says so
    return 0


def missing_weights(recipe: FinetuneRecipe) -> str:
    """Why a recipe that starts from ImageNet cannot; empty where it can, or does not want to."""
    return _missing_weights(recipe) if recipe.pretrained else ""


@functools.cache
def _missing_weights(recipe: FinetuneRecipe) -> str:
    try:
        build_classifier(recipe)
    except (OSError, ValueError, RuntimeError) as reason:
        return f"since ImageNet's weights are needed: {reason}"
    return ""
