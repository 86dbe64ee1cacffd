"""How pixels reach the device: they lie there where they fit, else they are streamed.

A set that fits into half of a GPU's free memory is copied there once. A larger one stays where it
is, such as in a memory-mapped file, and a thread reads ahead into a ring of pinned buffers, from
which the GPU fetches while it computes. The ring never takes more than ``RAM_BYTES``; the pages of
a mapped file belong to the system, which takes them back when it needs them.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from occfer.data.faceset import FaceSet
from occfer.engine.batches import epoch_batches
from occfer.engine.team import Team
from occfer.randomness import sent

RAM_BYTES = 256 * 2**20
"""The most memory that streaming takes, on top of one batch on the device."""
SLOTS = 4
"""Buffers of the ring: one in use, one on its way, and two to even out a slow disk."""


@dataclass(frozen=True)
class Batch:
    """The part of one batch that falls to this process; ``whole`` counts the faces of all.

    ``images`` may be a buffer that the next batch overwrites.
    """

    epoch: int
    step: int
    index: Int64[Tensor, " faces"]
    images: UInt8[Tensor, "faces channels height width"]
    labels: Int64[Tensor, " faces"]
    whole: int
    rank: int = 0


class Supply:
    """The batches of a run on its device.

    Args:
        faces: any size, wherever they lie.
        device: where batches are wanted.
        streamed: read ahead through buffers; left out, this is decided by what fits.
        ram_bytes: bound of the buffers.

    Raises:
        ValueError: two batches are more than ``ram_bytes``.
    """

    def __init__(
        self,
        faces: FaceSet,
        batch_size: int,
        seed: int,
        device: torch.device,
        team: Team,
        streamed: bool | None = None,
        ram_bytes: int = RAM_BYTES,
    ):
        self.batch_size, self.seed, self.device, self.team = batch_size, seed, device, team
        self._images, self._labels = faces.images, faces.labels.to(device)
        if streamed is None:
            streamed = device.type == "cuda" and not _fits(faces, device)
        self._ring, self.streamed = None, streamed
        if streamed:
            self._ring = _ring(faces, -(-(batch_size + team.least) // team.size), device, ram_bytes)
        elif device.type == "cuda":
            self._images = faces.images.to(device)

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step ``first`` on."""
        places = epoch_batches(
            len(self._images), self.batch_size, self.seed, epoch, first, self.team.least
        )
        shares = ((step, self.team.part(index), len(index)) for step, index in places)
        pixels = self._gathered if self._ring is None else self._streamed
        for (step, index, whole), images in pixels(shares):
            labels = self._labels[sent(index, self.device)]
            yield Batch(epoch, step, index, images, labels, whole, self.team.rank)

    def _gathered(self, shares):
        for share in shares:
            index = sent(share[1], self._images.device)
            yield share, self._images[index].to(self.device)

    def _streamed(self, shares):
        with ThreadPoolExecutor(1, thread_name_prefix="faces") as reader:

            def order(slot, share):
                return share, slot, reader.submit(slot.fill, self._images, share[1])

            ordered = deque(order(*each) for each in zip(self._ring, shares, strict=False))
            while ordered:
                share, slot, filled = ordered.popleft()
                filled.result()
                yield share, slot.sent(len(share[1]), self.device)
                ordered.extend(order(slot, following) for following in _next(shares))


def _next(shares: Iterator) -> Iterator:
    for share in shares:
        yield share
        return


class _Slot:
    """One buffer of the ring; it is filled again only when its faces have left it."""

    def __init__(self, shape: tuple[int, ...], pinned: bool):
        self._buffer = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
        self._left = torch.cuda.Event() if pinned else None

    def fill(self, images: Tensor, index: Tensor) -> None:
        if self._left is not None:
            self._left.synchronize()
        torch.index_select(images, 0, index, out=self._buffer[: len(index)])

    def sent(self, count: int, device: torch.device) -> Tensor:
        images = self._buffer[:count].to(device, non_blocking=True)
        if self._left is not None:
            self._left.record()
        return images


def _ring(faces: FaceSet, batch: int, device: torch.device, ram_bytes: int) -> list[_Slot]:
    shape = (min(batch, len(faces)), *faces.images.shape[1:])
    # PyTorch rounds pinned memory up to a power of two.
    each = 1 << (torch.Size(shape).numel() - 1).bit_length()
    count = min(SLOTS, ram_bytes // each)
    if count < 2:
        raise ValueError(
            f"streaming needs room for two batches, 2 x {each / 2**20:.1f} MiB, but may take "
            f"{ram_bytes / 2**20:.1f} MiB; lower batch_size."
        )
    return [_Slot(shape, pinned=device.type == "cuda") for _ in range(count)]


def _fits(faces: FaceSet, device: torch.device) -> bool:
    if faces.device.type == device.type:
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return faces.images.nbytes <= free // 2
