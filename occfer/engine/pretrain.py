"""OCL pre-training (§2.2, §3.2): two occluded views of every face, and the loss of (1)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from occfer.data.faceset import FaceSet
from occfer.engine.batches import view_generator
from occfer.engine.run import running
from occfer.engine.supply import Batch
from occfer.engine.training import Watcher, channels_last, default_fabric
from occfer.ocl import OCL, Encoder, Projector, nt_xent
from occfer.randomness import seeded_modules
from occfer.recipes import PretrainRecipe, network_options, pretraining
from occfer.views import TwoViews


@dataclass
class Pretrained:
    """What comes out: the encoder, and one row (epoch, loss, seconds) per epoch."""

    encoder: Encoder
    history: list[dict[str, Any]]
    seconds: float


def build_encoder(recipe: PretrainRecipe) -> Encoder:
    """The encoder of a recipe, initialised from its seed."""
    _, options = network_options(recipe)
    with seeded_modules(recipe.seed):
        return Encoder(**options)


def build_ocl(recipe: PretrainRecipe) -> OCL:
    """Encoder and projector of a recipe, initialised from its seed."""
    encoder = build_encoder(recipe)
    with seeded_modules(recipe.seed + 1):
        projector = Projector(
            encoder.channels, recipe.projector_hidden, recipe.projector_dimensions
        )
    return OCL(encoder, projector)


def build_views(recipe: PretrainRecipe) -> TwoViews:
    """What draws the two views of a recipe."""
    return TwoViews(recipe.network.size, recipe.one_view, **asdict(recipe.views))


def pretrain(
    faces: FaceSet,
    recipe: PretrainRecipe | None = None,
    run: str | Path | None = None,
    fabric: Fabric | None = None,
    progress: bool = True,
    watchers: Sequence[Watcher] = (),
) -> Pretrained:
    """Learn an encoder from faces alone; labels are never looked at.

    Args:
        faces: the pool; any size, resampled to ``recipe.network.size``.
        recipe: ``recipes.pretraining()`` of the current tier where left out.
        run: folder for checkpoints. A run that was stopped (Ctrl-C saves first) goes on from
            there when called again with the same recipe and faces; on a CPU it ends in the very
            weights of a run that was never stopped if ``torch.get_num_threads()`` is the same, too.
        fabric: device and precision; by default one device and the recipe's precision.
        progress: show a bar.
        watchers: see :data:`occfer.engine.training.Watcher`; they are given the :class:`OCL`.
    """
    recipe = recipe or pretraining()
    if len(faces) < 2:
        raise ValueError(f"OCL needs at least 2 faces to tell apart, got {len(faces)}.")
    fabric = fabric or default_fabric(recipe.precision)
    two_views = build_views(recipe)

    def measure(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        generator = view_generator(recipe.seed, batch.epoch, batch.step, batch.rank)
        views = two_views(batch.images, generator)
        z1, z2 = training.model(channels_last(torch.cat(views))).chunk(2)
        join = partial(training.team.join, whole=batch.whole) if training.team.size > 1 else None
        loss = nt_xent(z1, z2, recipe.temperature, join, check=False)
        return loss, {"loss": loss}

    with running(
        build_ocl(recipe), faces, recipe, {"faces": faces.sha256}, run, fabric, watchers,
        "OCL", progress,
    ) as training:  # fmt: skip
        while training.place.epoch < recipe.epochs:
            training.end_epoch(training.epoch(measure))
    training.settle()
    return Pretrained(
        training.network.encoder.eval(), training.place.history, training.place.seconds
    )
