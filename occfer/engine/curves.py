"""The rows of a run as they come: a table for any program, and TensorBoard."""

import csv
import io
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.tensorboard import SummaryWriter

from occfer.files import write_atomically

TABLE = "history.csv"
EVENTS = "tensorboard"
OURS = ".occfer"
"""How the names of our event files end; no others are removed."""


class Curves:
    """A watcher (see :data:`occfer.engine.training.Watcher`) that adds nothing to a row and writes
    it to ``history.csv`` and, for ``tensorboard --logdir FOLDER``, to ``tensorboard/``.

    It comes last among watchers, so that it sees what the others add. A run that goes on from an
    earlier epoch replaces the rows from there on. TensorBoard is told the whole table anew by each
    sitting, since it would take the events of two by the clocks that they were written with.

    Args:
        folder: of the run.

    Raises:
        FileExistsError, ValueError: one of the two is there, and is somebody else's.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._events: SummaryWriter | None = None
        # What is somebody else's is said now, and not after an epoch.
        read_table(self.folder)
        events = self.folder / EVENTS
        if events.exists() and not events.is_dir():
            raise FileExistsError(
                f"{events} should be TensorBoard's folder, or not there yet, but is a file; move "
                "it away, or choose another folder for the run."
            )

    def __call__(self, model: nn.Module, row: Mapping[str, Any]) -> dict[str, Any]:
        try:
            self._write(row)
        except OSError as failure:
            warnings.warn(
                f"epoch {row['epoch']} could not be written to {self.folder / TABLE} or "
                f"{self.folder / EVENTS} ({failure}); the run goes on: make room for it.",
                stacklevel=2,
            )
        return {}

    def _write(self, row: Mapping[str, Any]) -> None:
        rows = [kept for kept in read_table(self.folder) if kept["epoch"] < row["epoch"]]
        write_table(self.folder, [*rows, dict(row)])
        earlier = []
        if self._events is None:
            folder, first = self.folder / EVENTS, (rows or [row])[0]["epoch"]
            earlier = list(folder.glob(f"events.out.tfevents.*{OURS}"))
            # A TensorBoard that looks on drops what it has seen from this epoch on.
            self._events = SummaryWriter(str(folder), purge_step=first, filename_suffix=OURS)
            for each in rows:
                self._add(each)
        self._add(row)
        self._events.flush()
        for events in earlier:
            events.unlink()

    def _add(self, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if name != "epoch":
                self._events.add_scalar(name, value, row["epoch"])


def write_table(folder: str | Path, rows: list[dict[str, Any]]) -> Path:
    """``history.csv`` with one line an epoch and a column for everything any row holds."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    table = csv.DictWriter(text, names, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    path = Path(folder) / TABLE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.getvalue().encode())
    return path


def read_table(folder: str | Path) -> list[dict[str, Any]]:
    """The rows of ``history.csv``; none where there is no such file.

    Raises:
        ValueError: the file is not what :func:`write_table` writes.
    """
    path = Path(folder) / TABLE
    if not path.exists():
        return []
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    try:
        rows = [{name: float(value) for name, value in row.items() if value} for row in found]
        if not all(math.isfinite(row["epoch"]) for row in rows):
            raise ValueError("an epoch is no number")
        return [{**row, "epoch": int(row["epoch"])} for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError) as damage:
        raise ValueError(
            f"{path} should hold one line of numbers an epoch, but it does not ({damage}); "
            "delete it, and the run writes it anew."
        ) from damage
