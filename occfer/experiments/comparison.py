"""Two rows over all their seeds: how large is the difference, and which chance could explain it?

There are two kinds of chance. Training again with another seed gives another network; how much that
changes is seen in the spread of the paired differences over seeds (Student's t). Other test faces
would give another accuracy; that is asked face by face, as McNemar's test does for one seed. All
seeds are scored on the same faces, so their votes on one face belong together, and the test is the
one for clustered pairs (Durkalski et al., 2003), which is McNemar's where there is one seed.

Each kind of chance is asked at 5 % while the other is held fixed: other seeds on these faces, and
other faces for these networks. Both add up, so that to pass both questions is not to pass one test
at 5 % that knows of both. What the faces alone tell is of these networks and no others: two seeds
of one and the same row often pass it (:func:`told_apart_by_seed_alone`). And where many pairs of
rows are asked, some pass by luck (:func:`holm`).
"""

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import norm, t

from occfer.engine.conditions import Conditions
from occfer.engine.evaluate import Predictions, mcnemar
from occfer.engine.measurements import interval_of_mean
from occfer.engine.records import Record

LEVEL = 0.05
FEW_SEEDS = 5
"""With fewer than this a difference is told apart with a warning: their spread is hardly known."""


@dataclass(frozen=True)
class Comparison:
    """One row against another, over the seeds that both have.

    Args:
        differences: accuracy of the first minus that of the second, in points, by seed.
        only_first, only_second: faces that one of them alone recognised, by seed.
        p_by_seed: McNemar's exact test of each seed.
        p_faces: the same question over all seeds together, for the faces at hand.
        interval_faces: 95 % interval of the mean difference in points, by drawing test faces;
            None where a record does not keep it.
    """

    differences: Mapping[int, float]
    only_first: Mapping[int, int]
    only_second: Mapping[int, int]
    p_by_seed: Mapping[int, float]
    p_faces: float
    interval_faces: tuple[float, float] | None = None

    @property
    def mean(self) -> float:
        """Of the differences, in points."""
        return statistics.mean(self.differences.values())

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the mean difference over seeds, in points; None without a spread."""
        return t_interval(list(self.differences.values()))

    @property
    def p_seeds(self) -> float | None:
        """Paired t-test over seeds, two-sided; None where they show no spread."""
        return t_test(list(self.differences.values()))

    @property
    def beyond_chance(self) -> bool:
        """Whether neither kind of chance alone explains the difference, as far as it can be
        asked; see the module for what that leaves open."""
        return self.p_faces < LEVEL and (self.p_seeds is None or self.p_seeds < LEVEL)

    @property
    def verdict(self) -> str:
        """``ahead`` or ``behind``; ``... with these networks`` where other seeds might say
        otherwise, or cannot be asked since they show no spread; ``not told apart`` where other
        faces might."""
        if self.p_faces >= LEVEL:
            return "not told apart"
        side = "ahead" if self.mean > 0 else "behind"
        sure = self.p_seeds is not None and self.p_seeds < LEVEL
        return side if sure else f"{side} with these networks"

    def sentence(self, first: str, second: str) -> str:
        """The whole comparison in words, for two rows by name."""
        if len(self.differences) == 1:
            (seed,) = self.differences
            among = ""
            if self.interval_faces is not None:
                low, high = self.interval_faces
                among = f" (95 % interval over faces {low:+.2f} to {high:+.2f})"
            chance = (
                f"with one seed, {seed}{among}; {self.only_first[seed]} faces are recognised by "
                f"the first alone and {self.only_second[seed]} by the second alone "
                f"(McNemar's exact p = {self.p_faces:.2g})"
            )
        else:
            spread = "which give the same difference, so that their spread is unknown"
            if self.interval is not None:
                low, high = self.interval
                spread = (
                    f"95 % interval over seeds {low:+.2f} to {high:+.2f}, paired t-test "
                    f"p = {self.p_seeds:.2g}"
                )
            chance = (
                f"in the mean over {len(self.differences)} seeds ({spread}; face by face, "
                f"McNemar's test over all seeds p = {self.p_faces:.2g})"
            )
        verdict = "more than chance would give"
        if self.p_faces >= LEVEL:
            verdict = "which other faces alone could give"
        elif self.p_seeds is None:
            verdict = "more than other faces would give; of other seeds it cannot be asked"
        elif self.p_seeds >= LEVEL:
            verdict = "more than other faces would give, but other seeds might reverse it"
        elif len(self.differences) < FEW_SEEDS:
            verdict += ", as far as the spread of so few seeds is known"
        return f"{first} scores {self.mean:+.2f} points against {second} {chance}, {verdict}."


@dataclass(frozen=True)
class Difference:
    """One measure of two rows, face by face, over the seeds that both have.

    Args:
        first, second: means over faces and seeds.
        by_seed: mean over faces of the first minus the second.
        interval_faces: 95 % interval of the mean difference, by drawing test faces.

    All are of the faces for which the measure is known with every seed.
    """

    first: float
    second: float
    by_seed: Mapping[int, float]
    interval_faces: tuple[float, float]

    @property
    def mean(self) -> float:
        return statistics.mean(self.by_seed.values())

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the mean difference over seeds; None where they show no spread."""
        return t_interval(list(self.by_seed.values()))

    @property
    def verdict(self) -> str:
        """As of :class:`Comparison`, but ``higher`` or ``lower``."""
        if _holds_zero(self.interval_faces):
            return "not told apart"
        side = "higher" if self.mean > 0 else "lower"
        sure = self.interval is not None and not _holds_zero(self.interval)
        return side if sure else f"{side} with these networks"

    def __str__(self) -> str:
        low, high = self.interval_faces
        count = len(self.by_seed)
        seeds = "by one seed" if count == 1 else f"by {count} seeds that agree"
        if self.interval is not None:
            start, end = self.interval
            seeds = f"{start:+.4f} to {end:+.4f} over {count} seeds"
        return (
            f"{self.first:.4f} against {self.second:.4f}, a difference of {self.mean:+.4f} (95 % "
            f"interval {low:+.4f} to {high:+.4f} over faces, {seeds})"
        )


