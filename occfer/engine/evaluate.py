"""Scoring (§3.3): predictions are kept per face, and every number is computed from them."""

import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, f1_score
from torch import nn

from occfer.data.faceset import FaceSet
from occfer.emotions import EMOTIONS
from occfer.engine.checkpoint import write_atomically
from occfer.engine.training import channels_last
from occfer.views import as_float


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

        ``confusion[i][j]`` counts faces of class i that were called j.
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

    def save(self, path: str | Path) -> Path:
        """Write ids, targets and probabilities (half precision) to one ``.npz`` file.

        Half precision can merge two nearly equal probabilities, so the labels are kept as well.
        """
        content = io.BytesIO()
        np.savez_compressed(
            content,
            ids=np.array(self.ids),
            targets=self.targets.astype(np.int8),
            labels=self.labels.astype(np.int8),
            probabilities=self.probabilities.astype(np.float16),
        )
        write_atomically(Path(path), content.getvalue())
        return Path(path)

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
        predictions.__dict__["labels"] = labels
        return predictions


def mcnemar(first: Predictions, second: Predictions) -> tuple[int, int, float]:
    """McNemar's exact test: do two networks differ on the same faces by more than chance?

    Returns how many faces only the first got right, how many only the second, and the two-sided
    probability of a split at least as uneven if both were equally good (McNemar, 1947).
    """
    if first.ids != second.ids:
        raise ValueError(
            "McNemar's test compares two networks on the same faces in the same order, got "
            f"{len(first.ids)} and {len(second.ids)} faces that differ; score both on one split."
        )
    only_first = int((first.correct & ~second.correct).sum())
    only_second = int((second.correct & ~first.correct).sum())
    disagreements = only_first + only_second
    p = binomtest(only_first, disagreements).pvalue if disagreements else 1.0
    return only_first, only_second, float(p)


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    faces: FaceSet,
    batch_size: int = 256,
) -> Predictions:
    """Classify every face once, without augmentation, on the device the model lies on.

    Args:
        model: returns an output with ``logits`` [B, 7]; its training mode is put back after.
        faces: any labelled set.
        batch_size: faces at a time; lower it where memory is short.
    """
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    probabilities = []
    for start in range(0, len(faces), batch_size):
        images = as_float(faces.images[start : start + batch_size].to(device))
        output = model(channels_last(images))
        probabilities.append(output.logits.float().softmax(dim=1).cpu())
    model.train(training)
    return Predictions(
        tuple(faces.ids),
        faces.labels.cpu().numpy(),
        torch.cat(probabilities).numpy() if probabilities else np.zeros((0, len(EMOTIONS))),
    )
