"""OCL pre-training (§2.2, §3.2): two occluded views of every face, and the loss of (1)."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from tqdm.auto import tqdm

from occfer.data.faceset import FaceSet
from occfer.engine.batches import VIEWS, epoch_batches, steps_per_epoch
from occfer.engine.checkpoint import Checkpoints
from occfer.engine.training import (
    Watcher,
    build_optimizer,
    channels_last,
    check_finite,
    default_fabric,
    set_learning_rate,
    stop_on_interrupt,
    watched,
)
from occfer.ocl import OCL, Encoder, Projector, nt_xent
from occfer.randomness import generator_for, seeded_modules
from occfer.recipes import PretrainRecipe, as_dict, pretraining
from occfer.views import TwoViews


@dataclass
class Pretrained:
    """What comes out: the encoder, and one row (epoch, loss, seconds) per epoch."""

    encoder: Encoder
    history: list[dict[str, Any]]
    seconds: float


def build_encoder(recipe: PretrainRecipe) -> Encoder:
    """The encoder of a recipe, initialised from its seed."""
    network = recipe.network
    with seeded_modules(recipe.seed):
        return Encoder(network.backbone, width=network.width, stem=network.stem)


def build_ocl(recipe: PretrainRecipe) -> OCL:
    """Encoder and projector of a recipe, initialised from its seed."""
    encoder = build_encoder(recipe)
    with seeded_modules(recipe.seed + 1):
        projector = Projector(
            encoder.channels, recipe.projector_hidden, recipe.projector_dimensions
        )
    return OCL(encoder, projector)


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
            there when called again with the same recipe and faces.
        fabric: device and precision; by default one device and the recipe's precision.
        progress: show a bar.
        watchers: see :data:`occfer.engine.training.Watcher`; they are given the :class:`OCL`.
    """
    recipe = recipe or pretraining()
    if len(faces) < 2:
        raise ValueError(f"OCL needs at least 2 faces to tell apart, got {len(faces)}.")
    fabric = fabric or default_fabric(recipe.precision)
    model = build_ocl(recipe).to(memory_format=torch.channels_last)
    optimizer = build_optimizer(model, recipe)
    model, optimizer = fabric.setup(model, optimizer)
    two_views = TwoViews(recipe.network.size, recipe.one_view, **asdict(recipe.views))
    checkpoints = Checkpoints(run, {**as_dict(recipe), "faces": faces.sha256})
    place, _ = checkpoints.resume(model, optimizer)

    total = recipe.epochs * steps_per_epoch(len(faces), recipe.batch_size)
    done = place.epoch * steps_per_epoch(len(faces), recipe.batch_size) + place.step
    bar = tqdm(total=total, initial=done, desc="OCL", unit="step", disable=not progress)
    started = saved = time.monotonic()
    before = place.seconds
    with stop_on_interrupt() as stop, bar:
        while place.epoch < recipe.epochs:
            model.train()
            set_learning_rate(optimizer, recipe.learning_rate_at(place.epoch))
            for step, index in epoch_batches(
                len(faces), recipe.batch_size, recipe.seed, place.epoch, place.step
            ):
                generator = generator_for(recipe.seed, VIEWS, place.epoch, step)
                views = two_views(faces.images[index].to(fabric.device), generator)
                z1, z2 = model(channels_last(torch.cat(views))).chunk(2)
                loss = nt_xent(z1, z2, recipe.temperature)
                optimizer.zero_grad()
                fabric.backward(loss)
                optimizer.step()

                value = loss.item()
                check_finite(value, place.epoch, step, [faces.ids[i] for i in index[:3]])
                place.step = step + 1
                place.sums["loss"] = place.sums.get("loss", 0.0) + value * len(index)
                bar.update()
                now = time.monotonic()
                place.seconds = before + now - started
                if stop.asked:
                    checkpoints.save(place, model, optimizer)
                    stop.obey()
                if now - saved > recipe.save_every_seconds:
                    checkpoints.save(place, model, optimizer)
                    saved = now
            row = {
                "epoch": place.epoch + 1,
                "loss": place.sums["loss"] / len(faces),
                "seconds": place.seconds,
            }
            place.history.append(watched(watchers, model.module, row))
            place.epoch, place.step, place.sums = place.epoch + 1, 0, {}
            bar.set_postfix(loss=f"{row['loss']:.3f}")
        checkpoints.save(place, model, optimizer)
        stop.obey()
    encoder = model.module.encoder
    return Pretrained(encoder.eval(), place.history, place.seconds)
