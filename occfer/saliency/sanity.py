"""Does a map depend on what the network has learnt? (Adebayo et al., NeurIPS 2018)

Layers lose their training one after the other, from the output down. A map that tells something
of the network has to change; one that stays is a picture of the picture.
"""

import copy
from collections.abc import Iterator

import torch
from torch import nn

from occfer.fgw import FGW, PlainClassifier


@torch.no_grad()
def cascade(
    model: FGW | PlainClassifier, untrained: FGW | PlainClassifier
) -> Iterator[tuple[str, nn.Module]]:
    """The network with more and more of its layers taken from an untrained one.

    Args:
        model: stays as it is.
        untrained: of the same architecture, such as ``build_classifier`` gives for another seed.

    Yields:
        Pairs of the last layer that was replaced (``head``, ``attention`` where there is one that
        learns, then ``stage 4``, ``stage 3`` ... for ResNet18) and the network, the same object
        every time.
    """
    forgetful = copy.deepcopy(model)
    for (name, ours), (_, theirs) in zip(_layers(forgetful), _layers(untrained), strict=True):
        ours.load_state_dict(theirs.state_dict())
        yield name, forgetful


def _layers(model: FGW | PlainClassifier) -> list[tuple[str, nn.Module]]:
    """From the output down."""
    if isinstance(model, FGW):
        top, stages = [("head", model.head)], model.backbone.stages
        if any(True for _ in model.attention.parameters()):
            top.append(("attention", model.attention))
    else:
        top, stages = [("head", model.fc)], model.encoder.backbone.stages
    return top + [(f"stage {n + 1}", stages[n]) for n in reversed(range(len(stages)))]
