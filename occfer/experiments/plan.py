"""What is still to be done for a table, in which order, and what fits into the time that is left.

Nothing here trains, reads or writes. A stage is one thing that is done as a whole: an encoder is
pre-trained, or a row is trained and scored. Its time is predicted from the pace of its kind.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

RESERVE = 0.1
"""Share of the time that is kept for reading, scoring and saving."""


@dataclass(frozen=True)
class Pace:
    """How fast one machine is at one kind of stage.

    Args:
        epoch: seconds of one epoch, its validation included.
        startup: seconds that are spent once, before the first epoch has its pace.
    """

    epoch: float
    startup: float = 0.0


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

    @property
    def untouched(self) -> bool:
        """Whether no earlier call has begun it."""
        return not self.done and not self.epochs_done


Paces = Mapping[str, Pace]


def seconds(stage: Stage, paces: Paces) -> float:
    """What the rest of a stage is predicted to take; 0 where its pace is not known."""
    if stage.done or stage.why_not or stage.kind not in paces:
        return 0.0
    pace = paces[stage.kind]
    return pace.startup + pace.epoch * max(0, stage.epochs - stage.epochs_done)


def next_stage(
    stages: Sequence[Stage], paces: Paces, left: float, passed: Iterable[str] = ()
) -> Stage | None:
    """The most valuable stage to run now; None where nothing is left that could be begun.

    ``stages`` stand in the order of their value. The first that can be run and fits into the
    seconds ``left`` is taken; where none fits, the first that can be run, since what a stopped
    stage has learnt is kept. ``passed`` names stages that are not to be taken.
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
    return next(iter(fitting or begun), None)


def share_that_fits(stages: Iterable[Stage], paces: Paces, left: float) -> float:
    """The share of all epochs, at most 1, with which all stages end within the seconds ``left``.

    Raises:
        ValueError: not even the start of every stage fits.
    """
    todo = [stage for stage in stages if not stage.done and not stage.why_not]
    once = sum(_pace(stage, paces).startup for stage in todo)
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
        known = stage.done or stage.why_not or stage.kind in paces
        minutes = f"{seconds(stage, paces) / 60:.1f}" if known else "?"
        lines.append(f"{minutes:>8}  {stage.epochs or '':>6}  {stage.name}: {_standing(stage)}")
    total = sum(seconds(stage, paces) for stage in stages)
    lines.append(f"{total / 60:>8.1f}          in all")
    return "\n".join(lines)


def _standing(stage: Stage) -> str:
    if stage.done:
        return "done"
    if stage.why_not:
        return f"not run, {stage.why_not}"
    return f"{stage.epochs_done} epochs done" if stage.epochs_done else "missing"


def _pace(stage: Stage, paces: Paces) -> Pace:
    return paces.get(stage.kind, Pace(0.0))
