"""Run notebooks side by side, each in a fresh kernel of this Python, until one fails."""

import asyncio
import os
import re
import tempfile
import time
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

# A notebook at the smoke tier promises a minute; ten leave room for a slow or busy machine.
SMOKE_LIMIT_S = 600
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class NotebookFailedError(RuntimeError):
    """A notebook did not run to its end; the message names the cell and shows it."""


def run_all(notebooks: dict[Path, NotebookNode], jobs: int) -> None:
    """Run every notebook in place, at most ``jobs`` at a time, in the folder of its path.

    Raises NotebookFailedError for the first that fails; the others are stopped.
    """
    # Its first import on a machine writes a line about fonts, which no notebook should show.
    import matplotlib.font_manager  # noqa: F401

    asyncio.run(_run_all(notebooks, jobs))


async def _run_all(notebooks: dict[Path, NotebookNode], jobs: int) -> None:
    free = asyncio.Semaphore(jobs)

    async def run_when_free(path: Path, notebook: NotebookNode) -> None:
        async with free:
            await _run(path, notebook)

    try:
        async with asyncio.TaskGroup() as group:
            for path, notebook in notebooks.items():
                group.create_task(run_when_free(path, notebook))
    except* NotebookFailedError as failures:
        raise failures.exceptions[0] from None


async def _run(path: Path, notebook: NotebookNode) -> None:
    _forget(notebook)
    begun = time.monotonic()
    limit = SMOKE_LIMIT_S if os.environ.get("OCCFER_TIER") == "smoke" else None
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        # The limit is the notebook's, so each cell may take what the cells before it left over.
        timeout_func=lambda _: limit and max(1, int(limit - (time.monotonic() - begun))),
        record_timing=False,
        coalesce_streams=True,
    )
    # The kernel's own stderr holds chatter about sockets, or the last words of a crash.
    with tempfile.TemporaryFile() as last_words:
        try:
            await client.async_execute(stderr=last_words)
        except CellTimeoutError:
            raise NotebookFailedError(
                f"{path.name} had to finish within {limit} s, but was still in its "
                f"{_place(notebook)}"
            ) from None
        except CellExecutionError as error:
            traceback = _ANSI.sub("", error.traceback.split("------------------")[-1]).strip()
            raise NotebookFailedError(
                f"{path.name} failed in its {_place(notebook)}\n\n{traceback}"
            ) from None
        except DeadKernelError:
            last_words.seek(0)
            raise NotebookFailedError(
                f"{path.name} lost its Python (out of memory?) in its {_place(notebook)}\n\n"
                f"{last_words.read().decode(errors='replace')[-2000:]}"
            ) from None
    print(f"{path.name} ran in {time.monotonic() - begun:.0f} s", flush=True)


def _forget(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def _place(notebook: NotebookNode) -> str:
    """The cell that was running: the first that failed or has no execution count yet."""
    number, cell = next(
        (number, cell)
        for number, cell in enumerate(notebook.cells)
        if cell.cell_type == "code"
        and cell.source.strip()
        and (cell.execution_count is None or any(o.output_type == "error" for o in cell.outputs))
    )
    return f"cell {number}:\n\n" + "\n".join(f"    {line}" for line in cell.source.splitlines())
