"""Several processes that train one network: who does what, and how they agree.

The batch size of a recipe counts the faces of all processes, and each takes its part of every
batch, so a run is the same run on one process or on many, up to the views that are drawn. Where
something has to be decided (is the loss a number, has somebody pressed Ctrl-C, is it time to
save) all hear of it in the same step.
"""

import os
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor

from occfer.engine.batches import LEAST

T = TypeVar("T")


def is_first_process() -> bool:
    """Whether this process writes files and talks; on its own it always is the first."""
    return (
        int(os.environ.get("RANK", 0)) == 0 if not dist.is_initialized() else dist.get_rank() == 0
    )


class _Sum(torch.autograd.Function):
    """What every process adds to, every process gets, so its gradients come from all of them."""

    @staticmethod
    def forward(_, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_, gradient: Tensor) -> Tensor:
        return _Sum.forward(_, gradient)


def summed(values: Tensor) -> Tensor:
    """The sum of one tensor of every process, with gradients."""
    return _Sum.apply(values)


class Team:
    """The processes of a run as one of them sees them; a process alone is a team of one."""

    def __init__(self, fabric: Fabric):
        self._fabric = fabric
        self.size: int = fabric.world_size
        self.rank: int = fabric.global_rank
        # Words between processes go over the CPU, so that no GPU is waited for.
        self._words = dist.new_group(backend="gloo") if self.size > 1 else None

    @property
    def least(self) -> int:
        """Faces of the smallest batch, so that every process has enough of it."""
        return LEAST * self.size

    def part(self, batch: Tensor) -> Tensor:
        """The rows of a batch that fall to this process; parts differ in length by one at most."""
        return batch.tensor_split(self.size)[self.rank]

    def join(self, rows: Tensor, whole: int) -> Tensor:
        """The rows [n, D] of all processes in their order, [whole, D]; gradients flow back.

        Parts may differ in length, so each lies at its place among zeros, and all are added.
        """
        start = int(self.part(torch.arange(whole))[0])
        return summed(F.pad(rows, (0, 0, start, whole - start - len(rows))))

    def weigh(self, loss: Tensor, count: int, whole: int) -> Tensor:
        """A mean over ``count`` of ``whole`` faces, such that the mean of the processes' gradients,
        which data-parallel training takes, is the gradient of the mean over all."""
        return loss if self.size == 1 else loss * (count * self.size / whole)

    def any(self, *said: bool) -> tuple[bool, ...]:
        """For each question, whether any process says yes; all get the same answers."""
        if self._words is None:
            return said
        answers = torch.tensor(said, dtype=torch.uint8)
        dist.all_reduce(answers, dist.ReduceOp.MAX, group=self._words)
        return tuple(answers.bool().tolist())

    def each(self, values: Tensor) -> Tensor:
        """The float64 values [n] of every process, [processes, n]."""
        if self._words is None:
            return values[None]
        gathered = [torch.empty_like(values) for _ in range(self.size)]
        dist.all_gather(gathered, values, group=self._words)
        return torch.stack(gathered)

    def first(self, ask: Callable[[], T]) -> T:
        """What the first process answers; the others wait for it."""
        return self._fabric.broadcast(ask() if self.rank == 0 else None)
