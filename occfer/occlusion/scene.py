"""Painting over a batch of faces, layer by layer: what every drawn item is made of.

A scene keeps, beside the pictures, what has been painted so far and how opaquely. A layer is a
shape of :mod:`occfer.occlusion.drawing`, a colour, and the light that falls on it.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from occfer.occlusion.drawing import blur, fill, stroke
from occfer.occlusion.fitting import HeadPose
from occfer.occlusion.light import azimuths, estimate_light

FAINTEST = 1 / 16
"""Paint thinner than this is left away, so that every pixel of a mask is visibly covered."""


class Scene:
    """Pictures of heads, to be painted over.

    Args:
        images: [batch, 3, height, width] in [0, 1].
        pose: of their heads.
        variation: numbers in [0, 1) from which each picture's item takes colour, size and place.
    """

    def __init__(
        self,
        images: Float[Tensor, "batch 3 height width"],
        pose: HeadPose,
        variation: Float[Tensor, "batch numbers"],
    ):
        self.images, self.pose, self.variation = images, pose, variation
        self.size = (images.shape[2], images.shape[3])
        self.light = estimate_light(images, pose)
        self.paint = torch.zeros_like(images)  # premultiplied by alpha
        self.alpha = torch.zeros_like(images[:, 0])
        self.shadow = torch.zeros_like(self.alpha)
        self.place = pose.unproject(*self.size)
        """(x, y) of the turned head's frame, per pixel."""

    @property
    def around(self) -> Float[Tensor, "batch height width"]:
        """Distance along the surface of the head from its middle line, in eye distances."""
        return azimuths(self.place, self.pose)

    def draw(self, number: int, low: float = 0.0, high: float = 1.0) -> Float[Tensor, " batch"]:
        """The variation of this number, between ``low`` and ``high``."""
        return low + (high - low) * self.variation[:, number]

    def choose(self, number: int, options: list) -> Float[Tensor, "batch *shape"]:
        """One of several colours, outlines or numbers, by the variation of this number."""
        table = torch.tensor(options).to(self.images)
        return table[(self.variation[:, number] * len(options)).long().clamp(max=len(options) - 1)]

    def inside(self, outline: Float[Tensor, "batch points 2"]) -> Float[Tensor, "batch h w"]:
        """The covered share of each pixel under closed outlines, in pixels."""
        return fill(outline, *self.size)

    def line(
        self,
        path: Float[Tensor, "batch points 2"],
        width: float | Float[Tensor, " batch"],
        closed: bool = False,
    ) -> Float[Tensor, "batch h w"]:
        """The covered share under lines; ``width`` is in eye distances."""
        return stroke(path, width * self.pose.scale, self.size, closed)

    def soften(self, cover: Float[Tensor, "batch h w"], radius: float) -> Float[Tensor, "b h w"]:
        """Blur by ``radius`` eye distances."""
        return blur(cover, radius * self.pose.scale)

    def add(
        self,
        cover: Float[Tensor, "batch h w"],
        colour: Float[Tensor, "batch 3 #h #w"] | Float[Tensor, "batch 3"],
        shade: Float[Tensor, "batch h w"] | None = None,
    ) -> None:
        """Paint a layer of this colour on top; without ``shade`` it is lit like the head."""
        albedo = colour if colour.ndim == 4 else colour[:, :, None, None]
        shown = self.light.expose(albedo, self.light.shade if shade is None else shade)
        self.paint = cover[:, None] * shown + (1 - cover[:, None]) * self.paint
        self.alpha = cover + (1 - cover) * self.alpha

    def tone(self, cover: Float[Tensor, "batch h w"], strength: float) -> None:
        """Darken (below 0) or lighten (above 0) what has been painted; nothing is added to it."""
        # A dark thing takes no darker folds, and a white one no lighter ones.
        amount = (strength * cover)[:, None]
        white = self.light.white[:, :, None, None] * self.alpha[:, None]
        towards = torch.where(amount > 0, white, torch.zeros_like(white))
        self.paint = self.paint + amount.abs().clamp(max=1) * (towards - self.paint)

    def cast(
        self, cover: Float[Tensor, "batch h w"], radius: float = 0.09, strength: float = 0.4
    ) -> None:
        """A soft shadow of this shape on the face next to it, falling away from the light."""
        shadow = strength * self.soften(cover, radius)
        self.shadow = self.shadow.maximum(shadow)

    def finish(self, shadows: bool = True) -> tuple[Float[Tensor, "b 3 h w"], Tensor]:
        """The painted pictures, and the mask of the pixels that paint covers."""
        mask = self.alpha >= FAINTEST
        alpha = torch.where(mask, self.alpha, 0.0)[:, None]
        paint = torch.where(mask[:, None], self.paint, 0.0)
        below = self.images * (1 - self.shadow[:, None]) if shadows else self.images
        return (paint + (1 - alpha) * below).clamp(0, 1), mask
