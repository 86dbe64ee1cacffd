"""Fine-tuning (§2.3, §2.4, §3.2): labelled faces, the loss of (10), early stop on validation."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn
from tqdm.auto import tqdm

from occfer.data.faceset import FaceSet
from occfer.emotions import EMOTIONS
from occfer.engine.batches import VIEWS, epoch_batches, steps_per_epoch
from occfer.engine.checkpoint import Checkpoints
from occfer.engine.evaluate import evaluate
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
from occfer.fgw import FGW, PlainClassifier
from occfer.lgds import LocalGlobalLoss, true_class_probability
from occfer.ocl import Encoder
from occfer.randomness import generator_for, seeded_modules
from occfer.recipes import FinetuneRecipe, as_dict, finetuning
from occfer.views import RandomView


@dataclass
class Finetuned:
    """The network at its best validation epoch, and one row per epoch."""

    model: nn.Module
    history: list[dict[str, Any]]
    best_epoch: int
    seconds: float


def build_classifier(recipe: FinetuneRecipe, encoder: Encoder | None = None) -> nn.Module:
    """The network of a recipe, initialised from its seed, its backbone from ``encoder``."""
    network = recipe.network
    backbone = dict(
        backbone=network.backbone,
        width=network.width,
        stem=network.stem,
        pretrained=recipe.pretrained,
        num_classes=len(EMOTIONS),
    )
    with seeded_modules(recipe.seed):
        if recipe.method == "plain":
            model = PlainClassifier(size=network.size, **backbone)
        elif recipe.method == "fgw":
            model = FGW(
                size=network.size,
                regions=recipe.regions,
                corner=recipe.corner,
                centre=recipe.centre,
                share=recipe.share,
                attention=recipe.attention,
                attention_after=recipe.attention_after,
                official=recipe.official,
                head=recipe.head,
                fusion=recipe.fusion,
                **backbone,
            )
        else:
            raise ValueError(f"method must be 'plain' or 'fgw', got {recipe.method!r}.")
    if encoder is not None:
        model.load_encoder(encoder)
    return model


def build_loss(recipe: FinetuneRecipe):
    """(10) for FGW; the cross-entropy of (9) for the plain network."""
    if recipe.method == "plain":
        return lambda output, targets: F.cross_entropy(output.logits.float(), targets)
    return LocalGlobalLoss(
        recipe.restrain_weight, recipe.detach_regions, region_ce=recipe.head == "separate+ce"
    )


def finetune(
    train: FaceSet,
    validation: FaceSet,
    recipe: FinetuneRecipe | None = None,
    encoder: Encoder | None = None,
    run: str | Path | None = None,
    fabric: Fabric | None = None,
    progress: bool = True,
    watchers: Sequence[Watcher] = (),
) -> Finetuned:
    """Train a classifier; the epoch with the best validation accuracy is what is returned.

    Args:
        train, validation: labelled faces. The test split has no business here.
        recipe: ``recipes.finetuning()`` of the current tier where left out.
        encoder: pre-trained by :func:`occfer.pretrain`; without it weights are random, or
            ImageNet's where the recipe says ``pretrained``.
        run, fabric, progress, watchers: as for :func:`occfer.pretrain`; watchers are given the
            classifier.
    """
    recipe = recipe or finetuning()
    for faces in (train, validation):
        if bool((faces.labels < 0).any()) or not len(faces):
            raise ValueError(
                f"fine-tuning needs faces with a label each, but {faces!r} holds unlabelled ones "
                "or none at all; leave those out with faces[faces.labels >= 0]."
            )
    fabric = fabric or default_fabric(recipe.precision)
    model = build_classifier(recipe, encoder).to(memory_format=torch.channels_last)
    optimizer = build_optimizer(model, recipe)
    model, optimizer = fabric.setup(model, optimizer)
    loss_function = build_loss(recipe)
    view = RandomView(size=min(train.size), **asdict(recipe.views))
    checkpoints = Checkpoints(
        run,
        {
            **as_dict(recipe),
            "train": train.sha256,
            "validation": validation.sha256,
            "encoder": None if encoder is None else fingerprint(encoder),
        },
    )
    place, best = checkpoints.resume(model, optimizer)

    steps = steps_per_epoch(len(train), recipe.batch_size)
    bar = tqdm(
        total=recipe.epochs * steps,
        initial=place.epoch * steps + place.step,
        desc=recipe.method,
        unit="step",
        disable=not progress,
    )
    started = saved = time.monotonic()
    before = place.seconds
    with stop_on_interrupt() as stop, bar:
        while place.epoch < recipe.epochs and not _patience_is_out(place, recipe):
            model.train()
            set_learning_rate(optimizer, recipe.learning_rate_at(place.epoch))
            for step, index in epoch_batches(
                len(train), recipe.batch_size, recipe.seed, place.epoch, place.step
            ):
                generator = generator_for(recipe.seed, VIEWS, place.epoch, step)
                images = view(train.images[index].to(fabric.device), generator)
                targets = train.labels[index].to(fabric.device)
                output = model(channels_last(images))
                loss = loss_function(output, targets)
                optimizer.zero_grad()
                fabric.backward(loss)
                optimizer.step()

                measured = {"loss": loss.item(), **watch(output, targets)}
                check_finite(measured["loss"], place.epoch, step, [train.ids[i] for i in index[:3]])
                for name, value in measured.items():
                    place.sums[name] = place.sums.get(name, 0.0) + value * len(index)
                place.step = step + 1
                bar.update()
                now = time.monotonic()
                place.seconds = before + now - started
                if stop.asked:
                    checkpoints.save(place, model, optimizer, best)
                    stop.obey()
                if now - saved > recipe.save_every_seconds:
                    checkpoints.save(place, model, optimizer, best)
                    saved = now
            accuracy = evaluate(model, validation).accuracy
            if accuracy > place.best_accuracy:
                place.best_epoch, place.best_accuracy = place.epoch, accuracy
                best = {key: value.clone() for key, value in model.state_dict().items()}
            place.seconds = before + time.monotonic() - started
            row = {
                "epoch": place.epoch + 1,
                "learning_rate": recipe.learning_rate_at(place.epoch),
                **{name: total / len(train) for name, total in place.sums.items()},
                "validation_accuracy": accuracy,
                "seconds": place.seconds,
            }
            place.history.append(watched(watchers, model.module, row))
            place.epoch, place.step, place.sums = place.epoch + 1, 0, {}
            bar.set_postfix(validation=f"{accuracy:.3f}", best=f"{place.best_accuracy:.3f}")
        checkpoints.save(place, model, optimizer, best)
        stop.obey()
    classifier = model.module
    if best is not None:
        classifier.load_state_dict(best)
    return Finetuned(classifier.eval(), place.history, place.best_epoch + 1, place.seconds)


@torch.no_grad()
def watch(output, targets: Tensor) -> dict[str, float]:
    """What (8) is doing: on which share of the regions it acts, and how sure regions and fusion are
    of the truth."""
    fused = true_class_probability(output.logits.float(), targets)
    measured = {"accuracy": (output.logits.argmax(1) == targets).float().mean().item()}
    if hasattr(output, "region_logits"):
        region = true_class_probability(output.region_logits.float(), targets)
        measured |= {
            "restrained": (region > fused[:, None]).float().mean().item(),
            "fused_probability": fused.mean().item(),
            "region_probability": region.mean().item(),
        }
    return measured


def fingerprint(module: nn.Module) -> str:
    """SHA-256 over a module's weights; names the encoder a run started from."""
    digest = hashlib.sha256()
    for key, value in module.state_dict().items():
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _patience_is_out(place, recipe: FinetuneRecipe) -> bool:
    return place.best_epoch is not None and place.epoch - place.best_epoch > recipe.patience
