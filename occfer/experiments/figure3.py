"""Figure 3 (§3.5): how accuracy falls as more and more of each picture is covered.

Every method is scored on the same covered pixels of the test split. For blocks that holds on any
machine. A mask is placed by five landmarks, and where MTCNN has to find them, another machine may
find them a little beside; whether two records met the same faces their hashes say
(:func:`shared_conditions`), and :func:`under` compares no others. The paper's text tells only the
largest falls (:data:`occfer.experiments.paper.FIGURE3_DROP`); its curves are not known.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import nn

from occfer.baselines import DESCRIPTORS, Baseline, fit_baseline
from occfer.data import FaceSet
from occfer.data.landmarks import add_landmarks
from occfer.engine.conditions import Conditions, drop, lost, recognised_share
from occfer.engine.evaluate import Predictions, evaluate
from occfer.engine.measurements import interval_of_mean
from occfer.engine.records import Record
from occfer.experiments import methods, table1
from occfer.experiments.comparison import by_seed
from occfer.experiments.methods import Trained, trained_network
from occfer.experiments.rows import ROWS, TABLE1_ROWS
from occfer.experiments.study import Study
from occfer.occlusion.blocks import Fill, block
from occfer.occlusion.testsets import Only, occluded
from occfer.recipes import baseline
from occfer.views import as_float

EXPERIMENT = "figure3"
METHODS = (*DESCRIPTORS, *TABLE1_ROWS)
RATIOS = (0, 5, 10, 15, 20, 25, 30)
"""Covered share of the picture, in per cent."""
COVER_SEED = 2022
"""The same for every method and every training seed: all see the same blocks."""
MASK = "surgical_mask"
"""The condition beside the blocks: §3.5 fixes the picture of a mask by the facial key points."""


def cover(faces: FaceSet, ratio: float, seed: int = COVER_SEED, fill: Fill = "noise") -> FaceSet:
    """The same faces with one random block over ``ratio`` of each; labels and ids stay.

    As with :func:`occfer.occlusion.testsets.occluded`, ``extras["covered"]`` is the exact mask. The
    blocks are others than there, although both begin with seed 2022: places and noise are drawn
    another way. This function gives the figure's faces again, ``testsets.restore`` a manifest's.
    """
    generator = torch.Generator().manual_seed(seed)
    images, covered = block(as_float(faces.images), ratio, fill, generator)
    extras = {**faces.extras, "covered": covered}
    return replace(faces, images=images.mul(255).round().byte(), extras=extras)


def covered_sets(faces: FaceSet, seed: int = COVER_SEED) -> dict[str, FaceSet]:
    """All conditions of the figure by their share in per cent; ``"0"`` is the set itself."""
    return {str(ratio): cover(faces, ratio / 100, seed) if ratio else faces for ratio in RATIOS}


def masked(faces: FaceSet, only: Only = None) -> FaceSet:
    """The same faces, or ``only`` some, in surgical masks.

    Where a set lacks landmarks, MTCNN looks for them, and a face on which it finds none wears its
    mask at the mean of the others' (:func:`occfer.data.landmarks.add_landmarks`).
    """
    located = faces if faces.landmarks is not None else add_landmarks(faces)
    return occluded(located, MASK, only=only)


def covered_and_masked(faces: FaceSet) -> dict[str, FaceSet]:
    """Every condition that a method is scored under."""
    return {**covered_sets(faces), MASK: masked(faces)}


def trained(row: str, splits: table1.Splits, study: Study, seed: int) -> Trained:
    """A descriptor with its SVM, or a network of Table 1 and its controls."""
    if row not in DESCRIPTORS:
        return trained_network(row, splits, study, seed)
    recipe = baseline(row, study.tier, seed=seed)
    fitted = fit_baseline(splits.train, splits.validation, recipe)
    chosen = {"best_trial": fitted.best_trial}
    return Trained(recipe, fitted, fitted.history, fitted.seconds, chosen)


def score(model: nn.Module | Baseline, conditions: Mapping[str, FaceSet]) -> Conditions:
    """What a method says of every face under every condition."""
    said = model.evaluate if isinstance(model, Baseline) else partial(evaluate, model)
    return Conditions({condition: said(faces) for condition, faces in conditions.items()})


run_method = partial(methods.run, EXPERIMENT, trained, covered_and_masked, COVER_SEED, score)
"""``run_method(row, splits, study, seed)`` scores a method of :data:`METHODS` and records that."""


@dataclass(frozen=True)
class Curve:
    """One line of the figure: accuracy of every seed under every condition."""

    row: str
    records: tuple[Record, ...]

    @property
    def accuracies(self) -> np.ndarray:
        """In per cent, [seeds, ratios]."""
        return np.array(
            [[100 * _sets(record)[str(r)].accuracy for r in RATIOS] for record in self.records]
        )

    @property
    def drops(self) -> list[tuple[float, float]]:
        """Of each seed, the fall from 0 to 30 %: in points, and relative."""
        return [drop(_sets(each)["0"], _sets(each)[str(RATIOS[-1])]) for each in self.records]

    def under(self, condition: str) -> dict[int, Predictions]:
        """What every seed that was scored under a condition said of it."""
        scored = [record for record in self.records if condition in _sets(record)]
        return by_seed(scored, condition)

    @property
    def masked(self) -> list[float]:
        """Accuracy in a surgical mask of every seed that was scored so, in per cent."""
        return [100 * said.accuracy for said in self.under(MASK).values()]

    @property
    def drop_interval(self) -> tuple[float, float]:
        """95 % interval of the mean fall over seeds in points, by drawing test faces."""
        ends = [(_sets(each)["0"], _sets(each)[str(RATIOS[-1])]) for each in self.records]
        return interval_of_mean(100 * np.mean([lost(*each) for each in ends], axis=0))

    def share_lost_at(self, points: float) -> float | None:
        """The covered share, in per cent, that costs so many points in the mean over seeds.

        Between two conditions the curve is a straight line; None beyond its end.
        """
        heights = self.accuracies.mean(axis=0)
        falls = np.maximum.accumulate(heights[0] - heights)
        return float(np.interp(points, falls, RATIOS)) if points <= falls[-1] else None

    @property
    def area(self) -> list[float]:
        """Of each seed, the mean height of the curve from 0 to 30 %, in per cent (trapezia)."""
        return [100 * float(recognised_share(_sets(each), RATIOS).mean()) for each in self.records]


def shared_conditions(*records: Record) -> tuple[str, ...]:
    """The conditions under which all these records met the same faces, by their hashes.

    A hash is of pixels, labels, ids and landmarks. Where it differs, pixels may or may not.
    """
    first = records[0]
    return tuple(
        condition
        for condition in _sets(first)
        if all(
            condition in _sets(each) and _met(each, condition) == _met(first, condition)
            for each in records
        )
    )


def under(curves: Iterable[Curve], condition: str) -> dict[str, dict[int, Predictions]]:
    """What every seed of each method said under one condition, by row, to be compared.

    Raises:
        ValueError: two records met different faces there, by their hashes.
    """
    curves = list(curves)
    scored = [each for curve in curves for each in curve.records if condition in _sets(each)]
    for each in scored[1:]:
        if condition not in shared_conditions(scored[0], each):
            raise ValueError(
                f"{scored[0].name} and {each.name} must have met the same faces to be compared, "
                f"but under {condition} their hashes differ; score both on one machine."
            )
    return {curve.row: curve.under(condition) for curve in curves}


def _met(record: Record, condition: str) -> str:
    return record.values["data"][methods.role(condition)]["sha256"]


def _sets(record: Record) -> Conditions:
    return record.predictions


def curves(study: Study) -> list[Curve]:
    """Every recorded method: descriptors, then the order of Table 1."""
    found = [Curve(row, study.recorded(row, EXPERIMENT)) for row in (*DESCRIPTORS, *ROWS)]
    return [curve for curve in found if curve.records]
