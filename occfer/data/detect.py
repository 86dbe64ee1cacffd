"""Faces and their five landmarks by MTCNN (§3.1), many pictures at a time.

The networks and weights are facenet-pytorch's, and so are the boxes; the way through them is not.
Each stage of the cascade (Zhang et al. 2016, doi:10.1109/LSP.2016.2603342) looks at the picture,
or at parts of it, shrunk: here from one table of sums a picture, however many scales and parts
there are. Where there are few channels, pooling goes over whole rows, since PyTorch's own is slow;
and what the first network finds on all pictures, of whatever sizes, passes the others together.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby

import numpy as np
import torch
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from facenet_pytorch.models.utils.detect_face import nms_numpy
from jaxtyping import Float32, Int32, UInt8
from torch import Tensor, nn
from torchvision.ops import nms

from occfer.data.areas import AreaSums

# What each of the three networks must give a face; from one scale of the pyramid to the next.
THRESHOLDS, SHRINK = (0.6, 0.7, 0.7), 0.709

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
        device: of the networks.

    Raises:
        ValueError: a face too small, or a device that is not here.
    """

    def __init__(
        self,
        min_face: int = 20,
        device: torch.device | str = "cpu",
    ) -> None:
        if min_face < 12:
            raise ValueError(f"min_face must be at least 12 pixels, got {min_face}.")
        self.min_face, self.device = min_face, require_device(device)
        networks = Proposals(), RNet(), ONet()
        networks[1].pool1 = _Pool()
        for network in networks:
            _take_bytes(network.conv1)
        self.propose, self.refine, self.settle = (
            network.to(self.device, memory_format=torch.channels_last).eval()
            for network in networks
        )

    def __call__(self, pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> list[Detections]:
        """The faces on each picture; on a CPU each of PyTorch's threads takes its share of them."""
        threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        order = sorted(range(len(pictures)), key=lambda n: pictures[n].shape)
        shares = [order[first::threads] for first in range(min(threads, len(order)))]
        found = _side_by_side(self._detect, [[pictures[n] for n in share] for share in shares])
        by_number = dict(zip(chain(*shares), chain(*found), strict=True))
        return [by_number[n] for n in range(len(pictures))]

    @torch.inference_mode()
    def _detect(self, pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> list[Detections]:
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
                shifts, scores = self.propose(self._input(shrunk))
                for n, shift, score in zip(members, shifts.cpu(), scores.cpu(), strict=True):
                    boxes = _candidates(shift, score, scale, THRESHOLDS[0])
                    found[n].append(_suppressed(boxes, 0.5))
        return [_suppressed(torch.cat(boxes), 0.7) for boxes in found]

    def _scales(self, side: int) -> Iterator[float]:
        scale = 12.0 / self.min_face
        left = side * scale
        while left >= 12:
            yield scale
            scale *= SHRINK
            left *= SHRINK

    def _second(self, sums: list[AreaSums], found: list[Candidates]) -> list[Candidates]:
        """The second one looks at the candidates, each at 24 x 24."""
        found, outputs = self._look(sums, found, 24, self.refine)
        better = []
        for boxes, (shifts, sure) in zip(found, outputs, strict=True):
            scores = sure[:, 1]
            good = scores > THRESHOLDS[1]
            boxes = torch.cat([boxes[good, :4], scores[good, None], shifts[good]], dim=1)
            better.append(_suppressed(boxes, 0.7))
        return better

    def _third(self, sums: list[AreaSums], found: list[Candidates]) -> list[Detections]:
        """The third one looks at what is left, at 48 x 48, and finds the five points too."""
        found, outputs = self._look(sums, found, 48, self.settle)
        faces = []
        for boxes, (shifts, points, sure) in zip(found, outputs, strict=True):
            scores = sure[:, 1]
            good = scores > THRESHOLDS[2]
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
        counts = [len(boxes) for boxes in inside]
        # Where there are none, the networks look at one part all the same, and nobody at them.
        pixels = np.concatenate(parts) if any(counts) else np.zeros((1, side, side, 3), np.float32)
        starts = range(0, len(pixels), PARTS)
        said = [network(self._input(pixels[start : start + PARTS])) for start in starts]
        joined = [torch.cat(each).cpu()[: sum(counts)] for each in zip(*said, strict=True)]
        return inside, list(zip(*(each.split(counts) for each in joined), strict=True))

    def _input(self, pixels: Float32[np.ndarray, "n h w 3"]) -> Float32[Tensor, "n 3 h w"]:
        """Channels last in memory."""
        return torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2)


def require_device(device: torch.device | str) -> torch.device:
    """A device by its name; says so where there is no such one."""
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as missing:
        raise ValueError(
            f"device should be cpu, or an accelerator that is here, such as cuda; got "
            f"{str(device)!r} ({str(missing).splitlines()[0][:80]})."
        ) from missing


def _side_by_side(
    detect: Callable[[list[np.ndarray]], list[Detections]], shares: list[list[np.ndarray]]
) -> list[list[Detections]]:
    """Each share in a thread of its own, within which PyTorch uses no others: the networks are so
    small that threads wait for each other when they share one picture."""
    if len(shares) < 2:
        return [detect(share) for share in shares]
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(len(shares), initializer=partial(torch.set_num_threads, 1)) as pool:
            return list(pool.map(detect, shares))
    finally:
        torch.set_num_threads(threads)


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


class Proposals(nn.Module):
    """facenet-pytorch's first network, of whole pictures, in fewer passes over them.

    PReLU rises or, where its slope is negative, falls and then rises; so over a window it is
    largest where x is or, in a channel that falls, where slope times x is. The convolution gives
    that product as a channel of its own. One pass of maxima then does, over sixteen channels, with
    which the convolution is quicker than with its ten; and PReLU is taken of a quarter of the
    pixels.
    """

    def __init__(self) -> None:
        super().__init__()
        net = PNet()
        slopes = net.prelu1.weight.detach()
        order = (slopes < 0).int().argsort(descending=True, stable=True)
        self.falling, slopes = int((slopes < 0).sum()), slopes[order]
        falls = slopes[: self.falling]
        with torch.no_grad():
            weight, bias = net.conv1.weight[order], net.conv1.bias[order]
            self.conv1 = nn.Conv2d(3, len(slopes) + self.falling, 3)
            self.conv1.weight.copy_(
                torch.cat([weight, weight[: self.falling] * falls[:, None, None, None]])
            )
            self.conv1.bias.copy_(torch.cat([bias, bias[: self.falling] * falls]))
            net.prelu1.weight.copy_(slopes)
            net.conv2.weight.copy_(net.conv2.weight[:, order])
            self.prelu1, self.conv2, self.prelu2 = net.prelu1, net.conv2, net.prelu2
            self.conv3, self.prelu3 = net.conv3, net.prelu3
            self.head = nn.Linear(32, 6)
            self.head.weight.copy_(torch.cat([net.conv4_1.weight, net.conv4_2.weight]).flatten(1))
            self.head.bias.copy_(torch.cat([net.conv4_1.bias, net.conv4_2.bias]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[n, 3, h, w] -> shifts [n, rows, columns, 4] and scores [n, rows, columns]."""
        largest = _largest(self.conv1(x), 2)
        x, falls = largest.split([len(self.prelu1.weight), self.falling], dim=1)
        x = self.prelu1(x)
        torch.maximum(x[:, : self.falling], falls, out=x[:, : self.falling])
        x = self.prelu2(self.conv2(x))
        x = self.prelu3(self.conv3(x))
        said = self.head(x.permute(0, 2, 3, 1))
        # The softmax of two is the sigmoid of their difference, and quicker.
        return said[..., 2:], (said[..., 1] - said[..., 0]).sigmoid()


class _Pool(nn.Module):
    """``MaxPool2d(3, 2, ceil_mode=True)``, twice as quick on a channels-last picture."""

    def forward(self, x: Tensor) -> Tensor:
        return _largest(x, 3)


def _largest(x: Tensor, window: int) -> Tensor:
    """The largest values of windows at every second place, as comparisons of whole shifted
    pictures; the last window of a row or column may be cut short."""
    for dim in (2, 3):
        count = -(-(x.shape[dim] - window) // 2) + 1
        first, *others = (_every_second(x, dim, start, count) for start in range(window))
        x = torch.empty_like(first)
        shared = others[0].shape[dim]
        torch.maximum(first.narrow(dim, 0, shared), others[0], out=x.narrow(dim, 0, shared))
        x.narrow(dim, shared, count - shared).copy_(first.narrow(dim, shared, count - shared))
        for other in others[1:]:
            part = x.narrow(dim, 0, other.shape[dim])
            torch.maximum(part, other, out=part)
    return x


def _every_second(x: Tensor, dim: int, start: int, count: int) -> Tensor:
    chosen = slice(start, start + 2 * count, 2)
    return x[:, :, chosen] if dim == 2 else x[:, :, :, chosen]


def _take_bytes(conv: nn.Conv2d) -> None:
    """Let a layer that was trained on (pixel - 127.5) / 128 take pixels from 0 to 255."""
    with torch.no_grad():
        conv.weight /= 128
        conv.bias -= 127.5 * conv.weight.sum(dim=(1, 2, 3))
