"""Runs of a few seconds, and a way to be there when a training step begins."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

from occfer.fgw import FGW, PlainClassifier
from occfer.ocl import OCL
from occfer.recipes import FinetuneRecipe, NetworkRecipe, PretrainRecipe

# Eight channels at least: with four, oneDNN's AVX2 kernels write beyond a channels-last gradient.
TINY = NetworkRecipe(width=8, stem="small", size=24)


@pytest.fixture(scope="session")
def ocl_recipe() -> Callable[..., PretrainRecipe]:
    """40 toy faces in three steps an epoch, three epochs."""

    def make(**changes) -> PretrainRecipe:
        values = dict(
            network=TINY,
            batch_size=16,
            epochs=3,
            learning_rate=1e-3,
            projector_hidden=16,
            projector_dimensions=8,
        )
        return PretrainRecipe(**{**values, **changes})

    return make


@pytest.fixture(scope="session")
def fgw_recipe() -> Callable[..., FinetuneRecipe]:
    """40 toy faces in three steps an epoch, three epochs."""

    def make(**changes) -> FinetuneRecipe:
        values = dict(network=TINY, batch_size=16, epochs=3, learning_rate=3e-3)
        return FinetuneRecipe(**{**values, **changes})

    return make


@pytest.fixture(scope="session")
def at_training_step() -> Callable:
    """``with at_training_step(n, action):`` calls ``action`` when step ``n`` of a run begins."""

    @contextmanager
    def watching(number: int, action: Callable[[], None]) -> Iterator[None]:
        seen = 0

        def before(module: nn.Module, _) -> None:
            nonlocal seen
            if isinstance(module, OCL | FGW | PlainClassifier) and module.training:
                if seen == number:
                    action()
                seen += 1

        hook = register_module_forward_pre_hook(before)
        try:
            yield
        finally:
            hook.remove()
        assert seen > number, f"the run had {seen} steps only"

    return watching


@pytest.fixture
def learning_rates() -> Iterator[list[float]]:
    """The rate of every optimiser step, as the optimiser itself takes it."""
    rates: list[float] = []
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])
    )
    yield rates
    hook.remove()
