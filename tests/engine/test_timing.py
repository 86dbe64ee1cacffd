"""The end of the time is heard wherever it falls, and stops nothing but the work it is for."""

import contextlib
import math
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from occfer.engine import timing
from occfer.engine.pretrain import pretrain
from occfer.engine.run import Run
from occfer.engine.timing import Bell, TimeIsUp, within
from occfer.recipes import pretraining


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "AGAIN", 0.1)


def busy(seconds: float) -> None:
    """For so long at most, where a signal is heard at once."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        time.sleep(0.01)


def too_long() -> None:
    busy(20)
    pytest.fail("it was not stopped")


@pytest.mark.parametrize("seconds", [60.0, 6e10, math.inf])
def test_work_in_time_is_left_alone(seconds: float) -> None:
    done = []
    within(seconds, lambda: done.append(1))
    assert done == [1]


def test_work_that_is_late_before_it_begins_is_stopped() -> None:
    for seconds in (0.0, -3.0):
        with pytest.raises(TimeIsUp):
            within(seconds, too_long)


def test_ctrl_c_of_the_user_is_not_taken_for_the_end_of_the_time() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        within(60.0, interrupted)


@pytest.mark.usefixtures("lost_rings")
def test_a_ring_that_is_lost_in_a_callback_is_repeated() -> None:
    class Long:
        def __del__(self) -> None:
            busy(20)

    deleted = []

    def work() -> None:
        began = time.monotonic()
        Long()
        deleted.append(time.monotonic() - began)
        too_long()

    with pytest.raises(TimeIsUp):
        within(0.2, work)
    assert deleted  # the first ring ended the callback alone
    assert deleted[0] < 15


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs alarms")
def test_an_alarm_of_somebody_else_reaches_them(toy_faces) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: heard.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        within(60.0, lambda: busy(0.3))
        assert heard == [signal.SIGALRM]
        recipe = pretraining("smoke", epochs=2, batch_size=8)

        def training() -> None:
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            assert len(pretrain(toy_faces(16), recipe, progress=False).history) == 2
            busy(0.2)

        within(60.0, training)
        assert heard == 2 * [signal.SIGALRM]
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_late_ring_stops_nothing_outside() -> None:
    for number in range(100):
        with contextlib.suppress(TimeIsUp):
            within(0.0002 * (number % 5), lambda: None)
    busy(0.3)


def test_outside_of_the_main_thread_work_goes_to_its_end() -> None:
    done = []
    thread = threading.Thread(target=within, args=(0.0, lambda: done.append(busy(0.3))))
    thread.start()
    thread.join()
    assert done == [None]


IN_THE_BACKGROUND = """
import runpy, signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does with what it starts with "&"
timing = runpy.run_path(sys.argv[1])
try:
    timing["within"](0.2, lambda: [time.sleep(0.01) for _ in range(2000)])
except timing["TimeIsUp"]:
    print("stopped")
"""


def test_a_process_in_the_background_hears_it_too() -> None:
    command = [sys.executable, "-c", IN_THE_BACKGROUND, timing.__file__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "stopped\n"


def test_rings_in_one_long_step_save_one_state_and_cut_nothing(
    toy_faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, bells, ended = Run._step, [], []

    def long_step(self, *given):
        if len(ended) == 1:
            bells[0]._thread.start()
        busy(0.5)
        ended.append(step(self, *given))
        return ended[-1]

    # The time is up when the second step begins, however long it took until then.
    monkeypatch.setattr(Bell, "start", lambda bell: bells.append(bell))
    monkeypatch.setattr(Run, "_step", long_step)
    recipe = pretraining("smoke", epochs=100, batch_size=8, save_every_seconds=1e9)
    late = lambda: pretrain(toy_faces(16), recipe, run=tmp_path, progress=False)  # noqa: E731
    with pytest.raises(TimeIsUp, match="stopped and saved; the same call goes on from here"):
        within(0.0, late)
    assert [asked for asked, _ in ended] == [False, True]
    assert len(list(tmp_path.glob("state-*.json"))) == 1
