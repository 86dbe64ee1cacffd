"""The way of faces into a training step: a fresh order each epoch, whole batches at a time."""

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from occfer.randomness import generator_for

# Places in a run that draw from generators of their own; see ``generator_for``.
ORDER, VIEWS, PROBE = 1, 2, 3

LEAST = 2
"""Faces of the smallest batch: batch normalisation sees no spread in a single one."""


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """The order in which epoch ``epoch`` visits ``count`` faces; the same whenever asked."""
    return torch.randperm(count, generator=generator_for(seed, ORDER, epoch))


def epoch_batches(
    count: int, batch_size: int, seed: int, epoch: int, first: int = 0, least: int = LEAST
) -> Iterator[tuple[int, Tensor]]:
    """(step, indices) of every batch of an epoch from step ``first`` on.

    The last batch may be short; one of fewer than ``least`` faces joins the batch before it.
    """
    batches = list(epoch_order(count, seed, epoch).split(batch_size))
    if len(batches) > 1 and len(batches[-1]) < least:
        batches[-2:] = [torch.cat(batches[-2:])]
    yield from list(enumerate(batches))[first:]


def steps_per_epoch(count: int, batch_size: int, least: int = LEAST) -> int:
    """How many batches :func:`epoch_batches` yields."""
    full, rest = divmod(count, batch_size)
    return full + (rest >= least or not full)


def view_generator(seed: int, epoch: int, step: int, rank: int = 0) -> Generator:
    """What the views of one batch are drawn from; each process has its own."""
    return generator_for(seed, VIEWS, epoch, step, *([rank] if rank else []))
