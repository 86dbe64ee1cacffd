"""One command for the evidence: what is missing of a table or figure, in the order of its value.

``occfer reproduce table1 --data fer2013 --root FOLDER --seeds 5 --minutes 25 --out evidence``

does what fits into 25 minutes and saves after every stage; the same command goes on later, also on
another machine to which the folder ``evidence`` was copied. All it needs beside is this library
and, for FER2013, ``fer2013.tar.xz`` (or Kaggle's archive, folders or table) in ``FOLDER``. The
archive is decoded once and kept in ``$OCCFER_CACHE``; nothing is downloaded but ImageNet's weights,
and a row that starts from those is left out where they cannot be had.
"""

import functools
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from occfer.baselines import DESCRIPTORS
from occfer.engine.records import Record, environment
from occfer.engine.timing import TimeIsUp, within
from occfer.experiments import budget, table1
from occfer.experiments.refusals import refuse_nothing_to_do, refuse_several_processes
from occfer.experiments.reproducing import plan
from occfer.experiments.reproducing.earlier import (
    begun,
    earlier_choice,
    refuse_other_records,
    scored_records,
    timed_records,
)
from occfer.experiments.reproducing.jobs import EXPERIMENTS, Job, recorded, stages
from occfer.experiments.reproducing.progress import carry_out
from occfer.experiments.study import RESULTS, Study
from occfer.recipes import TIER, Tier


def reproduce(
    experiment: str = "table1",
    data: str = "synthfer",
    tier: Tier = TIER,
    seeds: int = 1,
    rows: tuple[str, ...] | None = None,
    root: Path | None = None,
    results: Path = RESULTS,
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
            that does; at the limit training is saved and goes on at the next call, where scoring
            and the fit of an SVM begin again.
        shrink: cut the epochs of every stage to the same share, so that one seed fits into
            ``minutes``. It is chosen once for ``runs``. By default at the paper tier only.
        dry: run and write nothing; say what is there, what is missing, and how long it would take.
        say: is told what happens.

    Returns:
        Every record of the experiment that is there at the end.
    """
    refuse_nothing_to_do(seeds, minutes)
    refuse_several_processes()
    began = time.monotonic()
    environment()
    if experiment not in EXPERIMENTS:
        raise ValueError(
            f"experiment should be one of {', '.join(EXPERIMENTS)}; got {experiment!r}."
        )
    chosen = EXPERIMENTS[experiment]
    if strange := [row for row in rows or () if row not in chosen.known]:
        raise ValueError(
            f"rows of {experiment} should be among {', '.join(chosen.known)}; got "
            f"{', '.join(strange)}; choose among those."
        )
    job = Job(chosen, rows or chosen.rows, Study(data, tier, results, runs), seeds)
    job = replace(job, choice=earlier_choice(job))
    cut = job.choice is not None and job.choice.share < 1
    if cut and shrink is False:
        raise ValueError(
            f"every epoch should be run, but what lies in {results} and {runs} has "
            f"{job.choice.share:.1%} of them, as an earlier call chose; pass another --out."
        )
    splits = table1.load_splits(data, root)
    refuse_other_records(job, splits)

    def left() -> float:
        return math.inf if minutes is None else 60 * minutes - (time.monotonic() - began)

    paces: dict[str, budget.Pace] = {}
    if minutes is not None or dry:
        measured = functools.partial(known_paces, job, splits, paces, say)
        try:
            within(left(), measured)
        except TimeIsUp:
            if not dry:
                say(
                    "The time is up before every pace was measured; nothing is begun, and the next "
                    f"call measures again: give it more than {minutes:g} minutes."
                )
                return recorded(job)
    if dry:
        if cut:
            say(f"Every stage runs {job.choice.share:.1%} of the epochs, as an earlier call chose.")
        say(plan.as_text(stages(job), paces))
        return recorded(job)
    shrinks = minutes is not None and (tier == "paper" if shrink is None else shrink)
    if shrinks and job.choice is None:
        job = replace(job, choice=choose_epochs(job, paces, minutes, left()))
    place = keep_the_choice(job)
    if shrinks or cut:
        share = f"{job.choice.share:.1%} of the {tier} tier's epochs"
        say(f"Every stage runs {share}, as {place} says.")
    carry_out(functools.partial(stages, job), functools.partial(run, job, splits), paces, left, say)
    return recorded(job)


def keep_the_choice(job: Job) -> Path:
    """Where the choice lies for the runs, which read it, and for every later call."""
    place = job.study.budget
    if job.choice and not place.exists():
        job.choice.save(place)
    return place


def run(job: Job, splits: table1.Splits, stage: plan.Stage) -> None:
    """Do one stage to its end."""
    do = table1.pretrained_encoder if stage.pretraining else job.experiment.run
    do(stage.row, splits, job.study, stage.seed)


def known_paces(
    job: Job, splits: table1.Splits, found: dict[str, budget.Pace], say: Callable[[str], None]
) -> None:
    """Fill in the pace of every kind of stage that is not done: as chosen from or, better, as
    recorded on this machine; else measured now, but for descriptors, which have no epochs."""
    if job.choice and job.choice.measured_here:
        found |= job.choice.paces
    found |= budget.recorded_paces(timed_records(job))
    found |= budget.recorded_scoring(scored_records(job))
    todo = [stage for stage in stages(job) if not stage.done and not stage.why_not]
    for stage in todo:
        if stage.kind in found or stage.row in DESCRIPTORS:
            continue
        recipes = list(job.recipes(stage.row, stage.seed))
        recipe = recipes[0] if stage.pretraining else recipes[-1]
        train = splits.train if stage.pretraining else splits.training(stage.row)
        found[stage.kind] = pace = budget.measure(recipe, train, splits.validation)
        say(f"{stage.kind}: an epoch takes {pace.epoch:.1f} seconds here (measured).")


def choose_epochs(job: Job, paces: plan.Paces, minutes: float, left: float) -> budget.Budget:
    """The share of epochs with which one seed fits; all seeds keep it, so that each is the same
    run."""
    first = [stage for stage in stages(job) if stage.seed == 0]
    share = 1.0 if begun(job) else plan.share_that_fits(first, paces, left)
    here = environment()
    return budget.Budget(minutes, share, here["device"], paces, here["threads"])
