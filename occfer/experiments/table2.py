"""Table 2 (§3.4): the method beside others. What the paper quotes stays its quotation.

The paper quotes the other methods' own papers, but for SimCLR, which reports no faces and so must
have been run. This library runs SimCLR and the method itself; every other row is somebody else's
number and says so. What is run are rows of Table 1 with the same recipes, recorded there.
"""

import math
from dataclasses import dataclass

from occfer.experiments import paper, table1
from occfer.experiments.field import FIELD
from occfer.experiments.study import Study
from occfer.recipes import Tier

OURS = {"SimCLR": "SimCLR+Res18", "the paper": "OCL+Res18+FGW+LGDS"}
"""The rows of the paper's Table 2 that are run here, by the row of Table 1 that runs them."""
ROWS = tuple(OURS.values())


@dataclass(frozen=True)
class Row:
    """One line of Table 2.

    Args:
        method: as the paper calls it, or as its source does.
        quoted: what is reported, in per cent; None where nothing is.
        whose: who reports it.
        ours: every recorded run of this library; None where it does not run the method.
        caveat: see :class:`occfer.experiments.field.Quote`.
    """

    method: str
    quoted: float | None
    whose: str
    ours: table1.Line | None = None
    caveat: str = ""

    @property
    def result(self) -> str:
        """Our accuracies as Table 1 words them; a dash where the method is not run here at all."""
        return "–" if self.ours is None else self.ours.result


def rows(study: Study) -> list[Row]:
    """The paper's Table 2 in its order, with our runs where there are any."""
    return [
        Row(
            "the method" if method == "the paper" else method,
            numbers.get(study.data),
            _whose(method, numbers.get(study.data)),
            _line(study, method),
        )
        for method, numbers in paper.TABLE2.items()
    ]


def field(data: str) -> list[Row]:
    """Where the field stands on one data set, all of it quoted, the lowest number first."""
    quotes = sorted((quote for quote in FIELD if quote.data == data), key=lambda q: q.accuracy)
    return [Row(q.method, q.accuracy, q.source, caveat=q.caveat) for q in quotes]


def as_markdown(table: list[Row], data: str, tier: Tier) -> str:
    """The table for the book; accuracies in per cent."""
    head = [
        f"| method | {data}, reported | by whom | ours, {tier} tier | seeds | to know |",
        "|---|---|---|---|---|---|",
    ]
    body = [
        f"| {row.method} | {'–' if row.quoted is None else f'{row.quoted:.2f}'} | {row.whose} "
        f"| {row.result} | {'–' if row.ours is None else len(row.ours.records)} "
        f"| {row.caveat or '–'} |"
        for row in table
    ]
    return "\n".join(head + body)


def standard_error(accuracy: float, faces: int) -> float:
    """Of an accuracy in per cent measured on so many faces, in points (binomial)."""
    share = accuracy / 100
    return 100 * math.sqrt(share * (1 - share) / faces)


def _whose(method: str, number: float | None) -> str:
    if number is None:
        return "–"
    return "the paper" if method in OURS else "the paper, quoting"


def _line(study: Study, method: str) -> table1.Line | None:
    if method not in OURS:
        return None
    row = OURS[method]
    return table1.Line(row, paper.TABLE2[method].get(study.data), study.recorded(row))
