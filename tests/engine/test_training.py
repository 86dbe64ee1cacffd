import inspect
import os
import signal

import pytest
import torch
from torch import nn

from occfer.engine.stopping import stop_on_interrupt
from occfer.engine.training import (
    build_optimizer,
    channels_last,
    default_fabric,
    set_learning_rate,
)
from occfer.recipes import FinetuneRecipe, PretrainRecipe


def handlers() -> list:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_request_and_the_second_stops_at_once(number) -> None:
    before = handlers()
    with pytest.raises(KeyboardInterrupt), stop_on_interrupt() as stop:  # noqa: PT012
        assert not stop.asked
        os.kill(os.getpid(), number)
        assert stop.asked
        os.kill(os.getpid(), number)
    assert handlers() == before


def test_handlers_are_put_back() -> None:
    before = handlers()
    with stop_on_interrupt():
        assert handlers() != before
    assert handlers() == before


def test_adam_is_the_paper_s() -> None:
    optimizer = build_optimizer(nn.Linear(2, 2), FinetuneRecipe())
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.defaults["betas"] == (0.9, 0.999)
    assert optimizer.defaults["lr"] == 0.00025
    assert optimizer.defaults["weight_decay"] == 0


@pytest.mark.parametrize("kind", [PretrainRecipe, FinetuneRecipe])
def test_sgd_has_momentum(kind) -> None:
    optimizer = build_optimizer(nn.Linear(2, 2), kind(optimizer="sgd", learning_rate=0.01))
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["momentum"] == 0.9


def test_an_unknown_optimiser_is_refused() -> None:
    class Recipe:
        optimizer, learning_rate, weight_decay = "lion", 0.1, 0.0

    with pytest.raises(ValueError, match="optimizer must be 'adam' or 'sgd', got 'lion'"):
        inspect.unwrap(build_optimizer)(nn.Linear(2, 2), Recipe())


def test_the_rate_is_set_in_every_group() -> None:
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.Adam([{"params": [layer.weight]}, {"params": [layer.bias], "lr": 9.0}])
    set_learning_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]


def test_the_memory_layout_changes_and_no_value(pictures) -> None:
    images = pictures(2, 3, 4, 5)
    laid_out = channels_last(images)
    assert torch.equal(laid_out, images)
    assert laid_out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_a_precision_in_which_weights_are_rounded_is_refused(precision) -> None:
    mixed = precision.replace("true", "mixed")
    with pytest.raises(ValueError, match=f"got precision '{precision}'; take '{mixed}'"):
        default_fabric(precision)
