"""What was measured of each face, beside its label: numbers by condition and name.

As with predictions, the numbers of every face are kept, so that anyone can compute the means and
their intervals again, and compare two networks face by face.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from occfer.files import write_atomically

RESAMPLES = 2000
_PICTURE = "picture "


@dataclass(frozen=True, eq=False)
class Measurements:
    """Measured values of N faces.

    Args:
        ids: of the faces.
        targets: true classes, [N]; −1 where unknown.
        values: condition → measure → [N], kept in half precision; NaN where a measure has no
            meaning for a face.
        pictures: named arrays to be kept beside them, such as maps of a few faces.
    """

    ids: tuple[str, ...]
    targets: np.ndarray
    values: Mapping[str, Mapping[str, np.ndarray]]
    pictures: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        rounded = {
            condition: {name: np.asarray(each, np.float16) for name, each in measures.items()}
            for condition, measures in self.values.items()
        }
        sizes = {len(each) for measures in rounded.values() for each in measures.values()}
        if sizes - {len(self.ids)} or len(self.targets) != len(self.ids):
            raise ValueError(
                f"every measure needs one value for each of the {len(self.ids)} faces, got "
                f"{sorted(sizes | {len(self.targets)})}; put NaN where one has no meaning."
            )
        object.__setattr__(self, "values", rounded)

    def metrics(self) -> dict[str, Any]:
        """By condition and measure: the mean over faces, its 95 % interval, and their count.

        The interval is that of :func:`bootstrap`; all are rounded to five digits.
        """
        names = [(condition, name) for condition, of in self.values.items() for name in of]
        columns = np.array([self.values[condition][name] for condition, name in names])
        found: dict[str, Any] = {condition: {} for condition in self.values}
        if not names:
            return found
        low, high = bootstrap(columns)
        for (condition, name), column, *ends in zip(names, columns, low, high, strict=True):
            known = column[~np.isnan(column)].astype(np.float64)
            found[condition][name] = {
                "mean": round(float(known.mean()), 5) if len(known) else None,
                "interval_95": [round(float(end), 5) for end in ends] if len(known) else None,
                "count": len(known),
            }
        return found

    def save(self, path: str | Path) -> Path:
        """Write one ``.npz`` with everything."""
        names = [(condition, name) for condition, of in self.values.items() for name in of]
        return write_arrays(
            path,
            measures=np.array(names, dtype=str).reshape(-1, 2),
            values=np.array([self.values[condition][name] for condition, name in names]),
            ids=np.array(self.ids),
            targets=self.targets.astype(np.int8),
            **{_PICTURE + name: each for name, each in self.pictures.items()},
        )

    @staticmethod
    def load(path: str | Path) -> "Measurements":
        """Read what :meth:`save` wrote; nothing is unpickled."""
        values: dict[str, dict[str, np.ndarray]] = {}
        with np.load(path, allow_pickle=False) as stored:
            for (condition, name), each in zip(
                stored["measures"].tolist(), stored["values"], strict=True
            ):
                values.setdefault(condition, {})[name] = each
            return Measurements(
                tuple(stored["ids"].tolist()),
                stored["targets"].astype(np.int64),
                values,
                {
                    name.removeprefix(_PICTURE): stored[name]
                    for name in stored.files
                    if name.startswith(_PICTURE)
                },
            )


def write_arrays(path: str | Path, **arrays: np.ndarray) -> Path:
    """One ``.npz``, whole or not at all."""
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_atomically(Path(path), content.getvalue())
    return Path(path)


def bootstrap(
    values: Float[np.ndarray, "measures faces"],
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Float[np.ndarray, " measures"], Float[np.ndarray, " measures"]]:
    """Percentile intervals of means, where faces are drawn with replacement (Efron, 1979).

    All measures share the draws, and NaNs count as not there.
    """
    counts = times_drawn(values.shape[1], resamples, seed)
    known = ~np.isnan(values)
    totals = np.where(known, values, 0).astype(np.float64) @ counts.T
    with np.errstate(invalid="ignore", divide="ignore"):
        means = totals / (known.astype(np.float64) @ counts.T)
    ends = np.full((2, len(values)), np.nan)
    some = known.any(axis=1)
    ends[:, some] = percentile_ends(means[some].T, confidence)
    return ends[0], ends[1]


def interval_of_mean(
    values: Float[np.ndarray, " faces"], confidence: float = 0.95
) -> tuple[float, float]:
    """:func:`bootstrap` for one measure."""
    (low,), (high,) = bootstrap(values[None], confidence)
    return float(low), float(high)


def times_drawn(
    faces: int, resamples: int = RESAMPLES, seed: int = 0
) -> Float[np.ndarray, "resamples faces"]:
    """How often each resample drew each face; with it every resampled sum is one product."""
    drawn = np.random.default_rng(seed).integers(0, max(faces, 1), (resamples, faces))
    rows = np.arange(resamples)[:, None] * faces
    counts = np.bincount((drawn + rows).ravel(), minlength=resamples * faces)
    return counts.reshape(resamples, faces).astype(np.float64)


def percentile_ends(
    found: Float[np.ndarray, "resamples *measures"], confidence: float
) -> Float[np.ndarray, "2 *measures"]:
    """The lower and the upper end that hold ``confidence`` of what the resamples gave."""
    tail = (1 - confidence) / 2
    return np.nanquantile(found, (tail, 1 - tail), axis=0)
