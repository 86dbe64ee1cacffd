"""One command for the evidence: what is missing of a table or figure, in the order of its value.

``occfer reproduce table1 --data fer2013 --root FOLDER --seeds 5 --minutes 25 --out evidence``

does what fits into 25 minutes and saves after every stage; the same command goes on later, also on
another machine to which the folder ``evidence`` was copied. All it needs beside is this library
and, for FER2013, ``fer2013.tar.xz`` (or Kaggle's archive, folders or table) in ``FOLDER``. The
archive is decoded once and kept in ``$OCCFER_CACHE``; nothing is downloaded but ImageNet's weights,
and a row that starts from those is left out where they cannot be had.
"""

import _thread
import functools
import itertools
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from occfer.baselines import DESCRIPTORS
from occfer.data import FaceSet
from occfer.engine.checkpoint import HOW
from occfer.engine.finetune import build_classifier
from occfer.engine.records import Record, environment
from occfer.experiments import budget, figure3, figure4, plan, readings, table1, table2
from occfer.experiments.carry import has_model, has_parts
from occfer.recipes import (
    READINGS,
    ROWS,
    TABLE1_ROWS,
    TIER,
    FinetuneRecipe,
    PretrainRecipe,
    Recipe,
    Tier,
    as_dict,
    from_dict,
    table1_pretraining,
    table1_row,
)


@dataclass(frozen=True)
class Experiment:
    """A table or figure.

    Args:
        records: the folder of its records.
        rows: its own choice of rows.
        known: every row that it can run.
        run: trains a row if need be, scores and records it; see :func:`table1.run_row`.
    """

    records: str
    rows: tuple[str, ...]
    known: tuple[str, ...]
    run: Callable[..., Record]


TRAINED = tuple(ROWS)
EXPERIMENTS = {
    "table1": Experiment(table1.EXPERIMENT, tuple(TABLE1_ROWS), TRAINED, table1.run_row),
    "table2": Experiment(table1.EXPERIMENT, table2.ROWS, TRAINED, table1.run_row),
    "figure3": Experiment(
        figure3.EXPERIMENT, figure3.METHODS, (*DESCRIPTORS, *TRAINED), figure3.run_method
    ),
    "figure4": Experiment(figure4.EXPERIMENT, figure4.METHODS, TRAINED, figure4.run_method),
    "readings": Experiment(
        readings.EXPERIMENT, tuple(READINGS), tuple(READINGS), readings.run_reading
    ),
}


@dataclass(frozen=True)
class Job:
    """What is to be reproduced, where its records and runs lie, and which share of the epochs was
    chosen, if any."""

    experiment: Experiment
    rows: tuple[str, ...]
    data: str
    tier: Tier
    seeds: int
    results: Path
    runs: Path
    choice: budget.Budget | None = None

    def name(self, row: str, seed: int) -> str:
        """Of a record."""
        return table1.record_name(self.data, self.tier, row, seed)

    def recipes(self, row: str, seed: int) -> Iterator[PretrainRecipe | FinetuneRecipe]:
        """Of the encoder a row starts from, and of the row; a descriptor has neither."""
        if row in DESCRIPTORS:
            return
        encoder = table1_pretraining(row, self.tier, seed=seed)
        for recipe in (encoder, table1_row(row, self.tier, seed=seed)):
            if recipe is not None:
                yield self.choice.applied(recipe) if self.choice else recipe


