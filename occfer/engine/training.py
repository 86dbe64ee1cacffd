"""What pre-training and fine-tuning share: devices, optimisers, layouts, and who may watch."""

import os
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
function of network and row alone: a run that is stopped right after an epoch asks again. With
several processes only the first one watches.
"""


def default_fabric(precision: str) -> Fabric:
    """One device, a GPU of CUDA where there is one; or the processes that ``torchrun`` has started.

    Apple's GPUs are not tried, since PyTorch lacks operations of ours there: pass a Fabric of your
    own to try one.

    Raises:
        ValueError: the weights themselves would be kept in half precision.
    """
    if precision in ("bf16-true", "16-true"):
        raise ValueError(
            f"weights should be kept in at least single precision, got precision {precision!r}; "
            f"take {precision.replace('true', 'mixed')!r}, which computes in half and keeps them."
        )
    accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    here, everywhere = (int(os.environ.get(f"{of}WORLD_SIZE", 1)) for of in ("LOCAL_", ""))
    if everywhere == 1:
        return Fabric(accelerator=accelerator, devices=1, precision=precision)
    fabric = Fabric(
        accelerator=accelerator,
        devices=here,
        num_nodes=everywhere // here,
        strategy="ddp",
        precision=precision,
    )
    fabric.launch()
    return fabric


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
    with evaluating(model), torch.random.fork_rng():
        for watcher in watchers:
            row = {**row, **watcher(model, row)}
    return row


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """A network in evaluation mode; after it each module is in its own again, whatever happens.

    Somebody may have frozen a part of a network in training, such as its batch normalisation.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def channels_last(images: Tensor) -> Tensor:
    """The memory layout in which convolutions are fastest; values stay."""
    return images.contiguous(memory_format=torch.channels_last)
