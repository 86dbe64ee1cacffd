"""Two groups of different faces: how much harder one is, also at the same mix of expressions.

A fall between two conditions of the *same* faces is a paired difference
(:func:`occfer.engine.conditions.lost`). Occluded faces that nobody has uncovered can only be set
against others, and expressions that are hard anyway may be more frequent among them. Direct
standardisation takes that part away: within each expression the two groups are compared, and the
differences are averaged with the shares that the expressions have among the occluded faces.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64

from occfer.emotions import EMOTIONS, UNLABELLED
from occfer.engine.measurements import percentile_ends

AGAINST = ("others", "matched")
"""What the occluded faces are set against: all others, or others like them."""


@dataclass(frozen=True)
class Sides:
    """The faces of a test split under one set of labels, told apart.

    Args:
        labels: places in ``EMOTIONS``, [N]; −1 for a face that has none and is left out.
        occluded: whether a face is on the list, [N].
        clear: whether FER+'s people agreed about it, [N].
    """

    labels: Int64[np.ndarray, " faces"]
    occluded: Bool[np.ndarray, " faces"]
    clear: Bool[np.ndarray, " faces"]

    @property
    def parts(self) -> dict[str, Bool[np.ndarray, " faces"]]:
        """Which labelled faces are occluded, are others, and are others to be matched."""
        known = self.labels != UNLABELLED
        others = known & ~self.occluded
        return {"occluded": known & self.occluded, "others": others, "matched": others & self.clear}

    def counts(self) -> dict[str, dict[str, int]]:
        """Faces per expression of each part."""
        found = {
            part: np.bincount(self.labels[chosen], minlength=len(EMOTIONS)).tolist()
            for part, chosen in self.parts.items()
        }
        return {part: dict(zip(EMOTIONS, each, strict=True)) for part, each in found.items()}


def fall(
    values: Float[np.ndarray, " faces"],
    sides: Sides,
    drawn: Float[np.ndarray, "draws faces"],
) -> dict[str, dict[str, Any]]:
    """How much lower the mean of a value is on the occluded faces, against each of ``AGAINST``.

    Args:
        values: of each face: whether it was recognised, or that averaged over seeds, or the
            difference of two rows in it.

    Returns:
        ``points`` and, by drawing faces of all parts with replacement, ``interval_95``.

    Raises:
        ValueError: an expression of the occluded faces has no face to be matched with.
    """
    counts = sides.counts()
    alone = [e for e in EMOTIONS if counts["occluded"][e] and not counts["matched"][e]]
    if alone:
        raise ValueError(
            f"each expression of the occluded faces needs other faces to be matched with, but "
            f"{', '.join(alone)} has none; complete the data set or leave these faces out."
        )
    found = 100 * differences(values, sides, np.ones((1, len(values))))[:, 0]
    ends = percentile_ends(100 * differences(values, sides, drawn).T, 0.95).T
    return {
        against: {"points": float(points), "interval_95": each.tolist()}
        for against, points, each in zip(AGAINST, found, ends, strict=True)
    }


def differences(
    values: Float[np.ndarray, " faces"],
    sides: Sides,
    times: Float[np.ndarray, "draws faces"],
) -> Float[np.ndarray, "2 draws"]:
    """Mean of the others minus mean of the occluded, and the same class by class, each class with
    its share of the occluded faces (direct standardisation); every face counts ``times``.

    NaN where a draw holds no occluded face, or a class of them without a matched face.
    """
    classes = np.eye(len(EMOTIONS))[sides.labels]
    occluded, others, matched = (
        (times @ (classes * part[:, None]), times @ (classes * (part * values)[:, None]))
        for part in sides.parts.values()
    )
    (counts, sums), (faces, total) = occluded, matched
    with np.errstate(invalid="ignore", divide="ignore"):
        total_at_mix = np.where(counts > 0, counts * (total / faces), 0).sum(axis=1)
        matched_mean, here = (
            each / counts.sum(axis=1) for each in (total_at_mix, sums.sum(axis=1))
        )
        plain = others[1].sum(axis=1) / others[0].sum(axis=1)
    return np.stack([plain - here, matched_mean - here])