def reproduce(
    experiment: str = "table1",
    data: str = "synthfer",
    tier: Tier = TIER,
    seeds: int = 1,
    rows: tuple[str, ...] | None = None,
    root: Path | None = None,
    results: Path = table1.RESULTS,
    runs: Path = Path("runs"),
    minutes: float | None = None,
    shrink: bool | None = None,
    dry: bool = False,
    say: Callable[[str], None] = print,
) -> list[Record]:
    """Run and record what is missing: all rows of one seed before the next seed.

    Args:
        experiment: one of ``EXPERIMENTS``.
        data, root: see :func:`occfer.load_faces`.
        seeds: how many, from 0 on.
        rows: of Table 1 and its controls, SIFT, LBP and HOG, or readings; the experiment's where
            left out.
        results, runs: folders of records, and of checkpoints and networks.
        minutes: of wall time for this call. A stage that no longer fits is passed over for one
            that does; at the limit the running stage is saved, and goes on at the next call.
        shrink: cut the epochs of every stage to the same share, so that one seed fits into
            ``minutes``. It is chosen once for ``runs``. By default at the paper tier only.
        dry: run and write nothing; say what is there, what is missing, and how long it would take.
        say: is told what happens.

    Returns:
        Every record of the experiment that is there at the end.
    """
    if seeds < 1 or not (minutes is None or minutes > 0):
        raise ValueError(
            f"seeds should be at least 1, and minutes more than 0 or left out; got {seeds} and "
            f"{minutes}."
        )
    began = time.monotonic()
    environment()
    chosen = EXPERIMENTS[experiment]
    if strange := [row for row in rows or () if row not in chosen.known]:
        raise ValueError(
            f"rows of {experiment} should be among {', '.join(chosen.known)}; got "
            f"{', '.join(strange)}."
        )
    job = Job(chosen, rows or chosen.rows, data, tier, seeds, results, runs)
    job = replace(job, choice=earlier_choice(job))
    splits = table1.load_splits(data, root)
    refuse_other_records(job, splits)

    def left() -> float:
        return math.inf if minutes is None else 60 * minutes - (time.monotonic() - began)

    paces = {} if minutes is None and not dry else known_paces(job, splits, say)
    if dry:
        say(plan.as_text(stages(job), paces))
        return recorded(job)
    shrinks = minutes is not None and (tier == "paper" if shrink is None else shrink)
    if shrinks and job.choice is None:
        job = replace(job, choice=choose_epochs(job, paces, minutes, left()))
    place = keep_the_choice(job)
    if shrinks:
        share = f"{job.choice.share:.1%} of the {tier} tier's epochs"
        say(f"Every stage runs {share}, as {place} says.")
    carry_out(functools.partial(stages, job), functools.partial(run, job, splits), paces, left, say)
    return recorded(job)


def earlier_choice(job: Job) -> budget.Budget | None:
    """What an earlier call chose. Where records were copied without their runs, they still tell."""
    return budget.chosen(job.runs, job.data, job.tier) or budget.adopted(recorded(job))


def keep_the_choice(job: Job) -> Path:
    """Where the choice lies for the runs, which read it, and for every later call."""
    place = budget.place(job.runs, job.data, job.tier)
    if job.choice and not place.exists():
        job.choice.save(place)
    return place


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


def carry_out(
    standing: Callable[[], list[plan.Stage]],
    do: Callable[[plan.Stage], None],
    paces: plan.Paces,
    left: Callable[[], float],
    say: Callable[[str], None],
) -> None:
    """Do stage after stage in the time that is left, then say what is still to be done.

    Args:
        standing: every stage, in the order of value, as it stands now.
        do: one stage to its end.
        left: seconds; infinite where there is no limit.
    """
    begun: set[str] = set()
    while stage := plan.next_stage(standing(), paces, left(), begun):
        begun.add(stage.name)
        took = plan.seconds(stage, paces)
        if took > left():
            say(f"{stage.name} is begun, but its {took / 60:.1f} minutes are more than are left.")
        if not within(left(), functools.partial(do, stage)):
            say(f"The time is up; {stage.name} is saved.")
            break
    for stage in standing():
        if stage.why_not and not stage.done:
            say(f"{stage.name}: not run, {stage.why_not}")
        elif not stage.done:
            rest = plan.seconds(stage, paces) / 60
            about = f"about {rest:.1f} minutes" if stage.kind in paces else "some time"
            say(f"{stage.name}: {about} left to do; the same command goes on.")


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
    name = job.name(row, seed)
    done = (job.results / job.experiment.records / f"{name}.json").exists()
    if row in DESCRIPTORS:
        return plan.Stage(name, row, seed, row, epochs=0, done=done)
    *encoder, recipe = job.recipes(row, seed)
    run = job.runs / table1.EXPERIMENT / name
    return plan.Stage(
        name, row, seed, budget.kind_of(recipe), recipe.epochs,
        needs=job.name(table1.encoder_name(row), seed) if encoder else "",
        done=done,
        epochs_done=recipe.epochs if has_model(run) else epochs_done(run),
        why_not="" if done else missing_weights(recipe),
    )  # fmt: skip


