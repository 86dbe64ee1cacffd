"""What pre-training and fine-tuning share: devices, optimisers, and being stopped politely."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from occfer.recipes import FinetuneRecipe, PretrainRecipe

Watcher = Callable[[nn.Module, Mapping[str, Any]], Mapping[str, Any]]
"""Called after each epoch with the network and the epoch's row; returns values to add to the row.

The network is in evaluation mode and must be left as it is. Values are plain JSON values and a
function of network and row alone: a run that is stopped right after an epoch asks again.
"""


class StopRequest:
    """Set by Ctrl-C; the loop finishes its step, saves, and then obeys."""

    def __init__(self):
        self.asked = False

    def obey(self) -> None:
        """Stop here if asked to; whoever calls has saved just before."""
        if self.asked:
            raise KeyboardInterrupt("stopped and saved; the same call goes on from here.")


@contextmanager
def stop_on_interrupt() -> Iterator[StopRequest]:
    """Turn the first Ctrl-C (or SIGTERM) into a request; a second one stops at once.

    A weight update that is cut in half cannot be resumed exactly, so the loop asks between steps.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(number, frame):
        if request.asked:
            raise KeyboardInterrupt
        request.asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def default_fabric(precision: str) -> Fabric:
    """One device: the GPU where there is one, else the CPU."""
    return Fabric(accelerator="auto", devices=1, precision=precision)


def build_optimizer(model: nn.Module, recipe: PretrainRecipe | FinetuneRecipe) -> Optimizer:
    """Adam (0.9, 0.999) or SGD with momentum, fused into one kernel."""
    options = dict(lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
    if recipe.optimizer == "adam":
        return Adam(model.parameters(), betas=(0.9, 0.999), **options)
    if recipe.optimizer == "sgd":
        return SGD(model.parameters(), momentum=getattr(recipe, "momentum", 0.9), **options)
    raise ValueError(f"optimizer must be 'adam' or 'sgd', got {recipe.optimizer!r}.")


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """One rate for all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def watched(watchers: Sequence[Watcher], model: nn.Module, row: dict[str, Any]) -> dict[str, Any]:
    """The row with what every watcher adds; modes and global random state are as before."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    with torch.random.fork_rng():
        for watcher in watchers:
            row = {**row, **watcher(model, row)}
    for module, training in modes.items():
        module.training = training
    return row


def channels_last(images: Tensor) -> Tensor:
    """The memory layout in which convolutions are fastest; values stay."""
    return images.contiguous(memory_format=torch.channels_last)


def check_finite(loss: float, epoch: int, step: int, ids: list[str]) -> None:
    """Stop a run whose loss is no number, and say where to look."""
    if loss != loss or loss in (float("inf"), float("-inf")):
        raise FloatingPointError(
            f"the loss became {loss} in epoch {epoch}, step {step}; lower the learning rate, or "
            f"look at the faces of that batch ({', '.join(ids[:3])}, …)."
        )
