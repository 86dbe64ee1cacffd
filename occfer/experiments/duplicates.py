"""How many faces of a data set occur more than once, and on both sides of its splits.

Measured once exactly and once perceptually (:mod:`occfer.data.duplicates`), and recorded with the
id of every face that is not alone, so that anybody who has the data can look at the pairs.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from occfer.data.duplicates import DISTANCE, Duplicates, find_duplicates
from occfer.engine.records import Record, environment
from occfer.experiments.study import RESULTS
from occfer.experiments.table1 import Splits, load_splits
from occfer.files import write_atomically

EXPERIMENT = "duplicates"


@dataclass(frozen=True)
class Measured:
    """The duplicates of a data set: all pixels equal, and perceptual hashes near."""

    exact: Duplicates
    perceptual: Duplicates
    record: Record

    @property
    def leaks(self) -> int:
        """Training faces whose pixels also stand in a held-out split: what drop_leaks drops."""
        return self.record.values["leaks_dropped"]


def measure(
    data: str, root: Path | None = None, distance: int = DISTANCE, results: Path = RESULTS
) -> Measured:
    """Find the duplicates within and across the three splits, and record them.

    Writes ``duplicates/<data>.json`` (counts, and a SHA-256 of each split) and ``.tsv`` beside it
    (group, split, expression and id of every face with exact duplicates; no pixels).

    Raises:
        ValueError: the distance is out of range, or the data is damaged.
        FileNotFoundError: the data is not there; the message says how to obtain it.
    """
    begun, splits = time.monotonic(), load_splits(data, root)
    sets = (splits.train, splits.validation, splits.test)
    exact, perceptual = find_duplicates(*sets), find_duplicates(*sets, distance=distance)
    record = Record(
        {
            "experiment": EXPERIMENT,
            "name": Path(data).name,
            "environment": environment(),
            "data": {faces.split: faces.describe() for faces in sets},
            "seconds": time.monotonic() - begun,
            "exact": exact.counts(),
            "perceptual": perceptual.counts(),
            "leaks_dropped": len(splits.train) - len(splits.pool),
        }
    )
    path = record.save(results)
    text = "".join(f"{line}\n" for line in exact.lines())
    write_atomically(path.with_suffix(".tsv"), text.encode("utf-8", "backslashreplace"))
    return Measured(exact, perceptual, record)


def recorded(results: Path, data: str) -> tuple[dict, list[tuple[int, str, str, str]]] | None:
    """What ``measure`` wrote: the values, and group, split, expression and id of each face that
    has exact duplicates; None where it was not run."""
    path = results / EXPERIMENT / f"{data}.json"
    if not path.exists():
        return None
    lines = path.with_suffix(".tsv").read_text(encoding="utf-8").splitlines()[1:]
    members = [line.split("\t") for line in lines]
    return Record.load(path).values, [(int(group), *rest) for group, *rest in members]


def save_clean(splits: Splits, folder: Path) -> Path:
    """The splits as saved sets that ``load_faces(folder, split)`` reads, the training split
    without the faces that stand in another one."""
    for name, faces in (("train", splits.pool), ("val", splits.validation), ("test", splits.test)):
        faces.save(folder / name)
    return folder
