"""What an encoder has learnt so far, asked between two epochs of pre-training.

The loss of (1) alone does not tell whether features are of use. Alignment and uniformity (Wang &
Isola, Understanding contrastive representation learning through alignment and uniformity on the
hypersphere, ICML 2020) take it apart: views of one face should lie close, all faces together far
apart. And two classifiers that train nothing in the encoder ask what it knows of expressions.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Generator, Tensor

from occfer.data.faceset import FaceSet
from occfer.emotions import EMOTIONS
from occfer.engine.batches import PROBE
from occfer.engine.training import channels_last
from occfer.ocl import OCL
from occfer.randomness import generator_for
from occfer.views import as_float

FACES = 2000
"""At most so many of either set are looked at, so that a probe costs what that many faces cost."""
BATCH = 256
NEIGHBOURS = 20


def alignment(
    z1: Float[Tensor, "batch dimensions"], z2: Float[Tensor, "batch dimensions"]
) -> Float[Tensor, ""]:
    """Mean squared distance of two views of a face on the unit sphere, in [0, 4]; less is closer.

    Rows need not be normalised (Wang & Isola 2020, §4.1, α = 2).
    """
    return (F.normalize(z1, dim=1) - F.normalize(z2, dim=1)).square().sum(dim=1).mean()


def uniformity(z: Float[Tensor, "batch dimensions"], t: float = 2.0) -> Float[Tensor, ""]:
    """Logarithm of the mean of exp(−t · squared distance) over all pairs of faces, in [−4t, 0].

    0 where all lie in one point; less is more even. Rows need not be normalised (ibid.).
    """
    if len(z) < 2:
        raise ValueError(
            f"uniformity is a mean over pairs of faces, got {len(z)}; pass two or more."
        )
    return torch.pdist(F.normalize(z, dim=1)).square().mul(-t).exp().mean().log()


def nearest_neighbours(
    features: Float[Tensor, "faces channels"],
    labels: Int[Tensor, " faces"],
    queries: Float[Tensor, "queries channels"],
    k: int = NEIGHBOURS,
) -> Int[Tensor, " queries"]:
    """The commonest class among the ``k`` faces of largest cosine similarity; of equally common
    ones the first."""
    similarity = F.normalize(queries, dim=1) @ F.normalize(features, dim=1).T
    nearest = similarity.topk(min(k, len(features)), dim=1).indices
    return F.one_hot(labels[nearest], len(EMOTIONS)).sum(dim=1).argmax(dim=1)


def linear_probe(
    features: Float[Tensor, "faces channels"],
    labels: Int[Tensor, " faces"],
    queries: Float[Tensor, "queries channels"],
) -> Int[Tensor, " queries"]:
    """What a logistic regression on standardised features says, the encoder left as it is."""
    if len(labels.unique()) == 1:
        return labels[:1].expand(len(queries))
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    probe.fit(features.numpy(), labels.numpy())
    return torch.from_numpy(probe.predict(queries.numpy()))


class Probes:
    """A watcher of pre-training (see :data:`occfer.engine.training.Watcher`).

    Each epoch's row gets ``alignment`` and ``uniformity`` of the projections of validation faces,
    and ``knn_accuracy`` and ``linear_accuracy`` of their features h, learnt from the labels of
    training faces. Those labels never reach the encoder, and nothing is drawn but two views of each
    face, the same ones every epoch.

    Args:
        train, validation: labelled faces; the test split has no business here. At most ``FACES``
            of each are looked at, spread over the set.
        two_views: draws them, as in pre-training.
        size: side to which whole faces are resampled for the two classifiers.
        seed: of the views.
        every: how many epochs go by from one probe to the next.
    """

    def __init__(
        self,
        train: FaceSet,
        validation: FaceSet,
        two_views: Callable[[Tensor, Generator], tuple[Tensor, Tensor]],
        size: int,
        seed: int = 0,
        every: int = 1,
    ):
        if every < 1:
            raise ValueError(f"every counts epochs and is 1 or more, got {every}.")
        self.train, self.validation = (_some(faces) for faces in (train, validation))
        self.two_views, self.size, self.seed, self.every = two_views, size, seed, every

    @torch.no_grad()
    def __call__(self, model: OCL, row: Mapping[str, Any]) -> dict[str, float]:
        if row["epoch"] % self.every:
            return {}
        device = next(model.parameters()).device
        generator = generator_for(self.seed, PROBE)
        z1, z2 = [], []
        for images in self.validation.images.split(BATCH):
            views = self.two_views(images.to(device), generator)
            projected = model(channels_last(torch.cat(views))).float().cpu().chunk(2)
            z1.append(projected[0])
            z2.append(projected[1])
        z1, z2 = torch.cat(z1), torch.cat(z2)
        known, asked = (self._features(model, each) for each in (self.train, self.validation))
        if not all(bool(each.isfinite().all()) for each in (z1, z2, known, asked)):
            raise FloatingPointError(
                f"the encoder should give numbers after epoch {row['epoch']}, but some are NaN or "
                "infinite: its weights have diverged; lower the learning rate, in another folder."
            )
        labels, truth = self.train.labels.cpu(), self.validation.labels.cpu()
        neighbours = nearest_neighbours(known, labels, asked)
        line = linear_probe(known, labels, asked)
        return {
            "alignment": alignment(z1, z2).item(),
            "uniformity": uniformity(z1).item(),
            "knn_accuracy": (neighbours == truth).float().mean().item(),
            "linear_accuracy": (line == truth).float().mean().item(),
        }

    def _features(self, model: OCL, faces: FaceSet) -> Float[Tensor, "faces channels"]:
        device = next(model.parameters()).device
        found = []
        for images in faces.images.split(BATCH):
            resized = F.interpolate(
                as_float(images.to(device)), size=(self.size, self.size), mode="bilinear",
                antialias=True,
            )  # fmt: skip
            found.append(model.encoder(channels_last(resized)).float().cpu())
        return torch.cat(found)


def _some(faces: FaceSet) -> FaceSet:
    if len(faces) < 2 or bool((faces.labels < 0).any()):
        raise ValueError(
            f"probes learn from and are scored on faces with a label each, two or more, got "
            f"{faces!r}; leave the others out with faces[faces.labels >= 0]."
        )
    chosen = np.linspace(0, len(faces) - 1, min(len(faces), FACES)).round().astype(int)
    return faces[torch.from_numpy(chosen)]
