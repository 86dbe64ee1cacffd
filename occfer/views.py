"""Two occluded views of each face (§2.2): crop, local occlusion, flip, colour jitter, greyscale.

Every parameter is drawn per face from a passed generator, and only then applied, to the whole
batch at once: crop, rotation and flip are together one resampling; brightness, contrast,
saturation, hue and greyscale are together one 3x4 matrix per face, hence one pass over the
pixels. The drawn parameters can be looked at and applied again.
"""

import math
from dataclasses import dataclass, replace
from typing import get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Num
from torch import Generator, Tensor

from occfer.occlusion.blocks import ASPECT, Blocks, Fill, block_mask, draw_blocks, draw_fill, paint
from occfer.occlusion.light import LUMA
from occfer.randomness import coin, fresh_generator, sent, uniform
from occfer.recipes import ViewRecipe

# RGB → YIQ (NTSC, 1953). A rotation of the I–Q plane turns the hue and keeps the luminance.
YIQ = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))


def luminance(
    images: Float[Tensor, "batch colours height width"],
) -> Float[Tensor, "batch height width"]:
    """What a grey picture shows of a colourful one; one of a single channel stays as it is."""
    if images.shape[1] == 1:
        return images[:, 0]
    with torch.autocast(images.device.type, enabled=False):
        return torch.einsum("nchw,c->nhw", images, sent(torch.tensor(LUMA), images.device))


@dataclass(frozen=True)
class ViewParameters:
    """What was drawn for a batch: one row per view, in units a reader can check.

    ``centre`` is (x, y) and ``extent`` (width, height) of the crop, as shares of the face;
    ``angle`` is in radians; ``brightness``, ``contrast`` and ``saturation`` are factors, ``hue``
    is a share of the colour circle; ``occlusion`` is the covered share (0: not occluded);
    ``fill_seed`` starts the generator that paints the occluders.
    """

    centre: Float[Tensor, "batch 2"]
    extent: Float[Tensor, "batch 2"]
    angle: Float[Tensor, " batch"]
    flip: Bool[Tensor, " batch"]
    brightness: Float[Tensor, " batch"]
    contrast: Float[Tensor, " batch"]
    saturation: Float[Tensor, " batch"]
    hue: Float[Tensor, " batch"]
    grey: Bool[Tensor, " batch"]
    occlusion: Float[Tensor, " batch"]
    blocks: Blocks
    fill_seed: int