def _encoder_stage(job: Job, row: str, seed: int) -> plan.Stage:
    recipe, _ = job.recipes(row, seed)
    name = job.name(table1.encoder_name(row), seed)
    run = job.runs / table1.EXPERIMENT / name
    return plan.Stage(
        name, row, seed, budget.kind_of(recipe), recipe.epochs,
        done=has_model(run) or has_parts(run),
        epochs_done=epochs_done(run),
        pretraining=True,
    )  # fmt: skip


def run(job: Job, splits: table1.Splits, stage: plan.Stage) -> None:
    """Do one stage to its end."""
    where = (job.data, job.tier, stage.seed, job.results, job.runs)
    if stage.pretraining:
        table1.pretrained_encoder(stage.row, splits, *where)
    else:
        job.experiment.run(stage.row, splits, *where)


def within(seconds: float, work: Callable[[], None]) -> bool:
    """Do some work; whether it ended in time. When time is up it is stopped as by Ctrl-C, on
    which training saves itself."""
    if math.isinf(seconds):
        work()
        return True
    rang = threading.Event()

    def ring() -> None:
        rang.set()
        _thread.interrupt_main()

    timer = threading.Timer(max(0.0, seconds), ring)
    timer.daemon = True
    try:
        timer.start()
        try:
            work()
        finally:
            timer.cancel()
    except KeyboardInterrupt:
        if not rang.is_set():
            raise
        return False
    return True


def known_paces(job: Job, splits: table1.Splits, say: Callable[[str], None]) -> dict:
    """The pace of every kind of stage that is not done: as chosen from, as recorded on this
    machine, or measured now."""
    pattern = f"{job.name('', 0).removesuffix('-seed0')}*-seed*.json"
    found = budget.recorded_paces(
        Record.load(path) for path in (job.results / table1.EXPERIMENT).glob(pattern)
    )
    if job.choice and job.choice.device == environment()["device"]:
        found |= job.choice.paces
    todo = [stage for stage in stages(job) if not stage.done and not stage.why_not]
    for stage in todo:
        if stage.kind in found or stage.row in DESCRIPTORS:
            continue
        recipes = list(job.recipes(stage.row, stage.seed))
        recipe = recipes[0] if stage.pretraining else recipes[-1]
        found[stage.kind] = pace = budget.measure(recipe, splits.train, splits.validation)
        say(f"{stage.kind}: an epoch takes {pace.epoch:.1f} seconds here (measured).")
    return found


def choose_epochs(job: Job, paces: plan.Paces, minutes: float, left: float) -> budget.Budget:
    """The share of epochs with which one seed fits; all seeds keep it, so that each is the same
    run."""
    first = [stage for stage in stages(job) if stage.seed == 0]
    begun = not all(stage.untouched for stage in first)
    share = 1.0 if begun else plan.share_that_fits(first, paces, left)
    return budget.Budget(minutes, share, environment()["device"], paces)


def recorded(job: Job) -> list[Record]:
    """Every record of the job that is there, in the order of its value."""
    folder = job.results / job.experiment.records
    paths = [folder / f"{job.name(row, s)}.json" for s in range(job.seeds) for row in job.rows]
    return [Record.load(path) for path in paths if path.exists()]


def epochs_done(run: Path) -> int:
    """Of the newest state in a run's folder."""
    for state in sorted(run.glob("state-*.json"), reverse=True):
        try:
            return int(json.loads(state.read_text())["place"]["epoch"])
        except (ValueError, KeyError, TypeError, RecursionError):
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
