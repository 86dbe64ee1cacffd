"""One process for one run: whoever comes second is told so, and touches nothing in its folder."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from occfer import files


def locked(folder: Path | None) -> AbstractContextManager[None]:
    """Keep a run's folder for this process; see :func:`occfer.files.locked`.

    Args:
        folder: of the run, made where it is missing; ``None`` locks nothing.

    Raises:
        BlockingIOError: another process keeps it.
    """
    if folder is None:
        return nullcontext()
    folder.mkdir(parents=True, exist_ok=True)
    return files.locked(
        folder / "run.lock",
        f"{folder} should be free, but another process is training this run; wait for it, stop it "
        "with Ctrl-C and call again to go on from there, or choose another folder.",
    )
