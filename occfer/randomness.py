"""Where chance comes from: generators that are passed in, or derived from (seed, epoch, step).

No function of this library reads PyTorch's global random state. A training step draws from a
generator that is a pure function of its place in the run, so that a run which was stopped and
started again draws what the uninterrupted run would have drawn.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor


def fresh_generator(device: torch.device | str = "cpu") -> Generator:
    """A generator seeded by the operating system, for callers who do not care to replay."""
    generator = Generator(device=device)
    generator.seed()
    return generator


def generator_for(*place: int, device: torch.device | str = "cpu") -> Generator:
    """The generator that belongs to one place in a run, such as ``(seed, epoch, step)``.

    The integers are mixed by NumPy's ``SeedSequence``, so that neighbours among places of one
    length draw nothing alike. It fills up places of fewer than four numbers with zeros: ``(1, 2)``
    and ``(1, 2, 0)`` are one place, so whoever mixes lengths ends none of them in 0.

    Raises:
        ValueError: a number outside of [0, 2³²), where two places could fall together.
    """
    if not all(0 <= number < 2**32 for number in place):
        raise ValueError(
            f"seed, epoch and step must lie in [0, 2³²), got {place}; choose a smaller seed."
        )
    state = np.random.SeedSequence(place).generate_state(1, np.uint64)[0]
    return Generator(device=device).manual_seed(int(state))


@contextmanager
def seeded_modules(seed: int) -> Iterator[None]:
    """Inside this block new modules initialise their weights from ``seed`` alone.

    ``nn.Module`` initialisers can only read the global state, so it is set here and put back.
    """
    with torch.random.fork_rng(devices=[]):
        # The CPU's alone, where modules are made: torch.manual_seed would reset every GPU's, too.
        torch.default_generator.manual_seed(seed)
        yield


def uniform(
    low: float, high: float, *shape: int, generator: Generator, device: torch.device | str = "cpu"
) -> Float[Tensor, "..."]:
    """Samples of U(low, high), drawn on the generator's device and moved to ``device``."""
    sample = torch.rand(*shape, generator=generator, device=generator.device)
    return sent(low + (high - low) * sample, device)


def coin(
    probability: float, *shape: int, generator: Generator, device: torch.device | str = "cpu"
) -> Tensor:
    """Independent coins, ``True`` with the given probability."""
    sample = torch.rand(*shape, generator=generator, device=generator.device)
    return sent(sample < probability, device)


def sent(drawn: Tensor, device: torch.device | str) -> Tensor:
    """What was drawn, on ``device``; a GPU fetches it from pinned memory when it comes to it.

    A plain copy would wait for all that the GPU still has to do.
    """
    if drawn.is_cuda or torch.device(device).type != "cuda":
        return drawn.to(device)
    return drawn.pin_memory().to(device, non_blocking=True)