@dataclass(frozen=True, kw_only=True)
class RandomView(ViewRecipe):
    """One random view of each face, by the fields of its recipe; draw first, apply second.

    A view is sampled bilinearly without a filter, so faces much larger than ``size`` alias: shrink
    them first, as loading them at a smaller size does. Evaluation widens its filter where it
    shrinks (:func:`occfer.regions.five_regions`).

    Args:
        size: side of the view in pixels.
        crop_aspect: bounds of the crop's width : height, log-uniform. A crop that would be longer
            than the picture is cut to it, so that its area can be less than was drawn.
        occlusion_aspect: bounds of a block's height : width, log-uniform.
    """

    size: int = 112
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    occlusion_aspect: tuple[float, float] = ASPECT

    def __post_init__(self):
        if self.fill not in get_args(Fill):
            raise ValueError(f"fill must be one of {', '.join(get_args(Fill))}, got {self.fill!r}.")
        shares = {name: getattr(self, name) for name in ("flip", "jitter", "grey", "occlusion")}
        bounds = {name: getattr(self, name) for name in ("crop", "occlusion_area")}
        aspects = {name: getattr(self, name) for name in ("crop_aspect", "occlusion_aspect")}
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is a probability and must lie in [0, 1], got {value}.")
        for name, (low, high) in bounds.items():
            if not 0 <= low <= high <= 1:
                raise ValueError(
                    f"{name} bounds a share of the area, 0 ≤ low ≤ high ≤ 1, got ({low}, {high})."
                )
        for name, (low, high) in aspects.items():
            if not 0 < low <= high < math.inf:
                raise ValueError(
                    f"{name} bounds a ratio of sides, 0 < low ≤ high, got ({low}, {high})."
                )
        for name in ("rotation", "brightness", "contrast", "saturation", "hue"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} says how far a view may be changed and must be at least 0 and finite, "
                    f"got {getattr(self, name)}."
                )
        if self.hue > 0.5:
            raise ValueError(f"hue must be at most 0.5, half of the circle, got {self.hue}.")
        if self.size < 1 or self.crop[0] <= 0:
            raise ValueError(
                f"size and the least crop must be positive, got {self.size} and {self.crop[0]}."
            )

    def draw(self, batch: int, generator: Generator) -> ViewParameters:
        """Parameters of ``batch`` views, drawn on the generator's device."""

        def draw(low: float, high: float, *shape: int) -> Tensor:
            return uniform(low, high, *shape, generator=generator, device=generator.device)

        def flips(probability: float) -> Tensor:
            return coin(probability, batch, generator=generator, device=generator.device)

        area = draw(*self.crop, batch)
        aspect = draw(*map(math.log, self.crop_aspect), batch).exp()
        extent = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], dim=1).clamp(max=1)
        room = (1 - extent) / 2
        jittered = flips(self.jitter)

        def factor(spread: float) -> Tensor:
            return torch.where(jittered, draw(max(0.0, 1 - spread), 1 + spread, batch), 1.0)

        occlusion = torch.where(flips(self.occlusion), draw(*self.occlusion_area, batch), 0.0)
        return ViewParameters(
            centre=0.5 + room * draw(-1, 1, batch, 2),
            extent=extent,
            angle=draw(-1, 1, batch) * math.radians(self.rotation),
            flip=flips(self.flip),
            brightness=factor(self.brightness),
            contrast=factor(self.contrast),
            saturation=factor(self.saturation),
            hue=torch.where(jittered, draw(-self.hue, self.hue, batch), 0.0),
            grey=flips(self.grey),
            occlusion=occlusion,
            blocks=draw_blocks(occlusion, self.size, self.size, generator, self.occlusion_aspect),
            fill_seed=int(torch.randint(2**62, (), generator=generator, device=generator.device)),
        )

    def apply(
        self, faces: Num[Tensor, "batch colours height width"], parameters: ViewParameters
    ) -> Float[Tensor, "batch colours size size"]:
        """The views that ``parameters`` describe; faces uint8, or float in [0, 1]."""
        views = resample(as_float(faces), parameters, self.size)
        views = occlude(views, parameters, self.fill)
        return recolour(views, parameters)

    def __call__(
        self, faces: Num[Tensor, "batch colours height width"], generator: Generator | None = None
    ) -> Float[Tensor, "batch colours size size"]:
        generator = generator or fresh_generator(faces.device)
        return self.apply(faces, self.draw(len(faces), generator))


class TwoViews:
    """Two independent views of each face; by default both are occluded (§2.2).

    Args:
        size, options: see :class:`RandomView`.
        one_view: occlude the first view only. The paper's sentence, "two samples with local
            occlusion and other augmentation added", is read as both.

    Called with faces [B, C, H, W] (uint8, or float in [0, 1]) and a generator; returns two
    float32 batches [B, C, size, size] in [0, 1].
    """

    def __init__(self, size: int = 112, one_view: bool = False, **options):
        self.view = RandomView(size=size, **options)
        self.one_view = one_view

    def draw(self, batch: int, generator: Generator) -> tuple[ViewParameters, ViewParameters]:
        """Independent parameters of the first and of the second view of each face."""
        second = replace(self.view, occlusion=0.0) if self.one_view else self.view
        return self.view.draw(batch, generator), second.draw(batch, generator)

    def apply(
        self,
        faces: Num[Tensor, "batch colours height width"],
        parameters: tuple[ViewParameters, ViewParameters],
    ) -> tuple[Float[Tensor, "batch colours size size"], Float[Tensor, "batch colours size size"]]:
        images = as_float(faces)
        first, second = parameters
        return self.view.apply(images, first), self.view.apply(images, second)

    def __call__(
        self, faces: Num[Tensor, "batch colours height width"], generator: Generator | None = None
    ) -> tuple[Float[Tensor, "batch colours size size"], Float[Tensor, "batch colours size size"]]:
        generator = generator or fresh_generator(faces.device)
        return self.apply(faces, self.draw(len(faces), generator))


def as_float(
    faces: Num[Tensor, "batch colours height width"],
) -> Float[Tensor, "batch colours height width"]:
    """uint8 0…255 → float 0…1; floats pass, and no other type does."""
    if faces.ndim != 4 or faces.shape[1] not in (1, 3):
        raise ValueError(
            "faces must be [batch, 1 or 3 channels, height, width], got shape "
            f"{list(faces.shape)}; add or move the missing axis."
        )
    if faces.dtype != torch.uint8 and not faces.is_floating_point():
        raise ValueError(
            f"faces must be uint8 from 0 to 255, or floats in [0, 1], got {faces.dtype}; convert "
            "them with .to(torch.uint8)."
        )
    return faces.float().div_(255) if faces.dtype == torch.uint8 else faces.float()


