"""Layers lose their training from the output down, and nothing else changes."""

import pytest
import torch

from occfer import FGW, PlainClassifier
from occfer.randomness import seeded_modules
from occfer.saliency import cascade

SMALL = dict(width=8, stem="small", size=24)


def pair(kind, images, **options):
    """Two networks that differ in their weights and in the statistics of what they have seen."""
    built = []
    for seed in (0, 1):
        with seeded_modules(seed):
            built.append(kind(**SMALL, **options).train())
        built[-1](images + seed)
        built[-1].eval()
    return built


@pytest.mark.parametrize(
    ("kind", "options", "top"),
    [
        (FGW, {}, ["head", "attention"]),
        (FGW, dict(attention="none"), ["head"]),
        (PlainClassifier, {}, ["head"]),
    ],
)
def test_each_step_forgets_one_layer_more(kind, options, top, pictures) -> None:
    images = pictures(2, 3, 24, 24)
    trained, untrained = pair(kind, images, **options)
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    other = untrained.state_dict()
    differing, names = [], []
    for name, model in cascade(trained, untrained):
        names.append(name)
        state = model.state_dict()
        kept = {key for key in state if torch.equal(state[key], before[key])}
        assert all(key in kept or torch.equal(state[key], other[key]) for key in state)
        differing.append(len(state) - len(kept))
    assert names == [*top, "stage 4", "stage 3", "stage 2", "stage 1"]
    assert differing == sorted(set(differing))
    assert torch.equal(model(images).logits, untrained(images).logits)
    assert all(torch.equal(before[name], value) for name, value in trained.state_dict().items())
