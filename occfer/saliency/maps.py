"""Maps in picture coordinates: the five regions' attention fused into one, and Grad-CAM.

A cell of a map is taken to look at its own share of the region. Strided convolutions with padding
see a little more to the upper left than that; as in most papers, this is not corrected.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float, Int64
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Generator, Tensor, nn

from occfer.emotions import EMOTIONS
from occfer.engine.training import evaluating
from occfer.fgw import FGW, PlainClassifier
from occfer.regions import CENTRE, CORNER, Share, region_boxes, resampling_matrix


def bring_back(
    maps: Float[Tensor, "batch regions map_height map_width"],
    height: int,
    width: int,
    corner: float = CORNER,
    centre: float = CENTRE,
    share: Share = "side",
) -> Float[Tensor, "batch height width"]:
    """Each map laid over the box its region was cut from; where several lie, their mean.

    The way back of :func:`occfer.five_regions`: bilinear with half-pixel centres, and a pixel
    belongs to a box where its centre lies inside. Pixels of no box are 0.

    Args:
        maps: of K regions in their order; ``regions`` may be any layout of ``region_boxes``.
        height, width: of the picture, in pixels.
        corner, centre, share: as the regions were cut.
    """
    boxes = region_boxes(maps.shape[1], corner, centre, share).tolist()
    rows = [_way_back(top, extent, maps.shape[2], height) for top, _, extent, _ in boxes]
    columns = [_way_back(left, extent, maps.shape[3], width) for _, left, _, extent in boxes]
    down, across = (torch.stack(each).to(maps) for each in (rows, columns))
    laid = torch.einsum("kyi,bkij,kxj->byx", down, maps, across)
    # The weights of a pixel inside of a box sum to 1.
    coverage = torch.einsum("ky,kx->yx", down.sum(dim=2), across.sum(dim=2)).round()
    return laid / coverage.clamp(min=1)


def _way_back(start: float, extent: float, cells: int, length: int) -> Tensor:
    """[length, cells]: what each pixel of a line takes from the cells of one region's map."""
    weights = resampling_matrix(-start / extent * cells, cells / extent, cells, length)
    centres = (torch.arange(length, dtype=torch.float64) + 0.5) / length
    inside = (centres > start) & (centres < start + extent)
    return weights.where(inside[:, None], 0.0)


@torch.no_grad()
def attention_map(
    model: nn.Module, images: Float[Tensor, "batch colours height width"]
) -> Float[Tensor, "batch height width"]:
    """The spatial attention (6) of all regions, brought back and fused.

    Values lie in (0, 1); they are 1 everywhere for an FGW with ``attention="none"``, and 0 on
    pixels of no region.

    Raises:
        ValueError: the model is no FGW.
    """
    if not isinstance(model, FGW):
        raise ValueError(
            f"an attention map needs an FGW, got a {type(model).__name__}; take grad_cam, which "
            "works on both."
        )
    with evaluating(model):
        attention = model(images).attention
    return bring_back(attention.float(), *images.shape[2:], **cut_of(model))


def grad_cam(
    model: nn.Module,
    images: Float[Tensor, "batch colours height width"],
    classes: Int64[Tensor, " batch"] | None = None,
) -> Float[Tensor, "batch height width"]:
    """Grad-CAM at the last stage, in picture coordinates (Selvaraju et al., ICCV 2017).

    Channels are weighted by the mean gradient of a class's logit, summed, and cut at 0. For FGW
    this is done in each region, before attention weighs its features, and brought back as
    attention maps are. Nothing is stretched to [0, 1], so that regions keep their proportion.

    Args:
        classes: whose logit; the predicted class of each face where left out.

    Raises:
        ValueError: the model is of another kind, or there is not one class from 0 to 6 a face.
    """
    stage, targets = last_stage(model), None
    if classes is not None:
        _require_classes(classes, len(images))
        targets = [ClassifierOutputTarget(label) for label in classes.tolist()]
    with (
        evaluating(model),
        torch.enable_grad(),
        _gradients_down_to(stage, model),
        _AtTheStage(_Logits(model), [stage]) as cam,
    ):
        maps = torch.from_numpy(cam(images, targets)).to(images.device)
    return bring_back(maps.unflatten(0, (len(images), -1)), *images.shape[2:], **cut_of(model))


def last_stage(model: nn.Module) -> nn.Module:
    """The stage at which :func:`grad_cam` asks."""
    if not isinstance(model, FGW | PlainClassifier):
        raise ValueError(
            f"grad_cam knows FGW and PlainClassifier, got a {type(model).__name__}; pass one that "
            "occfer.finetune or occfer.load_model returned."
        )
    backbone = model.backbone if isinstance(model, FGW) else model.encoder.backbone
    return backbone.stages[-1]


def _require_classes(classes: Tensor, faces: int) -> None:
    known = (classes >= 0) & (classes < len(EMOTIONS))
    if len(classes) != faces or not bool(known.all()):
        raise ValueError(
            f"grad_cam needs one class from 0 to {len(EMOTIONS) - 1} for each of {faces} faces, "
            f"got {classes.tolist()}; leave classes out to take what the network says."
        )


@contextmanager
def _gradients_down_to(stage: nn.Module, model: nn.Module) -> Iterator[None]:
    """Spare the way back through the earlier stages, and leave every gradient as it was."""
    before = [(each, each.requires_grad, each.grad) for each in model.parameters()]
    model.requires_grad_(False).zero_grad()
    stage.requires_grad_(True)
    try:
        yield
    finally:
        for each, required, gradient in before:
            each.requires_grad_(required)
            each.grad = gradient


class _Logits(nn.Module):
    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images).logits


class _AtTheStage(GradCAM):
    """The package stretches each map to [0, 1] and to the picture; here it stays as it is."""

    def compute_cam_per_layer(self, input_tensor, targets, eigen_smooth) -> list[np.ndarray]:
        (layer,), found = self.target_layers, self.activations_and_grads
        (activations,), (gradients,) = found.activations, found.gradients
        maps = self.get_cam_image(
            input_tensor, layer, targets, activations.numpy(), gradients.numpy(), eigen_smooth
        )
        return [np.maximum(maps, 0)]

    def aggregate_multi_layers(self, cam_per_target_layer: list[np.ndarray]) -> np.ndarray:
        (maps,) = cam_per_target_layer
        return maps


@torch.no_grad()
def coarse_random_map(
    model: nn.Module, images: Float[Tensor, "batch colours height width"], generator: Generator
) -> Float[Tensor, "batch height width"]:
    """A map by chance that is as coarse as the network's own.

    One number is drawn for each cell of the last stage, in every region, and brought back as
    attention and Grad-CAM are. Beside :func:`occfer.saliency.random_map`, which is drawn pixel by
    pixel, it knows as little of the face, but takes away or brings back whole patches of it.
    """
    shapes = []
    handle = last_stage(model).register_forward_hook(
        lambda _, __, features: shapes.append(features.shape)
    )
    with handle, evaluating(model):
        model(images[:1])
    regions, _, *cells = shapes[0]
    drawn = torch.rand(
        len(images), regions, *cells, generator=generator, device=generator.device
    ).to(images.device)
    return bring_back(drawn, *images.shape[2:], **cut_of(model))


def cut_of(model: FGW | PlainClassifier) -> dict:
    """How a network cuts its regions, as :func:`bring_back` takes it."""
    if isinstance(model, PlainClassifier):
        return {}
    return {name: model.cut[name] for name in ("corner", "centre", "share")}
