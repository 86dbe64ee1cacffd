"""Faces and their five landmarks by MTCNN (§3.1), many pictures at a time.

The networks and weights are facenet-pytorch's, and so are the boxes; the way through them is not.
Each stage of the cascade (Zhang et al. 2016, doi:10.1109/LSP.2016.2603342) looks at the picture,
or at parts of it, shrunk: here from one table of sums a picture, however many scales and parts
there are. Pooling and activations go over whole rows, where PyTorch is slow with few channels,
and what the first network finds on all pictures, of whatever sizes, passes the others together.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
import torch.nn.functional as F
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from facenet_pytorch.models.utils.detect_face import nms_numpy
from jaxtyping import Float32, Int32, UInt8
from torch import Tensor, nn
from torchvision.ops import nms

from occfer.data.areas import AreaSums

# Parts of pictures that go through the second and third network at once.
PARTS = 64

# facenet-pytorch's points count pixels from 1, as the MATLAB code did on which it rests: found on a
# picture and on its mirror image, the two sum up to one pixel too much on either side.
POINT_OFFSET = -1.0

# Candidates of one picture, a row each: left, top, right, bottom, score, and by how much of their
# size the network wants to shift each of the four edges.
Candidates = Float32[Tensor, "_ 9"]


@dataclass(frozen=True)
class Detections:
    """The faces on one picture, the largest first.

    boxes: left, top, right, bottom in pixels, as facenet-pytorch gives them.
    scores: probability of being a face.
    landmarks: x and y of the points of ``FaceSet``, the centre of the top-left pixel being (0, 0).
    """

    boxes: Float32[np.ndarray, "faces 4"]
    scores: Float32[np.ndarray, " faces"]
    landmarks: Float32[np.ndarray, "faces 5 2"]

    def __len__(self) -> int:
        return len(self.boxes)


class Detector:
    """MTCNN over pictures of any sizes.

    Args:
        min_face: side in pixels of the smallest face to look for.
        thresholds: what each of the three networks must give a face.
        shrink: from one scale of the pyramid to the next.
        device: of the networks.

    Raises:
        ValueError: a setting out of range.
    """

    def __init__(
        self,
        min_face: int = 20,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
        shrink: float = 0.709,
        device: torch.device | str = "cpu",
    ) -> None:
        if min_face < 12 or not 0 < shrink < 1 or not all(0 < each < 1 for each in thresholds):
            raise ValueError(
                f"min_face must be at least 12 pixels, shrink and thresholds must lie between 0 "
                f"and 1, got {min_face}, {shrink} and {thresholds}."
            )
        self.min_face, self.thresholds, self.shrink = min_face, thresholds, shrink
        self.device = torch.device(device)
        self.propose, self.refine, self.settle = (
            network().to(self.device, memory_format=torch.channels_last).eval()
            for network in (PNet, RNet, ONet)
        )

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> list[Detections]:
        """The faces on each picture."""
        if not pictures:
            return []
        sums = [AreaSums(pixels) for pixels in pictures]
        found = [_squares(_shifted(boxes, 0)) for boxes in self._first(sums)]
        found = [_squares(_shifted(boxes, 1)) for boxes in self._second(sums, found)]
        return self._third(sums, found)

    def _first(self, sums: list[AreaSums]) -> list[Candidates]:
        """The first network looks at whole pictures, at every scale."""
        found: list[list[Tensor]] = [[torch.zeros(0, 9)] for _ in sums]
        size = lambda n: (sums[n].height, sums[n].width)  # noqa: E731
        for (height, width), group in groupby(sorted(range(len(sums)), key=size), key=size):
            members = list(group)
            for scale in self._scales(min(height, width)):
                shape = int(height * scale + 1), int(width * scale + 1)
                shrunk = np.stack([sums[n].whole(shape) for n in members])
                shifts, scores = _proposals(self.propose, self._input(shrunk))
                for n, shift, score in zip(members, shifts.cpu(), scores.cpu(), strict=True):
                    boxes = _candidates(shift, score, scale, self.thresholds[0])
                    found[n].append(_suppressed(boxes, 0.5))
        return [_suppressed(torch.cat(boxes), 0.7) for boxes in found]

    def _scales(self, side: int) -> Iterator[float]:
        scale = 12.0 / self.min_face
        left = side * scale
        while left >= 12:
            yield scale
            scale *= self.shrink
            left *= self.shrink

    def _second(self, sums: list[AreaSums], found: list[Candidates]) -> list[Candidates]:
        """The second one looks at the candidates, each at 24 x 24."""
        found, outputs = self._look(sums, found, 24, lambda parts: _refined(self.refine, parts))
        better = []
        for boxes, (shifts, scores) in zip(found, outputs, strict=True):
            good = scores > self.thresholds[1]
            boxes = torch.cat([boxes[good, :4], scores[good, None], shifts[good]], dim=1)
            better.append(_suppressed(boxes, 0.7))
        return better

    def _third(self, sums: list[AreaSums], found: list[Candidates]) -> list[Detections]:
        """The third one looks at what is left, at 48 x 48, and finds the five points too."""
        found, outputs = self._look(sums, found, 48, lambda parts: _settled(self.settle, parts))
        faces = []
        for boxes, (shifts, points, scores) in zip(found, outputs, strict=True):
            good = scores > self.thresholds[2]
            boxes = torch.cat([boxes[good, :4], scores[good, None], shifts[good]], dim=1)
            sides = boxes[:, 2:4] - boxes[:, :2] + 1
            points = points[good].view(-1, 2, 5).mT * sides[:, None] + boxes[:, None, :2] - 1
            boxes = _shifted(boxes, 1).numpy()
            best = nms_numpy(boxes[:, :4], boxes[:, 4], 0.7, "Min") if len(boxes) else []
            boxes, points = boxes[best], points.numpy()[best] + POINT_OFFSET
            areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
            order = np.argsort(areas)[::-1]
            boxes = boxes[order]
            faces.append(Detections(boxes[:, :4], boxes[:, 4], points[order]))
        return faces

    def _look(
        self, sums, found, side, network
    ) -> tuple[list[Candidates], list[tuple[Tensor, ...]]]:
        """The candidates that lie on their picture, and what a network says of those of each."""
        inside, parts = [], []
        for each, boxes in zip(sums, found, strict=True):
            edges = _pixels(boxes, each)
            fits = (edges[:, 2] > edges[:, 0]) & (edges[:, 3] > edges[:, 1])
            inside.append(boxes[torch.from_numpy(fits)])
            parts.append(each.parts(edges[fits], (side, side)))
        pixels = np.concatenate(parts)
        starts = range(0, max(len(pixels), 1), PARTS)
        said = [network(self._input(pixels[start : start + PARTS])) for start in starts]
        joined = [torch.cat(each).cpu() for each in zip(*said, strict=True)]
        counts = [len(boxes) for boxes in inside]
        return inside, list(zip(*(each.split(counts) for each in joined), strict=True))

    def _input(self, pixels: Float32[np.ndarray, "n h w 3"]) -> Float32[Tensor, "n 3 h w"]:
        """As the networks were trained: about -1 to 1; channels last in memory."""
        moved = torch.from_numpy(pixels).to(self.device)
        return moved.sub_(127.5).mul_(0.0078125).permute(0, 3, 1, 2)


def _candidates(shifts: Tensor, scores: Tensor, scale: float, threshold: float) -> Candidates:
    """A box of 12 x 12 for every second pixel of a scaled picture that may show a face."""
    rows, columns = (scores >= threshold).nonzero(as_tuple=True)
    corner = torch.stack([columns, rows], dim=1).float()
    first, last = ((2 * corner + 1) / scale).floor(), ((2 * corner + 12) / scale).floor()
    return torch.cat([first, last, scores[rows, columns][:, None], shifts[rows, columns]], dim=1)


def _suppressed(boxes: Candidates, overlap: float) -> Candidates:
    return boxes[nms(boxes[:, :4], boxes[:, 4], overlap)]


def _shifted(boxes: Candidates, closed: int) -> Candidates:
    """Boxes with their edges where the network wants them; ``closed`` counts both end pixels."""
    sides = (boxes[:, 2:4] - boxes[:, :2] + closed).repeat(1, 2)
    return torch.cat([boxes[:, :4] + boxes[:, 5:] * sides, boxes[:, 4:]], dim=1)


def _squares(boxes: Candidates) -> Candidates:
    """The smallest squares around the same centres."""
    sides = boxes[:, 2:4] - boxes[:, :2]
    longer = sides.amax(dim=1, keepdim=True)
    first = boxes[:, :2] + sides * 0.5 - longer * 0.5
    return torch.cat([first, first + longer, boxes[:, 4:]], dim=1)


def _pixels(boxes: Candidates, on: AreaSums) -> Int32[np.ndarray, "_ 4"]:
    """Left, top, right and bottom edge of what a box, counting from 1, covers of its picture."""
    edges = boxes[:, :4].trunc().int().numpy()
    edges[:, :2] = np.maximum(edges[:, :2], 1) - 1
    edges[:, 2:] = np.minimum(edges[:, 2:], (on.width, on.height))
    return edges


# The three networks as facenet-pytorch defines them, on its own layers.


def _proposals(net: PNet, x: Tensor) -> tuple[Tensor, Tensor]:
    """[n, 3, h, w] -> shifts [n, rows, columns, 4] and scores [n, rows, columns]."""
    x = _pooled(net.conv1(x), net.prelu1, 2)
    x = net.prelu2(net.conv2(x))
    x = net.prelu3(net.conv3(x))
    x = x.permute(0, 2, 3, 1)
    head = torch.cat([net.conv4_1.weight, net.conv4_2.weight]).flatten(1)
    said = F.linear(x, head, torch.cat([net.conv4_1.bias, net.conv4_2.bias]))
    # The softmax of two is the sigmoid of their difference, and quicker.
    return said[..., 2:], (said[..., 1] - said[..., 0]).sigmoid()


def _refined(net: RNet, x: Tensor) -> tuple[Tensor, Tensor]:
    """[n, 3, 24, 24] -> shifts [n, 4] and scores [n]."""
    x = _pooled(net.conv1(x), net.prelu1, 3)
    x = _pooled(net.conv2(x), net.prelu2, 3)
    x = net.prelu3(net.conv3(x))
    x = net.prelu4(net.dense4(x.permute(0, 3, 2, 1).flatten(1)))
    return net.dense5_2(x), net.dense5_1(x).softmax(dim=1)[:, 1]


def _settled(net: ONet, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """[n, 3, 48, 48] -> shifts [n, 4], points [n, 10] (five x, five y) and scores [n]."""
    x = _pooled(net.conv1(x), net.prelu1, 3)
    x = _pooled(net.conv2(x), net.prelu2, 3)
    x = _pooled(net.conv3(x), net.prelu3, 2)
    x = net.prelu4(net.conv4(x))
    x = net.prelu5(net.dense5(x.permute(0, 3, 2, 1).flatten(1)))
    return net.dense6_2(x), net.dense6_3(x), net.dense6_1(x).softmax(dim=1)[:, 1]


def _pooled(x: Tensor, prelu: nn.PReLU, window: int) -> Tensor:
    """``max_pool2d(prelu(x), window, stride=2, ceil_mode=True)``.

    PReLU falls and then rises, or only rises, so over a window it is largest where x is largest or
    smallest; and so it need not be taken of every pixel.
    """
    return torch.maximum(
        prelu(_extremes(x, window, torch.maximum)), prelu(_extremes(x, window, torch.minimum))
    )


def _extremes(x: Tensor, window: int, of: Callable[..., Tensor]) -> Tensor:
    """The largest or smallest values of windows at every second place, as comparisons of whole
    shifted pictures; the last window of a row or column may be cut short."""
    for dim in (2, 3):
        count = -(-(x.shape[dim] - window) // 2) + 1
        first, *others = (_every_second(x, dim, start, count) for start in range(window))
        x = torch.empty_like(first)
        shared = others[0].shape[dim]
        of(first.narrow(dim, 0, shared), others[0], out=x.narrow(dim, 0, shared))
        x.narrow(dim, shared, count - shared).copy_(first.narrow(dim, shared, count - shared))
        for other in others[1:]:
            part = x.narrow(dim, 0, other.shape[dim])
            of(part, other, out=part)
    return x


def _every_second(x: Tensor, dim: int, start: int, count: int) -> Tensor:
    chosen = slice(start, start + 2 * count, 2)
    return x[:, :, chosen] if dim == 2 else x[:, :, :, chosen]
