"""What is still to be done for a table, in which order, and what fits into the time that is left.

Nothing here trains, reads or writes. A stage is one thing that is done as a whole: an encoder is
pre-trained, or a row is trained and scored. Its time is predicted from the pace of its kind.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from occfer.experiments.budget import Pace

RESERVE = 0.1
"""Share of the time that is kept for reading, scoring and saving."""


@dataclass(frozen=True)
class Stage:
    """One thing to do.

    Args:
        name: of its record and of its folder.
        row: of the table; for an encoder, the first row that starts from it.
        seed: of its run.
        kind: what its pace depends on, such as ``fgw resnet18``.
        epochs: that its recipe asks for.
        needs: the name of the stage that has to be done before; empty where there is none.
        done: nothing is left of it.
        epochs_done: finished by earlier calls.
        why_not: why it cannot be run on this machine; empty where it can.
        pretraining: it ends with an encoder, not with a score.
        scoring: what the pace of a figure's look at it depends on; empty where the table's one
            score needs no time of its own.
    """

    name: str
    row: str
    seed: int
    kind: str
    epochs: int
    needs: str = ""
    done: bool = False
    epochs_done: int = 0
    why_not: str = ""
    pretraining: bool = False
    scoring: str = ""


Paces = Mapping[str, Pace]


def seconds(stage: Stage, paces: Paces) -> float:
    """What the rest of a stage is predicted to take; what has no known pace counts as 0."""
    if stage.done or stage.why_not:
        return 0.0
    pace = _pace(stage, paces)
    rest = pace.epoch * max(0, stage.epochs - stage.epochs_done)
    return pace.startup + rest + _scoring(stage, paces)


def is_known(stage: Stage, paces: Paces) -> bool:
    """Whether all that a stage still has to do has a known pace."""
    if stage.done or stage.why_not:
        return True
    trained = 0 < stage.epochs <= stage.epochs_done
    return (trained or stage.kind in paces) and (not stage.scoring or stage.scoring in paces)


def next_stage(
    stages: Sequence[Stage], paces: Paces, left: float, passed: Iterable[str] = ()
) -> Stage | None:
    """The most valuable stage to run now; None where nothing is left that could be begun.

    ``stages`` stand in the order of their value. The first that can be run and fits into the
    seconds ``left`` is taken; where none fits, the first that can be run, since what a stopped
    stage has learnt is kept. Where time is limited, a stage whose pace is not known waits for those
    that are known to fit: were it longer than every call, none of them would ever be reached.
    ``passed`` names stages that are not to be taken.
    """
    done = {stage.name for stage in stages if stage.done}
    passed = set(passed)
    ready = [
        stage
        for stage in stages
        if not stage.done
        and not stage.why_not
        and stage.name not in passed
        and (not stage.needs or stage.needs in done)
    ]
    begun = [stage for stage in ready if left > _pace(stage, paces).startup]
    fitting = [stage for stage in begun if seconds(stage, paces) <= left]
    sure = [stage for stage in fitting if is_known(stage, paces)] if left < math.inf else []
    return next(iter(sure or fitting or begun), None)


def share_that_fits(stages: Iterable[Stage], paces: Paces, left: float) -> float:
    """The share of all epochs, at most 1, with which all stages end within the seconds ``left``.

    Raises:
        ValueError: not even the start of every stage fits.
    """
    todo = [stage for stage in stages if not stage.done and not stage.why_not]
    once = sum(_pace(stage, paces).startup + _scoring(stage, paces) for stage in todo)
    growing = sum(_pace(stage, paces).epoch * stage.epochs for stage in todo)
    if growing <= 0:
        return 1.0
    share = (left * (1 - RESERVE) - once) / growing
    if share <= 0:
        raise ValueError(
            f"{len(todo)} stages should fit into {left / 60:.1f} minutes, but starting them alone "
            f"takes {once / 60:.1f}; give more minutes or fewer rows."
        )
    return min(1.0, share)


def as_text(stages: Sequence[Stage], paces: Paces) -> str:
    """One line a stage: its record's name, epochs, where it stands, and predicted minutes."""
    lines = [f"{'minutes':>8}  {'epochs':>6}  stage"]
    for stage in stages:
        minutes = _minutes(seconds(stage, paces), is_known(stage, paces))
        lines.append(f"{minutes:>8}  {stage.epochs or '':>6}  {stage.name}: {_standing(stage)}")
    known = all(is_known(stage, paces) for stage in stages)
    total = _minutes(sum(seconds(stage, paces) for stage in stages), known)
    beside = "" if known else ", and what this machine has not timed yet: an SVM's fit, or scoring"
    lines.append(f"{total:>8}          in all{beside}")
    return "\n".join(lines)


def _minutes(seconds: float, known: bool) -> str:
    if known:
        return f"{seconds / 60:.1f}"
    return f"{seconds / 60:.1f}+" if seconds else "?"


def _standing(stage: Stage) -> str:
    if stage.done:
        return "done"
    if stage.why_not:
        return f"not run, {stage.why_not}"
    return f"{stage.epochs_done} epochs done" if stage.epochs_done else "missing"


def _pace(stage: Stage, paces: Paces) -> Pace:
    return paces.get(stage.kind, Pace(0.0))


def _scoring(stage: Stage, paces: Paces) -> float:
    return paces.get(stage.scoring, Pace(0.0)).startup
