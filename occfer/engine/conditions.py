"""One network, the same faces, several conditions: without and with more and more of them covered.

Accuracy against occlusion (§3.5, Figure 3) is a curve over such conditions. As everywhere, what
is kept are the predictions for each face, and every number is computed from those.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from occfer.engine.evaluate import Predictions, require_same_faces
from occfer.engine.measurements import Measurements, write_arrays


class Conditions(Mapping[str, Predictions]):
    """Predictions by condition, all on the same faces in the same order.

    Args:
        predictions: by the condition's name, such as ``"0"`` or ``"30"`` per cent covered.
    """

    def __init__(self, predictions: Mapping[str, Predictions]):
        self._predictions = dict(predictions)
        kinds = {(each.ids, each.targets.tobytes()) for each in self._predictions.values()}
        if len(kinds) != 1:
            raise ValueError(
                f"conditions are compared face by face, so all need the same faces in one order, "
                f"got {len(kinds)} different sets of faces; score each condition on one split."
            )

    def __getitem__(self, condition: str) -> Predictions:
        return self._predictions[condition]

    def __iter__(self) -> Iterator[str]:
        return iter(self._predictions)

    def __len__(self) -> int:
        return len(self._predictions)

    def metrics(self) -> dict[str, Any]:
        """:meth:`Predictions.metrics` of each condition."""
        return {condition: each.metrics() for condition, each in self.items()}

    def save(self, path: str | Path) -> Path:
        """Write one ``.npz``: ids and targets once, labels and probabilities by condition."""
        first = next(iter(self.values()))
        return write_arrays(
            path,
            conditions=np.array(list(self)),
            ids=np.array(first.ids),
            targets=first.targets.astype(np.int8),
            labels=np.stack([each.labels for each in self.values()]).astype(np.int8),
            probabilities=np.stack([each.probabilities for each in self.values()]).astype(
                np.float16
            ),
        )

    @staticmethod
    def load(path: str | Path) -> "Conditions":
        """Read what :meth:`save` wrote; nothing is unpickled."""
        with np.load(path, allow_pickle=False) as stored:
            ids, targets = tuple(stored["ids"].tolist()), stored["targets"].astype(np.int64)
            each = zip(
                stored["conditions"].tolist(),
                stored["labels"].astype(np.int64),
                stored["probabilities"].astype(np.float32),
                strict=True,
            )
            return Conditions(
                {
                    condition: Predictions.with_labels(ids, targets, probabilities, labels)
                    for condition, labels, probabilities in each
                }
            )


def load_predictions(path: str | Path) -> Predictions | Conditions | Measurements:
    """Whichever of the three a file holds."""
    with np.load(path, allow_pickle=False) as stored:
        measured, several = "measures" in stored, "conditions" in stored
    if measured:
        return Measurements.load(path)
    return Conditions.load(path) if several else Predictions.load(path)


def drop(before: Predictions, after: Predictions) -> tuple[float, float]:
    """The fall of accuracy: in percentage points, and relative to the accuracy before.

    Where nothing was recognised before, the relative fall has no meaning and is NaN.
    """
    require_same_faces(before, after)
    fall = before.accuracy - after.accuracy
    return 100 * fall, fall / before.accuracy if before.accuracy else math.nan


def lost(before: Predictions, after: Predictions) -> Float[np.ndarray, " faces"]:
    """Of each face: 1 where it was recognised before only, −1 after only, else 0.

    The mean is the fall of :func:`drop`. Its interval is that of a mean of these values, which is
    narrower than two accuracies on different faces would give, as far as the same faces are hard
    before and after.
    """
    require_same_faces(before, after)
    return before.correct.astype(float) - after.correct


def recognised_share(
    conditions: Conditions, shares: Sequence[float]
) -> Float[np.ndarray, " faces"]:
    """Over what part of the range of occlusion each face is recognised, in [0, 1] (trapezia).

    Args:
        conditions: in the order of ``shares``; others are left out.
        shares: how much each condition covers, rising; the names are their ``str``.

    Its mean over faces is the area under the curve of accuracy against occlusion, divided by the
    width of the range.
    """
    if len(shares) < 2 or not all(a < b for a, b in pairwise(shares)):
        raise ValueError(f"shares must be two or more numbers that rise, got {list(shares)}.")
    correct = np.stack([conditions[str(share)].correct for share in shares]).astype(float)
    return np.trapezoid(correct, shares, axis=0) / (shares[-1] - shares[0])
