"""Scoring (§3.3): predictions are kept per face, and every number is computed from them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, f1_score
from torch import Tensor, nn

from occfer.data.faceset import FaceSet
from occfer.emotions import EMOTIONS
from occfer.engine.measurements import RESAMPLES, percentile_ends, times_drawn, write_arrays
from occfer.engine.training import channels_last, evaluating
from occfer.ocl import Encoder
from occfer.views import as_float

BINS = 15
"""Of confidence, for the calibration error."""
ROUNDING = 1e-3
"""How far a probability may lie above 1: means of rounded numbers do, by less."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a network said of N faces.

    Args:
        ids: of the faces.
        targets: true classes, [N]; −1 where unknown.
        probabilities: softmax over the seven classes, [N, 7], float32.
    """

    ids: tuple[str, ...]
    targets: np.ndarray
    probabilities: np.ndarray

    def __post_init__(self):
        faces, classes = len(self.ids), len(EMOTIONS)
        shapes = self.targets.shape, self.probabilities.shape
        if shapes != ((faces,), (faces, classes)):
            raise ValueError(
                f"of {faces} faces the targets should have shape {(faces,)} and the probabilities "
                f"{(faces, classes)}, got {shapes[0]} and {shapes[1]}; give every face one of each."
            )
        if faces:
            _require_classes("targets", self.targets, -1)
            _require_shares(self.probabilities)

    @cached_property
    def labels(self) -> np.ndarray:
        """The most probable class of each face, [N]."""
        return self.probabilities.argmax(axis=1)

    @property
    def correct(self) -> np.ndarray:
        """Whether each face was recognised, [N]; every face needs a label."""
        unknown = int((self.targets < 0).sum())
        if unknown or not len(self.targets):
            raise ValueError(
                f"scoring needs faces with a label each, but of {len(self.targets)} faces "
                f"{unknown} have none; choose some with faces[faces.labels >= 0]."
            )
        return self.labels == self.targets

    def among(self, chosen: np.ndarray, targets: np.ndarray | None = None) -> "Predictions":
        """What was said of some of the faces.

        Args:
            chosen: whether each face is one of them, [N].
            targets: other labels for all N faces, to be scored against in place of these.
        """
        targets = self.targets if targets is None else targets
        ids = tuple(np.array(self.ids)[chosen].tolist())
        return Predictions.with_labels(
            ids, targets[chosen], self.probabilities[chosen], self.labels[chosen]
        )

    @property
    def accuracy(self) -> float:
        """Top-1 accuracy in [0, 1]."""
        return float(self.correct.mean())

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Wilson's interval of the accuracy."""
        found = binomtest(int(self.correct.sum()), len(self.targets)).proportion_ci(
            confidence, method="wilson"
        )
        return float(found.low), float(found.high)

    def metrics(self) -> dict[str, Any]:
        """Accuracy and its interval, balanced accuracy, F1 per class, confusion matrix.

        ``confusion[i][j]`` counts faces of class i that were called j. F1 of a class without
        any face is 0, as of one that is never recognised; the row of ``confusion`` tells the two
        apart, and balanced accuracy and macro F1 leave such a class out.
        """
        accuracy = self.accuracy
        classes = list(range(len(EMOTIONS)))
        each = f1_score(self.targets, self.labels, labels=classes, average=None, zero_division=0)
        confusion = confusion_matrix(self.targets, self.labels, labels=classes)
        present = confusion.sum(axis=1) > 0
        recall = confusion.diagonal()[present] / confusion.sum(axis=1)[present]
        return {
            "count": len(self.targets),
            "accuracy": accuracy,
            "accuracy_interval_95": list(self.interval()),
            "balanced_accuracy": float(recall.mean()),
            "f1": dict(zip(EMOTIONS, each.tolist(), strict=True)),
            "macro_f1": float(each[present].mean()),
            "confusion": confusion.tolist(),
        }

    def calibration_error(self, bins: int = BINS) -> float:
        """Expected calibration error: how far the network's confidence lies from being right.

        A face's confidence is its largest probability. ``bins`` intervals of equal width, each
        with its upper end and without its lower, part the faces by it; what is averaged over
        faces is the distance between accuracy and mean confidence of their bin. In [0, 1]
        (Guo et al., On calibration of modern neural networks, ICML 2017, eq. 3).
        """
        if bins < 1:
            raise ValueError(f"bins must be at least 1, got {bins}.")
        correct = self.correct
        confidence = self.probabilities.max(axis=1).astype(np.float64)
        # The inner edges alone, so that no face falls beside the bins.
        place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence, side="left")
        gaps = np.bincount(place, weights=correct - confidence, minlength=bins)
        return float(np.abs(gaps).sum() / len(correct))

    def bootstrap(
        self, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
    ) -> dict[str, tuple[float, float]]:
        """Percentile intervals of the accuracy, the balanced accuracy and the macro F1.

        Faces are drawn with replacement (Efron, 1979). The last two are no means over faces, so
        that Wilson has no formula for them. As in :meth:`metrics`, a class counts where it is
        among the true ones. The calibration error is left out: it is a sum of distances, which
        resampling makes larger in expectation.
        """
        classes, correct = len(EMOTIONS), self.correct
        drawn = times_drawn(len(correct), resamples, seed)
        cells = np.eye(classes * classes)[self.targets * classes + self.labels]
        confusion = (drawn @ cells).reshape(-1, classes, classes)
        hits = np.diagonal(confusion, axis1=1, axis2=2)
        true, said = confusion.sum(axis=2), confusion.sum(axis=1)
        present = true > 0
        scores = {
            "accuracy": drawn @ correct / len(correct),
            "balanced_accuracy": np.mean(hits / np.maximum(true, 1), axis=1, where=present),
            "macro_f1": np.mean(2 * hits / np.maximum(true + said, 1), axis=1, where=present),
        }
        ends = percentile_ends(np.stack(list(scores.values()), axis=1), confidence)
        return dict(zip(scores, zip(*ends.tolist(), strict=True), strict=True))

    def save(self, path: str | Path) -> Path:
        """Write ids, targets and probabilities (half precision) to one ``.npz`` file.

        Half precision can merge two nearly equal probabilities, so the labels are kept as well.
        """
        return write_arrays(
            path,
            ids=np.array(self.ids),
            targets=self.targets.astype(np.int8),
            labels=self.labels.astype(np.int8),
            probabilities=self.probabilities.astype(np.float16),
        )

    @staticmethod
    def load(path: str | Path) -> "Predictions":
        """Read what :meth:`save` wrote; nothing is unpickled."""
        with np.load(path, allow_pickle=False) as stored:
            return Predictions.with_labels(
                tuple(stored["ids"].tolist()),
                stored["targets"].astype(np.int64),
                stored["probabilities"].astype(np.float32),
                stored["labels"].astype(np.int64),
            )

    @staticmethod
    def with_labels(
        ids: tuple[str, ...], targets: np.ndarray, probabilities: np.ndarray, labels: np.ndarray
    ) -> "Predictions":
        """Predictions whose labels were taken before their probabilities were rounded."""
        predictions = Predictions(ids, targets, probabilities)
        if labels.shape != (len(ids),):
            raise ValueError(
                f"{len(ids)} faces need one label each, got an array of shape {labels.shape}; give "
                "the class that was said of every face."
            )
        if len(ids):
            _require_classes("labels", labels, 0)
        predictions.__dict__["labels"] = labels
        return predictions