def by_seed(records: Iterable[Record], condition: str | None = None) -> dict[int, Predictions]:
    """The predictions of every recorded seed; of one ``condition`` where there are several."""
    found = {}
    for record in records:
        said = record.predictions
        if isinstance(said, Conditions) != (condition is not None):
            expected = "one condition" if isinstance(said, Conditions) else "no condition"
            raise ValueError(f"{record.name} asks for {expected}, got condition={condition!r}.")
        found[record.values["seed"]] = said if condition is None else said[condition]
    return found


def compare(
    first: Mapping[int, Predictions], second: Mapping[int, Predictions]
) -> Comparison | None:
    """Two rows over the seeds that both have; None where they share no seed.

    Raises:
        ValueError: they were scored on different faces.
    """
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    tests = {seed: mcnemar(first[seed], second[seed]) for seed in seeds}
    votes = np.stack(
        [first[seed].correct.astype(int) - second[seed].correct.astype(int) for seed in seeds]
    )
    return Comparison(
        {seed: 100 * (first[seed].accuracy - second[seed].accuracy) for seed in seeds},
        {seed: only for seed, (only, _, _) in tests.items()},
        {seed: only for seed, (_, only, _) in tests.items()},
        {seed: p for seed, (_, _, p) in tests.items()},
        tests[seeds[0]][2] if len(seeds) == 1 else clustered_mcnemar(votes.sum(axis=0)),
        interval_of_mean(100 * votes.mean(axis=0)),
    )


