"""One process for one run: whoever comes second is told so, and touches nothing in its folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def locked(folder: Path | None) -> Iterator[None]:
    """Keep a run's folder for this process; the system frees it when the process ends or is killed.

    Args:
        folder: of the run, made where it is missing; ``None`` locks nothing.

    Raises:
        BlockingIOError: another process keeps it.
    """
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "run.lock", timeout=0):
            yield
    except Timeout as taken:
        raise BlockingIOError(
            f"{folder} should be free, but another process is training this run; wait for it, stop "
            "it with Ctrl-C and call again to go on from there, or choose another folder."
        ) from taken
