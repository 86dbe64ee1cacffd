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

    Raises NotebookFailedError for the first that fails; no other is begun after that.
    """
    # Its first import on a machine writes a line about fonts, which no notebook should show.
    import matplotlib.font_manager  # noqa: F401

    asyncio.run(_run_all(notebooks, jobs))


async def _run_all(notebooks: dict[Path, NotebookNode], jobs: int) -> None:
    free = asyncio.Semaphore(jobs)
    failures: list[NotebookFailedError] = []

    async def run_when_free(path: Path, notebook: NotebookNode) -> None:
        async with free:
            if failures:
                return
            try:
                await _run(path, notebook)
            except NotebookFailedError as failure:
                # nbclient does not survive being cancelled, so what is running may end.
                print(f"{path.name} failed; waiting for what still runs", flush=True)
                failures.append(failure)

    await asyncio.gather(*(run_when_free(*each) for each in notebooks.items()))
    if failures:
        raise failures[0]


async def _run(path: Path, notebook: NotebookNode) -> None:
    _forget(notebook)
    begun = time.monotonic()
    limit = SMOKE_LIMIT_S if os.environ.get("OCCFER_TIER") == "smoke" else None
    running: list[int] = []
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        # The limit is the notebook's, so each cell may take what the cells before it left over.
        timeout_func=lambda _: limit and max(1, int(limit - (time.monotonic() - begun))),
        on_cell_execute=lambda cell, cell_index: running.append(cell_index),
        record_timing=False,
        coalesce_streams=True,
    )
    # The kernel's own stderr holds chatter about sockets, or the last words of a crash.
    with tempfile.TemporaryFile() as last_words:
        try:
            await client.async_execute(stderr=last_words)
        except CellTimeoutError:
            problem = f"had to finish within {limit} s, but was still in"
            raise NotebookFailedError(
                f"{path.name} {problem} {_place(notebook, running)}"
            ) from None
        except CellExecutionError:
            where = _place(notebook, running)
            [error] = [o for o in notebook.cells[running[-1]].outputs if o.output_type == "error"]
            traceback = _ANSI.sub("", "\n".join(error.traceback))
            raise NotebookFailedError(f"{path.name} failed in {where}\n\n{traceback}") from None
        except DeadKernelError:
            where = _place(notebook, running)
            last_words.seek(0)
            said = last_words.read().decode(errors="replace")[-2000:]
            problem = "lost its Python (out of memory?) in"
            raise NotebookFailedError(f"{path.name} {problem} {where}\n\n{said}") from None
    print(f"{path.name} ran in {time.monotonic() - begun:.0f} s", flush=True)


def _forget(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def _place(notebook: NotebookNode, running: list[int]) -> str:
    """The cell that was running, as a sentence's end and its text."""
    if not running:
        return "its start, before any cell"
    source = notebook.cells[running[-1]].source
    return f"its cell {running[-1]}:\n\n" + "\n".join(f"    {line}" for line in source.splitlines())