def as_markdown(
    pairs: Mapping[str, tuple[str, str]], rows: Mapping[str, Mapping[int, Predictions]]
) -> str:
    """One line for each comparison, "not run" where the two rows share no seed.

    Args:
        pairs: by what is asked, two rows by name; the first is compared with the second.
        rows: the predictions of every row, see :func:`by_seed`; one that is missing was not run.
    """
    lines = [
        "| question | rows | seeds | points | 95 % interval over seeds | over faces | verdict |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    for asked, (first, second) in pairs.items():
        found = compare(rows.get(first, {}), rows.get(second, {}))
        head = f"| {asked} | {first} against {second} |"
        if found is None:
            lines.append(f"{head} | | | | not run |")
            continue
        seeds, faces = (
            "–" if ends is None else f"{ends[0]:+.2f} to {ends[1]:+.2f}"
            for ends in (found.interval, found.interval_faces)
        )
        count = len(found.differences)
        lines.append(f"{head} {count} | {found.mean:+.2f} | {seeds} | {faces} | {found.verdict} |")
    return "\n".join(lines)


def told_apart_by_seed_alone(
    rows: Iterable[Mapping[int, Predictions]],
) -> tuple[int, int]:
    """How often the question of the faces tells two seeds of one and the same row apart.

    Nothing but the seed differs there, so every such verdict is of the networks and not of what
    made them.

    Args:
        rows: the predictions of each row, see :func:`by_seed`.

    Returns:
        Pairs of seeds that are told apart, and all pairs.
    """
    found = [
        mcnemar(row[one], row[other])[2] < LEVEL
        for row in rows
        for one, other in itertools.combinations(sorted(row), 2)
    ]
    return sum(found), len(found)


def holm(comparisons: Iterable[Comparison | None]) -> tuple[float, int]:
    """The smallest p over seeds of many comparisons, corrected for their number, and that number.

    Holm's procedure (1979) rejects nothing where the smallest p times the number of questions is
    not below the level; those that cannot be asked over seeds do not count. With no such question
    p is 1.
    """
    asked = [each.p_seeds for each in comparisons if each and each.p_seeds is not None]
    return min([1.0, *(len(asked) * p for p in asked)]), len(asked)


def difference(
    first: Mapping[int, Float[np.ndarray, " faces"]],
    second: Mapping[int, Float[np.ndarray, " faces"]],
) -> Difference | None:
    """A measure of every face, by seed, of two rows; None where they share no seed, or no face.

    Faces for which the measure has no meaning (NaN) in either row with any seed are left out of
    all, so that every seed, and every mean, is of the same faces.
    """
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    ours, theirs = (np.stack([each[s] for s in seeds]).astype(float) for each in (first, second))
    known = ~np.isnan(ours - theirs).any(axis=0)
    if not known.any():
        return None
    ours, theirs = ours[:, known], theirs[:, known]
    return Difference(
        float(ours.mean()),
        float(theirs.mean()),
        dict(zip(seeds, (ours - theirs).mean(axis=1).tolist(), strict=True)),
        interval_of_mean((ours - theirs).mean(axis=0)),
    )


def clustered_mcnemar(votes: np.ndarray) -> float:
    """Two-sided probability of so uneven a vote if both rows were equally good.

    Args:
        votes: of each face, [N]: with how many seeds the first row alone recognised it, minus
            with how many the second alone did.
    """
    spread = math.sqrt(float((votes.astype(float) ** 2).sum()))
    if not spread:
        return 1.0
    # The sum moves in steps of twice their divisor; half a step is for continuity (Edwards, 1948).
    beyond = max(0.0, abs(float(votes.sum())) - float(np.gcd.reduce(votes)))
    return float(min(1.0, 2 * norm.sf(beyond / spread)))


def t_interval(values: list[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Student's interval of a mean; None where the values show no spread."""
    if not show_spread(values):
        return None
    mean, error = statistics.mean(values), statistics.stdev(values) / math.sqrt(len(values))
    reach = float(t.ppf(0.5 + confidence / 2, len(values) - 1)) * error
    return mean - reach, mean + reach


def t_test(values: list[float]) -> float | None:
    """Two-sided probability of so large a mean if the true one were 0; None without a spread."""
    if not show_spread(values):
        return None
    mean, error = statistics.mean(values), statistics.stdev(values) / math.sqrt(len(values))
    return float(2 * t.sf(abs(mean) / error, len(values) - 1))


def show_spread(values: list[float]) -> bool:
    """Whether values differ by more than rounding.

    One value has no spread, and a few that agree to the face, as counts of faces may, say nothing
    of it: Student's t would take their agreement for certainty.
    """
    return max(values) - min(values) > 1e-9


def _holds_zero(interval: tuple[float, float]) -> bool:
    return interval[0] <= 0 <= interval[1]
