"""Stage after stage in the time there is, and what became of each, in words."""

import functools
import traceback
from collections.abc import Callable

from occfer.engine.timing import TimeIsUp, within
from occfer.experiments.reproducing import plan

OF_ONE_STAGE = (FloatingPointError, BlockingIOError, MemoryError)
"""What bars one stage and not the next: a row that diverged, or that another process trains. What
is refused, such as a run of another recipe, ends the call at once."""


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

    Raises:
        FloatingPointError, BlockingIOError, MemoryError: of the first stage that failed, after all
            the others.
    """
    begun: set[str] = set()
    failed: dict[str, Exception] = {}
    while stage := plan.next_stage(standing(), paces, left(), begun):
        begun.add(stage.name)
        took, given = plan.seconds(stage, paces), left()
        if took > given:
            say(f"{stage.name} is begun, but its {took / 60:.1f} minutes are more than are left.")
        try:
            within(given, functools.partial(do, stage))
        except TimeIsUp as stop:
            say(f"The time is up; {stage.name}{_stopped(stage, given, str(stop))}")
            break
        except OF_ONE_STAGE as failure:
            failed[stage.name] = failure
            _forget_frames(failure)
            say(f"{stage.name} failed: {failure or type(failure).__name__}")
    for stage in standing():
        if stage.why_not and not stage.done:
            say(f"{stage.name}: not run, {stage.why_not}")
        elif not stage.done and stage.name not in failed:
            rest = plan.seconds(stage, paces) / 60
            about = f"{'about' if plan.is_known(stage, paces) else 'more than'} {rest:.1f} minutes"
            about = about if rest else "some time"
            say(f"{stage.name}: {about} left to do; the same command goes on.")
    if failed:
        raise next(iter(failed.values()))


def _forget_frames(failure: BaseException | None) -> None:
    """Let go of what a failed stage held; its network may fill the memory that the next needs."""
    while failure is not None:
        traceback.clear_frames(failure.__traceback__)
        failure = failure.__cause__ or failure.__context__


def _stopped(stage: plan.Stage, given: float, words: str) -> str:
    """What a stage that was stopped has kept: as training says it, else nothing of what it was at,
    such as scoring or the fit of an SVM."""
    if words:
        return f": {words}"
    if stage.epochs_done < stage.epochs:
        return " was stopped outside of training; what it was at begins again at the next call."
    return (
        " was stopped, and this part of it keeps nothing: it begins again at the next call, and "
        f"needs more than the {given / 60:.1f} minutes that it got."
    )
