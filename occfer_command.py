"""The command ``occfer``, before its library is there.

To import the library takes seconds, in which Ctrl-C and an impossible ``OCCFER_TIER`` are one
sentence too. This lies beside the package because all within it comes after the package itself.
"""

import os
import signal
import sys


def main() -> None:
    """Import :func:`occfer.cli.main`, and do what it does."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # in the background it may be ignored
        signal.signal(signal.SIGINT, _stop)
    try:
        from occfer.cli import main as command
    except ValueError as error:
        print(f"occfer: {error}", file=sys.stderr)
        sys.exit(2)
    signal.signal(signal.SIGINT, before)
    command()


def _stop(*_) -> None:
    """Nothing is begun that had to end well, and modules may swallow a KeyboardInterrupt."""
    os.write(2, b"occfer: stopped\n")
    os._exit(130)
