"""How much of a map lies on each part of the face: brows, eyes, nose, mouth, and the rest."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

PARTS = ("brows", "eyes", "nose", "mouth", "rest")


def part_masks(
    landmarks: Float[Tensor, "batch 5 2"], height: int, width: int
) -> Bool[Tensor, "batch parts height width"]:
    """Boxes from the five landmarks; every pixel belongs to exactly one part.

    All lengths are shares of the distance d between the eyes. Eyes reach 0.35 d to each side and
    0.2 d up and down; brows lie above them, 0.35 d high; the nose goes from the line of the eyes
    to 0.25 d below its tip, 0.3 d to each side; the mouth 0.25 d beyond its corners and 0.35 d up
    and down. Where boxes meet, the part named first keeps the pixel. Of a face whose landmarks are
    NaN all is rest, so leave such faces out before shares are compared.
    """
    left, right, nose, low_left, low_right = landmarks.unbind(dim=1)
    d = (right - left).norm(dim=1)
    eyes = [_box(eye[:, 0], eye[:, 1], 0.35 * d, 0.2 * d) for eye in (left, right)]
    brows = [_box(eye[:, 0], eye[:, 1] - 0.375 * d, 0.45 * d, 0.175 * d) for eye in (left, right)]
    top, bottom = (left[:, 1] + right[:, 1]) / 2, nose[:, 1] + 0.25 * d
    nose_box = _box(nose[:, 0], (top + bottom) / 2, 0.3 * d, (bottom - top) / 2)
    mouth = (low_left + low_right) / 2
    half = (low_right[:, 0] - low_left[:, 0]).abs() / 2 + 0.25 * d
    mouth_box = _box(mouth[:, 0], mouth[:, 1], half, 0.35 * d)
    free = torch.ones(len(landmarks), height, width, dtype=torch.bool, device=landmarks.device)
    masks = []
    for boxes in (brows, eyes, [nose_box], [mouth_box]):
        mask = torch.stack([_inside(box, height, width) for box in boxes]).any(dim=0) & free
        free = free & ~mask
        masks.append(mask)
    return torch.stack([*masks, free], dim=1)


def _box(x: Tensor, y: Tensor, half_width: Tensor, half_height: Tensor) -> Tensor:
    return torch.stack([y - half_height, y + half_height, x - half_width, x + half_width], dim=1)


def _inside(box: Tensor, height: int, width: int) -> Tensor:
    top, bottom, left, right = box[:, :, None].unbind(dim=1)
    y, x = (torch.arange(n, device=box.device) for n in (height, width))
    rows, columns = (y >= top) & (y < bottom), (x >= left) & (x < right)
    return rows[:, :, None] & columns[:, None, :]


def part_shares(
    saliency: Float[Tensor, "batch height width"],
    masks: Bool[Tensor, "batch parts height width"],
) -> Float[Tensor, "batch parts"]:
    """Share of each face's saliency on each part; NaN for a map that is 0 everywhere.

    With a constant map these are the parts' shares of the picture.
    """
    saliency = saliency.double()
    on_parts = torch.einsum("byx,bpyx->bp", saliency, masks.to(saliency))
    return (on_parts / saliency.sum(dim=(1, 2))[:, None]).float()
