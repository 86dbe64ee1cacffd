"""The light on a face, read from the face itself, so that what is drawn over it is lit alike.

Luminance is regressed on the normals of the head: the first three spherical harmonics of a
matt surface (Ramamoorthi and Hanrahan, "An efficient representation for irradiance environment
maps", SIGGRAPH 2001). Brightest and darkest pixels give the picture's exposure and white balance.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from occfer.occlusion.fitting import AXIS_Z, HALF_DEPTH, HALF_WIDTH, HeadPose

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the luminance (ITU-R BT.601)."""
COLOURLESS = 0.02
"""Mean difference between the channels of a picture below which it counts as grey."""


@dataclass(frozen=True)
class Light:
    """What a batch of pictures says about its light.

    ``slope``: change of brightness along x and y of the head's normal, relative to its mean;
    ``white`` and ``black``: what a white and a black thing would show here, per channel;
    ``skin``: the face's usual colour; ``colour``: 0 for grey pictures, 1 for coloured ones;
    ``normals``: of the head at every pixel.
    """

    slope: Float[Tensor, "batch 2"]
    white: Float[Tensor, "batch 3"]
    black: Float[Tensor, "batch 3"]
    skin: Float[Tensor, "batch 3"]
    colour: Float[Tensor, " batch"]
    normals: Float[Tensor, "batch 3 height width"]

    @property
    def shade(self) -> Float[Tensor, "batch height width"]:
        """Brightness of a matt head, 1 where it faces the viewer in even light."""
        return self.on(self.normals)

    def on(
        self, normals: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch height width"]:
        """Brightness of a matt surface with these normals."""
        lit = 1 + (self.slope[:, :, None, None] * normals[:, :2]).sum(dim=1)
        rim = 0.62 + 0.38 * normals[:, 2].clamp(min=0)
        return (lit * rim).clamp(0.25, 1.5)

    def expose(
        self, albedo: Float[Tensor, "batch 3 #height #width"], shade: Tensor
    ) -> Float[Tensor, "batch 3 height width"]:
        """What the picture shows of a surface of this colour in this shade, in [0, 1]."""
        white, black = self.white[:, :, None, None], self.black[:, :, None, None]
        shown = black + (white - black) * albedo * shade[:, None]
        luma = torch.tensor(LUMA).to(shown)
        grey = (shown * luma[:, None, None]).sum(dim=1, keepdim=True)
        return (grey + self.colour[:, None, None, None] * (shown - grey)).clamp(0, 1)

    @property
    def skin_albedo(self) -> Float[Tensor, "batch 3"]:
        """The colour that :meth:`expose` shows as ``skin``."""
        return ((self.skin - self.black) / (self.white - self.black)).clamp(0.03, 1)


def estimate_light(images: Float[Tensor, "batch 3 height width"], pose: HeadPose) -> Light:
    """The light of each picture; see :class:`Light`."""
    place = pose.unproject(*images.shape[-2:])
    normals = head_normals(place, pose)
    luma = (images * torch.tensor(LUMA).to(images)[:, None, None]).sum(dim=1)

    weight = _face_weight(place, pose)
    ones = torch.ones_like(normals[:, :1])
    design = torch.cat([ones, normals[:, :2]], dim=1).flatten(2)  # [B, 3, pixels]
    weighted = design * weight.flatten(1)[:, None]
    # Where a face shows too little of itself, the light falls back to an even one.
    ridge = torch.diag(torch.tensor([1e-3, 0.05, 0.05])).to(images) * images.shape[-2:].numel() / 10
    normal = weighted @ design.mT + ridge
    mean, *slopes = torch.linalg.solve(normal, weighted @ luma.flatten(1)[..., None])[..., 0].T
    slope = torch.stack(slopes, dim=1) / mean.clamp(min=0.02)[:, None]

    ordered = images.flatten(2).sort(dim=2).values
    last = ordered.shape[2] - 1
    bright, dark = ordered[:, :, round(0.98 * last)], ordered[:, :, round(0.01 * last)]
    chroma = (images.amax(dim=1) - images.amin(dim=1)).mean(dim=(1, 2))
    total = weight.sum(dim=(1, 2)).clamp(min=1e-3)
    skin = (images * weight[:, None]).sum(dim=(2, 3)) / total[:, None]
    # Nothing white need be in the picture: the brightest skin is at most a good half as bright.
    white = (0.25 + 0.75 * bright).maximum(1.15 * skin).clamp(max=1)
    return Light(
        slope=slope.clamp(-0.5, 0.5),
        white=white,
        black=(0.6 * dark).minimum(0.3 * white),
        skin=skin,
        colour=(chroma / COLOURLESS).clamp(max=1),
        normals=normals,
    )


def head_normals(
    place: Float[Tensor, "batch 2 height width"], pose: HeadPose
) -> Float[Tensor, "batch 3 height width"]:
    """Normals of an ellipsoid with the head's silhouette; level beyond it."""
    cos, sin = pose.yaw.cos()[:, None, None], pose.yaw.sin()[:, None, None]
    half = ((HALF_WIDTH * cos) ** 2 + (HALF_DEPTH * sin) ** 2).sqrt()
    x = (place[:, 0] - AXIS_Z * sin) / half
    y = (place[:, 1] - 0.4) / 2.2
    length = (x**2 + y**2).sqrt()
    shrink = 0.98 / length.clamp(min=0.98)
    x, y = x * shrink, y * shrink
    return torch.stack([x, y, (1 - x**2 - y**2).clamp(min=0).sqrt()], dim=1)


def azimuths(
    place: Float[Tensor, "batch 2 height width"], pose: HeadPose
) -> Float[Tensor, "batch height width"]:
    """About where around the head, in eye distances along its surface, each pixel lies."""
    x = head_normals(place, pose)[:, 0].clamp(-0.97, 0.97)
    return (x.asin() - pose.yaw[:, None, None]) * (HALF_WIDTH + HALF_DEPTH) / 2


def _face_weight(place: Tensor, pose: HeadPose) -> Tensor:
    """1 on cheeks, nose and forehead, falling to 0 at the outline of the face."""
    middle = -AXIS_Z * pose.yaw.sin()[:, None, None] * 0.1
    apart = ((place[:, 0] - middle) / 0.75) ** 2 + ((place[:, 1] - 0.45) / 0.95) ** 2
    return (1.3 - apart).clamp(0, 1)