def _require_classes(what: str, classes: np.ndarray, lowest: int) -> None:
    highest = len(EMOTIONS) - 1
    if classes.min() < lowest or classes.max() > highest:
        raise ValueError(
            f"{what} should lie between {lowest} and {highest}, but reach from {classes.min()} to "
            f"{classes.max()}; number the classes as in occfer.EMOTIONS."
        )


def _require_shares(probabilities: np.ndarray) -> None:
    # NaN is in no range; a mean of numbers that are rounded may end a little above 1.
    if not ((probabilities >= 0) & (probabilities <= 1 + ROUNDING)).all():
        raise ValueError(
            "probabilities should lie between 0 and 1, but some are NaN or lie outside; pass the "
            "softmax of a network's logits."
        )


def require_same_faces(first: Predictions, second: Predictions) -> None:
    """Refuse to compare face by face what was said of other faces, or against other labels."""
    if first.ids != second.ids or not np.array_equal(first.targets, second.targets):
        raise ValueError(
            "predictions are compared on the same faces in the same order, with the same labels, "
            f"got {len(first.ids)} and {len(second.ids)} faces that differ in one or the other; "
            "score both on one split."
        )


def mcnemar(first: Predictions, second: Predictions) -> tuple[int, int, float]:
    """McNemar's exact test: do two networks differ on the same faces by more than chance?

    Returns how many faces only the first got right, how many only the second, and the two-sided
    probability of a split at least as uneven if both were equally good (McNemar, 1947).
    """
    require_same_faces(first, second)
    only_first = int((first.correct & ~second.correct).sum())
    only_second = int((second.correct & ~first.correct).sum())
    disagreements = only_first + only_second
    p = binomtest(only_first, disagreements).pvalue if disagreements else 1.0
    return only_first, only_second, float(p)


def probabilities_of(logits: Tensor) -> Tensor:
    """Softmax of a network's logits [B, 7] on the CPU; says so where they are of another kind."""
    if logits.shape[1:] != (len(EMOTIONS),):
        raise ValueError(
            f"a network should give one logit for each of {', '.join(EMOTIONS)}, got shape "
            f"{list(logits.shape)}; pass one that was made with num_classes={len(EMOTIONS)}."
        )
    if not bool(logits.isfinite().all()):
        raise FloatingPointError(
            "a network's logits should be numbers, but some are NaN or infinite: its weights have "
            "diverged, or pictures hold such values; train it again with a lower learning rate."
        )
    return logits.float().softmax(dim=1).cpu()


def require_classifier(model: object) -> None:
    """Refuse what names no expression, such as an encoder, or a name in place of a network."""
    if isinstance(model, Encoder) or not isinstance(model, nn.Module):
        raise ValueError(
            f"a model should be a network that names expressions, got a {type(model).__name__}; "
            "pass what occfer.finetune or occfer.load_model gave."
        )


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    faces: FaceSet,
    batch_size: int = 256,
) -> Predictions:
    """Classify every face once, without augmentation, on the device the model lies on.

    Args:
        model: returns an output with ``logits`` [B, 7]; its modules' modes are put back after.
        faces: any labelled set.
        batch_size: faces at a time; lower it where memory is short.
    """
    require_classifier(model)
    device = next(model.parameters()).device
    probabilities = []
    with evaluating(model):
        for start in range(0, len(faces), batch_size):
            images = as_float(faces.images[start : start + batch_size].to(device))
            output = model(channels_last(images))
            probabilities.append(probabilities_of(output.logits))
    return Predictions(
        tuple(faces.ids),
        faces.labels.cpu().numpy(),
        torch.cat(probabilities).numpy() if probabilities else np.zeros((0, len(EMOTIONS))),
    )
