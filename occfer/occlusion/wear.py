"""``wear``: put a mask, glasses, a hand ... on every face of a batch (§3.5)."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from occfer.occlusion.fitting import fit_head
from occfer.occlusion.hand import hand
from occfer.occlusion.light import LUMA
from occfer.occlusion.masks import MASKS
from occfer.occlusion.objects import OBJECTS
from occfer.occlusion.scene import Scene
from occfer.occlusion.wearables import WEARABLES
from occfer.randomness import fresh_generator

ITEMS: Mapping[str, Callable[[Scene], None]] = {**MASKS, **WEARABLES, "hand": hand, **OBJECTS}
"""What can be worn or held, by name; each function paints one item on a scene."""
NUMBERS = 12
"""Random numbers that a face's item is made from."""


def draw_variation(batch: int, generator: Generator) -> Float[Tensor, "batch numbers"]:
    """The chance in one item per face: numbers in [0, 1) for its colour, size and place.

    The item on a face depends on its own row alone. Draw once for a whole set, pass the rows on,
    and every split into batches gives the same masks, and the same pictures but for rounding.
    """
    shape = (batch, NUMBERS)
    return torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64)


def wear(
    images: Float[Tensor, "batch channels height width"],
    landmarks: Float[Tensor, "batch 5 2"],
    item: str = "surgical_mask",
    generator: Generator | None = None,
    variation: Float[Tensor, "batch numbers"] | None = None,
    shadows: bool = True,
) -> tuple[Float[Tensor, "batch channels height width"], Bool[Tensor, "batch height width"]]:
    """Put one item on each face, fitted by its landmarks and lit like the face (§3.5).

    Args:
        images: faces in [0, 1], grey (1 channel) or RGB (3); a grey picture gets a grey item. They
            keep their floating-point type; half precision is painted in single.
        landmarks: x and y in pixels of left eye, right eye, nose, left and right mouth corner, the
            centre of the first pixel being (0, 0); a :class:`~occfer.FaceSet` has them.
        item: a name of ``ITEMS``.
        generator: source of all chance; without one the operating system seeds a fresh one.
        variation: the drawn numbers themselves, from :func:`draw_variation`, to replay an item.
        shadows: let the item darken the bare skin around it. Shadows are not part of the mask.

    Returns:
        The faces with their items (the input is left alone) and the mask of the pixels that an
        item covers. Clear lenses are not covered; their frames and reflections are.

    Raises:
        ValueError: no such item, other shapes, bytes, a variation outside of [0, 1], or a face
            whose landmarks cannot be fitted (:func:`occfer.occlusion.fitting.fit_head`).
    """
    if item not in ITEMS:
        raise ValueError(f"item must be one of {', '.join(ITEMS)}; got {item!r}.")
    _check(images, landmarks, variation)
    if variation is None:
        variation = draw_variation(len(images), generator or fresh_generator(images.device))
    # Matrices are not inverted in half precision.
    exact = images.to(torch.promote_types(images.dtype, torch.float32))
    pose = fit_head(landmarks.to(exact))
    scene = Scene(exact.expand(-1, 3, -1, -1), pose, variation.to(exact))
    ITEMS[item](scene)
    worn, mask = scene.finish(shadows)
    if images.shape[1] == 1:
        weights = torch.tensor(LUMA).to(worn)[:, None, None]
        worn = (worn * weights).sum(dim=1, keepdim=True)
        if not shadows:
            worn = torch.where(mask[:, None], worn, exact)
    return worn.to(images.dtype), mask


def _check(images: Tensor, landmarks: Tensor, variation: Tensor | None) -> None:
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"images must be [batch, 1 or 3 channels, height, width], got {list(images.shape)}; "
            f"add or move the missing axis."
        )
    if not images.is_floating_point():
        raise ValueError(
            f"images must be of a floating-point type in [0, 1], got {images.dtype}; divide bytes "
            f"by 255."
        )
    if landmarks.shape != (len(images), 5, 2):
        raise ValueError(
            f"landmarks must be [{len(images)}, 5, 2], five points (x, y) for every face, got "
            f"{list(landmarks.shape)}."
        )
    if variation is not None and variation.shape != (len(images), NUMBERS):
        raise ValueError(
            f"variation must be [{len(images)}, {NUMBERS}], got {list(variation.shape)}; draw it "
            f"with draw_variation."
        )
    if variation is not None and not bool(((variation >= 0) & (variation <= 1)).all()):
        raise ValueError(
            "variation must lie in [0, 1], but a number does not; draw it with draw_variation."
        )
