"""What Figure 3 compares with (§3.5): descriptors drawn up by hand, and a support vector machine.

SIFT (Lowe 2004), LBP (Ojala et al. 2002) and HOG (Dalal and Triggs 2005) each turn a grey face into
one long vector; scaling, PCA and an SVM with a radial kernel do the rest. The validation split
chooses the SVM's C. Nothing in them was ever told of occlusion.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from scipy.special import softmax
from skimage.feature import hog, local_binary_pattern
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torchvision.transforms.v2.functional import resize
from tqdm.auto import tqdm

from occfer.data.faceset import FaceSet
from occfer.emotions import EMOTIONS, UNLABELLED
from occfer.engine.evaluate import Predictions
from occfer.recipes import BaselineRecipe
from occfer.views import luminance

CELLS = 6
"""Cells on each side of a face: every descriptor describes 6 x 6 of them."""


def sift(face: np.ndarray) -> np.ndarray:
    """SIFT at the centres of the cells, upright, each two cells wide; [4608].

    OpenCV's descriptor has 4 x 4 bins, each one and a half times as wide as its key point.
    """
    cell = len(face) / CELLS
    centres = (np.arange(CELLS) + 0.5) * cell - 0.5
    points = [cv2.KeyPoint(float(x), float(y), cell / 3, 0.0) for y in centres for x in centres]
    return cv2.SIFT_create().compute(face, points)[1].ravel()


def lbp(face: np.ndarray) -> np.ndarray:
    """Histograms of the 59 uniform patterns of 8 neighbours, cell by cell; [2124]."""
    # Beyond the edge scikit-image sees black, which would be a pattern of its own.
    beyond = np.pad(face, 1, mode="edge")
    patterns = local_binary_pattern(beyond, P=8, R=1, method="nri_uniform")[1:-1, 1:-1].astype(int)
    cell = np.arange(len(face)) * CELLS // len(face)
    place = cell[:, None] * CELLS + cell
    counts = np.bincount((place * 59 + patterns).ravel(), minlength=CELLS * CELLS * 59)
    return np.sqrt(counts / counts.sum())


def hog_of(face: np.ndarray) -> np.ndarray:
    """Histograms of 9 gradient directions, cell by cell, normalised over 2 x 2 cells; [900].

    scikit-image takes cells of whole pixels and leaves out what remains, so a face is first resized
    to the nearest size that its cells fill.
    """
    cell = max(1, round(len(face) / CELLS))
    face = cv2.resize(face, (CELLS * cell, CELLS * cell), interpolation=cv2.INTER_LINEAR)
    return hog(face, orientations=9, pixels_per_cell=(cell, cell), cells_per_block=(2, 2))


DESCRIPTORS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "SIFT": sift,
    "LBP": lbp,
    "HOG": hog_of,
}
"""By the name of the method in Figure 3."""


def grey_faces(faces: FaceSet, size: int) -> np.ndarray:
    """Luminance (ITU-R BT.601) at ``size`` pixels; uint8 [N, size, size]."""
    pieces = []
    for images in faces.images.split(512):
        grey = luminance(images.cpu().float())
        if grey.shape[1:] != (size, size):
            grey = resize(grey, [size, size], antialias=True)
        pieces.append(grey.clamp(0, 255).round().byte())
    return torch.cat(pieces).numpy()


def described(faces: FaceSet, recipe: BaselineRecipe, progress: bool = True) -> np.ndarray:
    """The descriptor of every face, [N, D] float32; OpenCV and scikit-image take one at a time."""
    describe = DESCRIPTORS[recipe.descriptor]
    bar = tqdm(grey_faces(faces, recipe.size), recipe.descriptor, unit="face", disable=not progress)
    return np.stack([describe(face).astype(np.float32) for face in bar])


@dataclass(frozen=True)
class Baseline:
    """A fitted descriptor and SVM; ``history`` has a row for each C that was tried.

    There ``bounded`` counts the weights (of all pairs of expressions) that reached C.
    """

    recipe: BaselineRecipe
    machine: Pipeline
    history: list[dict[str, Any]]
    best_trial: int
    seconds: float

    def evaluate(self, faces: FaceSet) -> Predictions:
        """Classify every face.

        An SVM gives scores and no probabilities; what stands for them is the softmax of its
        decision values, so their order means something and their size does not.
        """
        return _predictions(self.machine, faces, described(faces, self.recipe, progress=False))


def fit_baseline(
    train: FaceSet, validation: FaceSet, recipe: BaselineRecipe, progress: bool = True
) -> Baseline:
    """Fit one SVM for each C of the recipe, and keep the one the validation split likes best.

    Args:
        train, validation: labelled faces, to train on of two expressions or more. The test split
            has no business here.
        recipe: descriptor, size, dimensions kept by PCA, and the grid.
        progress: show a bar.

    Raises:
        ValueError: a descriptor that is none of ``DESCRIPTORS``, a face without a label, or faces
            of one expression alone.
    """
    if recipe.descriptor not in DESCRIPTORS:
        names = ", ".join(DESCRIPTORS)
        raise ValueError(f"descriptor must be one of {names}, got {recipe.descriptor!r}.")
    _check_labels(train, validation)
    started = time.monotonic()
    seen, held_out = (described(faces, recipe, progress) for faces in (train, validation))
    # Scale and principal axes do not depend on C.
    kept = min(recipe.dimensions, *seen.shape)
    axes = PCA(kept, svd_solver="randomized", random_state=recipe.seed)
    front = make_pipeline(StandardScaler(), axes)
    seen, labels = front.fit_transform(seen), train.labels.cpu().numpy()
    held_out = front.transform(held_out)
    machines, history = [], []
    for trial, c in enumerate(recipe.c, 1):
        machine = SVC(C=c, gamma="scale", cache_size=2000, break_ties=True).fit(seen, labels)
        machines.append(machine)
        accuracy = _predictions(machine, validation, held_out).accuracy
        # Where no weight is at its bound C, a larger C gives the same machine.
        bounded = int((np.abs(machine.dual_coef_) >= c * (1 - 1e-9)).sum())
        row = {"trial": trial, "C": c, "validation_accuracy": accuracy, "bounded": bounded}
        history.append(row)
    best = int(np.argmax([row["validation_accuracy"] for row in history]))
    whole = make_pipeline(*front.named_steps.values(), machines[best])
    return Baseline(recipe, whole, history, best + 1, time.monotonic() - started)


def _check_labels(train: FaceSet, validation: FaceSet) -> None:
    for faces in (train, validation):
        if bool((faces.labels == UNLABELLED).any()):
            raise ValueError(f"every face must have a label, but some of {faces!r} have none.")
    if len(train.labels.unique()) < 2:
        raise ValueError(f"train must hold faces of two expressions or more, got {train.counts()}.")


def _predictions(machine: Pipeline | SVC, faces: FaceSet, vectors: np.ndarray) -> Predictions:
    decided = machine.decision_function(vectors)
    if decided.ndim == 1:
        # Of two classes scikit-learn gives the second one's value alone.
        decided = np.stack([-decided, decided], axis=1)
    scores = np.full((len(faces), len(EMOTIONS)), -np.inf)
    scores[:, machine.classes_] = decided
    probabilities = softmax(scores, axis=1).astype(np.float32)
    return Predictions(tuple(faces.ids), faces.labels.cpu().numpy(), probabilities)
