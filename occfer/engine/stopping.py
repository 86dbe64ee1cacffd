"""Being stopped politely: a signal is a request, which the loop obeys when it has saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class StopRequest:
    """Set by Ctrl-C; the loop finishes its step, saves, and then obeys."""

    def __init__(self):
        self.asked = False

    def obey(self, saved: bool = True) -> None:
        """Stop here if asked to; whoever calls has saved just before, or says that it could not."""
        if not self.asked:
            return
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

    Args:
        patient: never stop at once. With several processes a launcher passes on the Ctrl-C that
            the terminal has sent to each of them already, and half of a team cannot save.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(number, frame):
        if request.asked and not patient:
            raise KeyboardInterrupt
        request.asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
