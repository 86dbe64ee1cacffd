"""Being stopped politely: a signal is a request, which the loop obeys when it has saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from occfer.engine.timing import RINGS_AS, Bell


class StopRequest:
    """Set by Ctrl-C; the loop finishes its step, saves, and then obeys."""

    def __init__(self):
        self.asked = False

    def obey(self, saved: bool | None) -> None:
        """Stop here if asked to; ``saved`` is what :meth:`occfer.engine.run.Run.save` said."""
        if not self.asked:
            return
        if saved is None:
            raise KeyboardInterrupt(
                "stopped, and nothing is kept, since the run has no folder; give it one (run=...) "
                "to go on from where it is stopped."
            )
        if saved:
            raise KeyboardInterrupt("stopped and saved; the same call goes on from here.")
        raise KeyboardInterrupt(
            "stopped, but this place could not be saved; the same call goes on from the last state "
            "that was."
        )


@contextmanager
def stop_on_interrupt(patient: bool = False) -> Iterator[StopRequest]:
    """Turn the first Ctrl-C (or SIGTERM) into a request; a second one stops at once.

    A weight update that is cut in half cannot be resumed exactly, so the loop asks between steps.
    The bell at the end of the time is such a request too, however often it rings.

    Args:
        patient: never stop at once. With several processes a launcher passes on the Ctrl-C that
            the terminal has sent to each of them already, and half of a team cannot save.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    bell = signal.getsignal(RINGS_AS)

    def ask(number, frame):
        alarm = number not in (signal.SIGINT, signal.SIGTERM)
        if alarm and not bell.rang.is_set():
            bell(number, frame)  # who knows whose it is
            return
        if request.asked and not patient and not alarm:
            raise KeyboardInterrupt
        request.asked = True

    # The bell comes first and goes last, so that no ring cuts this short.
    belled = [RINGS_AS] if isinstance(bell, Bell) else []
    numbers = dict.fromkeys((*belled, signal.SIGINT, signal.SIGTERM))
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in reversed(before.items()):
            signal.signal(number, handler)
