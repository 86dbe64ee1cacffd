"""One face or many, from a tensor, an array or a picture file, to probabilities."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from occfer.emotions import EMOTIONS
from occfer.engine.training import channels_last
from occfer.views import as_float


@dataclass(frozen=True)
class Prediction:
    """What a network says of B faces.

    ``probabilities`` [B, 7]; ``region_probabilities`` [B, K, 7] and ``attention`` [B, K, h, w]
    for FGW, ``None`` for a plain network.
    """

    probabilities: Float[Tensor, "batch classes"]
    region_probabilities: Float[Tensor, "batch regions classes"] | None = None
    attention: Float[Tensor, "batch regions map_height map_width"] | None = None

    @property
    def emotions(self) -> list[str]:
        """The name of the most probable expression of each face."""
        return [EMOTIONS[label] for label in self.probabilities.argmax(dim=1).tolist()]


def as_faces(source: Tensor | np.ndarray | Image.Image | str | Path) -> Tensor:
    """Anything that shows aligned faces → [B, C, H, W] float in [0, 1].

    Args:
        source: a picture file, a PIL picture, an array [H, W] or [H, W, C] of uint8, or a tensor
            [C, H, W] or [B, C, H, W], uint8 or float in [0, 1].
    """
    if isinstance(source, str | Path):
        with Image.open(source) as picture:
            source = picture.convert("RGB")
    if isinstance(source, Image.Image):
        source = np.asarray(source.convert("RGB"))
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim not in (2, 3):
            raise ValueError(
                f"an array should be uint8 [H, W] or [H, W, C], got {source.dtype} with shape "
                f"{list(source.shape)}; pass tensors for batches and floats."
            )
        pixels = source[:, :, None] if source.ndim == 2 else source
        source = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    return as_float(source[None] if source.ndim == 3 else source)


@torch.inference_mode()
def predict(model: nn.Module, source: Tensor | np.ndarray | Image.Image | str | Path) -> Prediction:
    """Probabilities of the seven expressions for faces that are already cut out and aligned.

    Args:
        model: a trained network, as :func:`occfer.finetune` or :func:`occfer.load_model` gives.
        source: see :func:`as_faces`.
    """
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    output = model(channels_last(as_faces(source).to(device)))
    model.train(training)
    regions = getattr(output, "region_logits", None)
    return Prediction(
        output.logits.float().softmax(dim=1).cpu(),
        None if regions is None else regions.float().softmax(dim=2).cpu(),
        None if regions is None else output.attention.float().cpu(),
    )
