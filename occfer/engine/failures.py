"""What stops a run from inside, in one sentence: a loss or weights that are no numbers, too little
memory."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from occfer.engine.checkpoint import Place
from occfer.engine.supply import Batch
from occfer.files import save_tensors
from occfer.recipes import FinetuneRecipe, PretrainRecipe

NO_MEMORY = re.compile(
    r"out of memory|can't allocate memory|not enough memory|STATUS_ALLOC_FAILED"
    r"|storage size calculation overflowed",
    re.IGNORECASE,
)


class Reading:
    """The value of a loss on its way to the CPU.

    Asked for before the backward pass and looked at after it, it makes no GPU wait: the backward
    pass is under way while the CPU reads what the forward pass has found.
    """

    def __init__(self, loss: Tensor):
        self._value, self._arrived = loss.detach(), None
        if loss.device.type == "cuda":
            self._value = torch.empty_like(self._value, device="cpu", pin_memory=True)
            self._value.copy_(loss.detach(), non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def value(self) -> float:
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._value.item()


def refuse_loss(loss: float, batch: Batch, ids: list[str], folder: Path | None) -> None:
    """Stop a run whose loss is no number before its optimiser takes a step.

    The faces of the batch are kept as ``broken-*.safetensors`` in the run's folder: their pixels,
    and their ids in the file's metadata.
    """
    kept = "pass run=FOLDER to keep its pixels"
    if folder is not None and not math.isfinite(loss):
        path = (
            folder / f"broken-epoch{batch.epoch}-step{batch.step}-process{batch.rank}.safetensors"
        )
        words = {"ids": json.dumps(ids), "loss": str(loss)}
        try:
            save_tensors({"images": batch.images}, path, words)
            kept = f"its pixels and ids are in {path}"
        except OSError as error:
            kept = f"its pixels could not be kept: {error}"
    raise FloatingPointError(
        f"the loss became {loss} in epoch {batch.epoch}, step {batch.step}, and no weight was "
        f"changed by it; lower the learning rate, or look at the faces of that batch "
        f"({', '.join(ids[:3])}, …; {kept})."
    )


def all_finite(network: nn.Module) -> bool:
    """Whether every weight and statistic is a number; a GPU is waited for once."""
    tensors = [each for each in network.state_dict().values() if each.is_floating_point()]
    return bool(torch.stack([each.isfinite().all() for each in tensors]).all())


def refuse_weights(place: Place, recipe: PretrainRecipe | FinetuneRecipe) -> None:
    """Stop a run before weights that are no numbers are saved or returned.

    The loss tells of them one step later, so that nothing tells of the last step's.
    """
    raise FloatingPointError(
        f"the weights have diverged by epoch {place.epoch}, step {place.step}, some being NaN or "
        f"infinite, and the states saved before are as they were; lower learning_rate (now "
        f"{recipe.learning_rate}), in a folder of its own, because that is another run."
    )


@contextmanager
def memory_explained(recipe: PretrainRecipe | FinetuneRecipe) -> Iterator[None]:
    """Say which setting to lower where memory runs out, on a GPU or on a CPU."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not NO_MEMORY.search(str(error)):
            raise
        network = recipe.network
        width = "" if network.width is None else f", network.width (now {network.width})"
        raise MemoryError(
            f"memory ran out in training; lower batch_size (now {recipe.batch_size}), network.size "
            f"(now {network.size}){width} or take a smaller network.backbone (now "
            f"{network.backbone}), in a folder of its own, because that is another run."
        ) from error
