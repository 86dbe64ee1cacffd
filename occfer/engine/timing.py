"""Work that has so much time and no more: a bell rings when it is up, until it is heard."""

import _thread
import math
import signal
import threading
from collections.abc import Callable
from typing import Any

RINGS_AS = getattr(signal, "SIGALRM", signal.SIGINT)
"""Not as Ctrl-C, which a process in the background may have to ignore; Windows has no other."""
AGAIN = 5.0 if hasattr(signal, "SIGALRM") else None
"""Seconds from one ring to the next; work that has heard the first has that long to end. Where a
ring is a Ctrl-C there is but one, for a second would cut off what is being saved."""


class TimeIsUp(Exception):
    """Work was stopped at the end of its time; what it said of that, if anything."""


class Bell:
    """Interrupts the main thread after some seconds, and again and again until it is over.

    A ring alone may be lost: where it falls into a callback, Python prints it and goes on. As the
    handler of ``RINGS_AS`` the bell stops the work at once; training puts its own in its place, and
    saves first.

    Args:
        others: the handler of signals that are not the bell's, if any.
    """

    def __init__(self, seconds: float, others: Any = None):
        self.others = others
        self.rang, self._over = threading.Event(), threading.Event()
        self._seconds = min(max(0.0, seconds), threading.TIMEOUT_MAX)
        self._thread = threading.Thread(target=self._ring, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """From here on a ring that was on its way stops nothing."""
        self._over.set()

    def wait(self) -> None:
        """Until there is nobody left to ring."""
        if self._thread.is_alive():
            self._thread.join()

    def __call__(self, number, frame) -> None:
        if not self.rang.is_set():  # a signal of somebody else
            if callable(self.others):
                self.others(number, frame)
        elif not self._over.is_set():
            raise KeyboardInterrupt

    def _ring(self) -> None:
        if self._over.wait(self._seconds):
            return
        self.rang.set()
        while not self._over.is_set():
            _thread.interrupt_main(RINGS_AS)
            self._over.wait(AGAIN)


def within(seconds: float, work: Callable[[], None]) -> None:
    """Do some work in its time. Only the main thread can be interrupted: in any other the work goes
    on to its end.

    Raises:
        TimeIsUp: the work was stopped, as by Ctrl-C, on which training saves itself.
    """
    if math.isinf(seconds) or threading.current_thread() is not threading.main_thread():
        work()
        return
    before = signal.getsignal(RINGS_AS)
    bell, done = Bell(seconds, before), False
    signal.signal(RINGS_AS, bell)
    try:
        try:
            bell.start()
            work()
            done = True
        finally:
            bell.end()
    except KeyboardInterrupt as stop:
        if not bell.rang.is_set():
            raise
        if not done:
            raise TimeIsUp(*stop.args) from stop
    finally:
        bell.end()
        bell.wait()
        signal.signal(RINGS_AS, before)