def resample(
    images: Float[Tensor, "batch colours height width"], parameters: ViewParameters, size: int
) -> Float[Tensor, "batch colours size size"]:
    """Crop, turn and mirror in one bilinear resampling; outside the picture its border goes on."""
    device = images.device
    across, down = sent(parameters.extent, device)[:, :, None].unbind(dim=1)
    mirrored = sent(parameters.flip, device)[:, None]
    angle = sent(parameters.angle, device)[:, None]
    centre = 2 * sent(parameters.centre, device) - 1
    height, width = images.shape[-2:]
    # Half-pixel centres of the view, in [-1, 1]: grid_sample's units.
    place = (2 * torch.arange(size, device=device) + 1) / size - 1
    # A processor gathers pixels at half the pace from right to left, so that is left for the end.
    x, y = torch.where(mirrored, -place.flip(0), place) * across, place * down
    # A pixel of the view lies where its column leads to, and from there its row.
    column = torch.stack([x * angle.cos(), x * angle.sin() * (width / height)], dim=1)
    row = torch.stack([-y * angle.sin() * (height / width), y * angle.cos()], dim=1)
    grid = column[:, :, None, :] + row[:, :, :, None]
    grid = grid.add_(centre[:, :, None, None]).movedim(1, -1)
    views = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    chosen = sent(parameters.flip.nonzero()[:, 0], device)
    return views.index_copy_(0, chosen, views[chosen].flip(-1))


def occlude(
    views: Float[Tensor, "batch colours size size"], parameters: ViewParameters, fill: Fill
) -> Float[Tensor, "batch colours size size"]:
    """Cover the drawn block of each view that has one."""
    if not bool((parameters.occlusion > 0).any()):
        return views
    generator = Generator(device=views.device).manual_seed(parameters.fill_seed)
    mask = block_mask(parameters.blocks.to(views.device), *views.shape[-2:])
    return paint(views, mask, draw_fill(views, fill, generator))


def recolour(
    views: Float[Tensor, "batch colours size size"], parameters: ViewParameters
) -> Float[Tensor, "batch colours size size"]:
    """All colour changes as one affine map of RGB per view, then clamped to [0, 1].

    Brightness scales by b; contrast pulls towards the mean luminance μ of the brightened view;
    saturation pulls towards grey; hue rotates I–Q; greyscale projects on the luminance. The last
    three leave grey vectors alone, so the offset is (1 − c)·b·μ in every channel. A grey picture
    has only brightness and contrast to change.
    """
    device = views.device
    with torch.autocast(device.type, enabled=False):
        brightness = sent(parameters.brightness, device)
        contrast = sent(parameters.contrast, device)
        scale = (brightness * contrast)[:, None, None]
        means = views.mean(dim=(2, 3))
        if views.shape[1] == 1:
            mean, matrix = means[:, 0], scale
        else:
            mean = means @ sent(torch.tensor(LUMA), device)
            matrix = sent(colour_matrix(parameters), device) * scale
        offset = ((1 - contrast) * brightness * mean)[:, None, None]
        colours = views.flatten(2)
        # To copy one number to a whole view takes baddbmm twice as long as to multiply.
        pixels = torch.zeros_like(colours).add_(offset).baddbmm_(matrix, colours)
        return pixels.clamp_(0, 1).view_as(views)


def colour_matrix(parameters: ViewParameters) -> Float[Tensor, "batch 3 3"]:
    """Greyscale · hue · saturation, for each view."""
    device = parameters.hue.device
    identity = torch.eye(3, device=device)
    towards_grey = torch.tensor(LUMA, device=device).expand(3, 3)
    saturation = parameters.saturation[:, None, None]
    saturate = saturation * identity + (1 - saturation) * towards_grey

    to_yiq = torch.tensor(YIQ, device=device)
    turn = 2 * math.pi * parameters.hue
    rotation = torch.zeros(len(turn), 3, 3, device=device)
    rotation[:, 0, 0] = 1
    rotation[:, 1, 1] = rotation[:, 2, 2] = turn.cos()
    rotation[:, 1, 2], rotation[:, 2, 1] = -turn.sin(), turn.sin()
    hue = torch.linalg.inv(to_yiq) @ rotation @ to_yiq

    grey = parameters.grey[:, None, None].float()
    desaturate = grey * towards_grey + (1 - grey) * identity
    return desaturate @ hue @ saturate
