"""One data set at one tier, and where its records and its runs lie.

A study is what the tables and figures have in common: each asks it for a record or a run by row
and seed, and none spells a file's name.
"""

import glob
from dataclasses import dataclass
from pathlib import Path

from occfer.engine.records import Record
from occfer.experiments.budget import Budget
from occfer.recipes import TIER, Tier

RESULTS = Path("book/results")
TABLE1 = "table1"
"""The folder of Table 1's records, and of all runs: the figures look into that table's networks."""


@dataclass(frozen=True)
class Study:
    """One data set at one tier.

    Args:
        data: its name or path, see :func:`occfer.load_faces`.
        tier: the size of networks and runs.
        results: folder of records and predictions, one folder per experiment.
        runs: folder of checkpoints and networks.
    """

    data: str
    tier: Tier = TIER
    results: Path = RESULTS
    runs: Path = Path("runs")

    def name(self, row: str, seed: int) -> str:
        """Of a record and of a run, such as ``fer2013-laptop-OCL+Res18-seed0``."""
        return f"{self._stem}{row}-seed{seed}"

    def record(self, row: str, seed: int, experiment: str = TABLE1) -> Path:
        """Where the record of one row and seed lies, once there is one."""
        return self.results / experiment / f"{self.name(row, seed)}.json"

    def run(self, row: str, seed: int) -> Path:
        """Where the checkpoints and the network of one row and seed lie."""
        return self.runs / TABLE1 / self.name(row, seed)

    def records(self, rows: str = "*", experiment: str = TABLE1) -> list[Path]:
        """The records that are there of one row, or of a pattern of rows, in one experiment."""
        pattern = f"{glob.escape(self._stem)}{rows}-seed*.json"
        return sorted((self.results / experiment).glob(pattern))

    def recorded(self, row: str, experiment: str = TABLE1) -> tuple[Record, ...]:
        """Every recorded seed of one row."""
        return tuple(Record.load(path) for path in self.records(row, experiment))

    def all_runs(self) -> list[Path]:
        """The folders of all runs that are there."""
        return sorted((self.runs / TABLE1).glob(f"{glob.escape(self._stem)}*-seed*"))

    @property
    def budget(self) -> Path:
        """Where the share of the epochs lies that all these runs keep, if one was chosen."""
        return self.runs / TABLE1 / f"{self._stem}budget.json"

    @property
    def choice(self) -> Budget | None:
        """What an earlier call chose; None where every recipe keeps its epochs."""
        return Budget.load(self.budget) if self.budget.exists() else None

    @property
    def _stem(self) -> str:
        return f"{Path(self.data).name}-{self.tier}-"
