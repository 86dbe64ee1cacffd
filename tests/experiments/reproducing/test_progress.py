"""Stages that end, fail or are stopped; and what is said of each."""

import gc
import time
import weakref
from collections.abc import Callable
from dataclasses import replace

import pytest

from occfer.experiments.budget import Pace
from occfer.experiments.reproducing.plan import Stage
from occfer.experiments.reproducing.progress import carry_out

PACES = {"plain": Pace(0.01), "HOG": Pace(0.0, startup=30.0)}


class Work:
    """Stages that are done by name, and what was said of them."""

    def __init__(self, *stages: Stage):
        self.stages, self.done, self.said = stages, set(), []

    def standing(self) -> list[Stage]:
        return [replace(each, done=each.name in self.done) for each in self.stages]

    def carry_out(
        self, do: Callable[[Stage], None] = lambda _: None, left: float = float("inf")
    ) -> None:
        def doing(stage: Stage) -> None:
            do(stage)
            self.done.add(stage.name)

        ends = time.monotonic() + left
        carry_out(self.standing, doing, PACES, lambda: ends - time.monotonic(), self.said.append)


def stage(name: str, kind: str = "plain", epochs: int = 4, **more) -> Stage:
    return Stage(name, name, 0, kind, epochs, **more)


def for_ever(_: Stage) -> None:
    while True:
        time.sleep(0.01)


@pytest.mark.parametrize("failure", [FloatingPointError("no number"), BlockingIOError("locked")])
def test_a_stage_that_fails_bars_none_but_its_own(failure: Exception) -> None:
    work = Work(stage("a"), stage("b"), stage("c", needs="a"), stage("d"))

    def do(each: Stage) -> None:
        if each.name == "a":
            raise failure

    with pytest.raises(type(failure), match=str(failure)):
        work.carry_out(do)
    assert work.done == {"b", "d"}
    assert work.said == [
        f"a failed: {failure}", "c: about 0.0 minutes left to do; the same command goes on.",
    ]  # fmt: skip


def test_what_is_refused_ends_the_call_at_once() -> None:
    work = Work(stage("a"), stage("b"))

    def do(each: Stage) -> None:
        raise ValueError("an encoder of other faces; pass another --out")

    with pytest.raises(ValueError, match="an encoder of other faces"):
        work.carry_out(do)
    assert (work.done, work.said) == (set(), [])


def test_what_a_failed_stage_held_is_let_go_of_before_the_next() -> None:
    class Network:
        pass

    networks: list[weakref.ref] = []

    def train() -> None:
        network = Network()
        networks.append(weakref.ref(network))
        raise RuntimeError("out of memory")

    def do(each: Stage) -> None:
        if each.name == "b":
            gc.collect()
            assert networks[0]() is None
            return
        try:
            train()
        except RuntimeError as reason:
            raise MemoryError("too large a batch") from reason

    work = Work(stage("a"), stage("b"))
    with pytest.raises(MemoryError, match="too large a batch"):
        work.carry_out(do)
    assert work.done == {"b"}


def test_a_full_disk_bars_everything() -> None:
    work = Work(stage("a"), stage("b"))

    def do(each: Stage) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        work.carry_out(do)
    assert work.said == []


def test_training_itself_says_whether_it_was_saved() -> None:
    def do(_: Stage) -> None:
        try:
            for_ever(_)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("stopped, but this place could not be saved") from None

    work = Work(stage("a"), stage("b"))
    work.carry_out(do, left=0.2)
    assert work.said[0] == "The time is up; a: stopped, but this place could not be saved"
    assert len(work.said) == 3


def test_outside_of_training_nothing_is_said_to_be_saved() -> None:
    work = Work(stage("a"))
    work.carry_out(for_ever, left=0.2)
    assert work.said[0] == (
        "The time is up; a was stopped outside of training; what it was at begins again at the "
        "next call."
    )


@pytest.mark.parametrize("whole", [stage("a", epochs_done=4), stage("a", "LBP", 0)])
def test_what_keeps_nothing_part_way_says_that_it_needs_more_time(whole: Stage) -> None:
    """The scoring of a network that is trained, and the fit of an SVM."""
    work = Work(whole)
    work.carry_out(for_ever, left=0.2)
    assert work.said[0].startswith("The time is up; a was stopped, and this part of it keeps")
    assert work.said[0].endswith("needs more than the 0.0 minutes that it got.")


def test_a_descriptor_that_does_not_fit_is_passed_over_for_what_does() -> None:
    work = Work(stage("a", "HOG", 0), stage("b"))
    work.carry_out(left=20.0)
    assert work.done == {"b"}
    assert work.said == ["a: about 0.5 minutes left to do; the same command goes on."]
