"""What earlier calls left: records that are refused or that tell the share of epochs, and runs."""

import itertools
import json
from collections.abc import Iterator

from occfer.baselines import DESCRIPTORS
from occfer.engine.records import Record
from occfer.experiments import budget, figure3, figure4, readings, table1
from occfer.experiments.carry import has_model, has_parts, has_states
from occfer.experiments.refusals import refuse_another_recipe, refuse_other_faces
from occfer.experiments.reproducing.jobs import Job

TRAINED_FOR = (table1.EXPERIMENT, figure3.EXPERIMENT, figure4.EXPERIMENT, readings.EXPERIMENT)
"""Experiments whose records tell of the same runs."""


def refuse_other_records(job: Job, splits: table1.Splits) -> None:
    """Refuse records, of rows or their encoders, that were made of other faces or another way.

    A figure looks into the networks of Table 1, whose records are read then; a reading has none
    there.
    """
    study, folders = job.study, {job.experiment.records}
    if job.experiment.records != readings.EXPERIMENT:
        folders.add(table1.EXPERIMENT)
    for seed, row in itertools.product(range(job.seeds), job.rows):
        *encoder, recipe = list(job.recipes(row, seed)) or [None]
        records = [(folder, row, recipe) for folder in sorted(folders)]
        records += [(table1.EXPERIMENT, table1.encoder_name(row), each) for each in encoder]
        sets = {
            "train": lambda row=row: splits.training(row),
            "validation": lambda: splits.validation,
            "test": lambda: splits.test,
            "test, 0 %": lambda: splits.test,
            "pool": lambda: splits.pool,
        }
        for folder, name, recipe in records:
            path = study.record(name, seed, folder)
            refuse_other_faces(path, sets, study.data, study.runs)
            if recipe is not None and path.exists():
                stated = Record.load(path).values["recipe"]
                refuse_another_recipe(path, stated, recipe, study.runs)


def earlier_choice(job: Job) -> budget.Budget | None:
    """What an earlier call chose. Where records were copied without their runs, they still tell."""
    return job.study.choice or budget.adopted(trained_records(job))


def begun(job: Job) -> bool:
    """Whether something of this data set and tier was trained already, or has begun to be."""
    if any(has_states(run) or has_model(run) or has_parts(run) for run in job.study.all_runs()):
        return True
    return next(trained_records(job), None) is not None


def trained_records(job: Job) -> Iterator[Record]:
    """Every record of the data set and tier, of whatever row, that tells of a network's run."""
    for folder in TRAINED_FOR:
        for path in job.study.records(experiment=folder):
            try:
                values = dict(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError, RecursionError):
                continue  # whoever needs it says that it is damaged
            named = isinstance(values.get("name"), str) and values.get("tier") == job.study.tier
            if named and values.get("row") not in DESCRIPTORS:
                yield Record(values, None)


def timed_records(job: Job) -> Iterator[Record]:
    """Records whose seconds are those of today's stages: networks of Table 1, and descriptors."""
    for row in ("", *DESCRIPTORS):
        folder = figure3.EXPERIMENT if row else table1.EXPERIMENT
        yield from map(Record.load, job.study.records(f"{row}*", folder))


def scored_records(job: Job) -> Iterator[Record]:
    """Records of the figure that is asked for, of whatever row."""
    if job.experiment.looks:
        yield from map(Record.load, job.study.records(experiment=job.experiment.records))
