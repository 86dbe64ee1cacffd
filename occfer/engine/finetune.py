"""Fine-tuning (§2.3, §2.4, §3.2): labelled faces, the loss of (10), early stop on validation."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from occfer.data.faceset import FaceSet
from occfer.engine.batches import view_generator
from occfer.engine.evaluate import evaluate
from occfer.engine.run import running
from occfer.engine.supply import Batch
from occfer.engine.training import Watcher, default_fabric
from occfer.lgds import LocalGlobalLoss, at_least_single, true_class_probability
from occfer.ocl import Encoder
from occfer.pretrained import Pretrained
from occfer.randomness import seeded_modules
from occfer.recipes import FinetuneRecipe, finetuning, network_options
from occfer.views import RandomView


@dataclass
class Finetuned:
    """The network at its best validation epoch, and one row per epoch."""

    model: nn.Module
    history: list[dict[str, Any]]
    best_epoch: int
    seconds: float
    encoder_fingerprint: str | None = None
    """:func:`fingerprint` of the encoder that it started from; None where there was none."""


def build_classifier(
    recipe: FinetuneRecipe, encoder: Encoder | None = None, start: Pretrained | None = None
) -> nn.Module:
    """The network of a recipe, initialised from its seed; its backbone from ``encoder``, or all of
    it from ``start``."""
    if encoder is not None and start is not None:
        raise ValueError(
            "a network starts either from an encoder or from a whole classifier, got both; leave "
            "one of them out."
        )
    kind, options = network_options(recipe)
    with seeded_modules(recipe.seed):
        model = Pretrained.kind(kind)(**options)
    untrained = recipe.detach_regions or not recipe.restrain_weight
    if recipe.method == "fgw" and recipe.head == "separate" and untrained:
        # Nothing trains it, and of what is trained several processes wait for a gradient.
        model.head.region.requires_grad_(False)
    if encoder is not None:
        model.load_encoder(encoder)
    if start is not None:
        _check_alike(start, model)
        model.load_state_dict(start.state_dict())
    return model


def _check_alike(start: nn.Module, model: Pretrained) -> None:
    """Whether a recipe makes the network that it is to go on from."""
    made, given = _description(model), _description(start)
    differ = [f"{name} {given.get(name)!r} in place of {made[name]!r}" for name in made
              if given.get(name) != made[name]]  # fmt: skip
    if differ:
        raise ValueError(
            f"the network to go on from should be the one that the recipe makes, but has "
            f"{', '.join(differ)}; take the recipe that its config.json holds."
        )


def _description(model: nn.Module) -> dict[str, Any]:
    # Which weights the backbone began with says nothing of the network.
    options = {k: v for k, v in getattr(model, "options", {}).items() if k != "pretrained"}
    return {"kind": type(model).__name__, **options}


def build_loss(recipe: FinetuneRecipe):
    """(10) for FGW; the cross-entropy of (9) for the plain network."""
    if recipe.method == "plain":
        return lambda output, targets: F.cross_entropy(at_least_single(output.logits), targets)
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
    start: Pretrained | None = None,
) -> Finetuned:
    """Train a classifier; the epoch with the best validation accuracy is what is returned.

    A face is resampled twice: to a random view as large as it came, and from that view to the
    regions that the network sees. Scoring, without views, resamples once.

    Args:
        train, validation: labelled faces. The test split has no business here.
        recipe: ``recipes.finetuning()`` of the current tier where left out.
        encoder: pre-trained by :func:`occfer.pretrain`; without it weights are random, or
            ImageNet's where the recipe says ``pretrained``.
        run, fabric, progress, watchers: as for :func:`occfer.pretrain`; watchers are given the
            classifier.
        start: a classifier to go on from, in place of an encoder, such as somebody else's that
            :func:`occfer.load_model` gave; it is left as it was.

    Raises:
        ValueError: a face has no label, or ``start`` is another network than the recipe's.
    """
    recipe = recipe or finetuning()
    for faces in (train, validation):
        if bool((faces.labels < 0).any()) or not len(faces):
            raise ValueError(
                f"fine-tuning needs faces with a label each, but {faces!r} holds unlabelled ones "
                "or none at all; leave those out with faces[faces.labels >= 0]."
            )
    fabric = fabric or default_fabric(recipe.precision)
    loss_function = build_loss(recipe)
    view = RandomView(size=min(train.size), **asdict(recipe.views))

    def measure(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        generator = view_generator(recipe.seed, batch.epoch, batch.step, batch.rank)
        output = training.model(view(batch.images, generator))
        loss = loss_function(output, batch.labels)
        measured = {"loss": loss, **watch(output, batch.labels)}
        return training.team.weigh(loss, len(batch.index), batch.whole), measured

    inputs = {
        "train": train.sha256,
        "validation": validation.sha256,
        "encoder": None if encoder is None else fingerprint(encoder),
        # Runs that began before there was such a choice say nothing of it.
        **({} if start is None else {"start": fingerprint(start)}),
    }
    with running(
        build_classifier(recipe, encoder, start), train, recipe, inputs, run, fabric, watchers,
        recipe.method, progress,
    ) as training:  # fmt: skip
        place = training.place
        while place.epoch < recipe.epochs and not _patience_is_out(place, recipe):
            means = training.epoch(measure)
            # Every process scores, with the first one's batch statistics, which this hands out.
            scored = evaluate(training.model, validation)
            accuracy = training.team.first(lambda scored=scored: scored.accuracy)
            if accuracy > place.best_accuracy:
                place.best_epoch, place.best_accuracy = place.epoch, accuracy
                training.best = {
                    key: value.clone() for key, value in training.network.state_dict().items()
                }
            rate = recipe.learning_rate_at(place.epoch)
            training.end_epoch({"learning_rate": rate, **means, "validation_accuracy": accuracy})
    if training.best is not None:
        training.network.load_state_dict(training.best)
    training.settle()
    return Finetuned(
        training.network.eval(), place.history, place.best_epoch + 1, place.seconds,
        inputs["encoder"],
    )  # fmt: skip


@torch.no_grad()
def watch(output, targets: Tensor) -> dict[str, Tensor]:
    """What (8) is doing: on which share of the regions it acts, on which share of the faces it acts
    on any region, and how sure regions and fusion are of the truth."""
    fused = true_class_probability(output.logits, targets)
    measured = {"accuracy": (output.logits.argmax(1) == targets).float().mean()}
    if hasattr(output, "region_logits"):
        region = true_class_probability(output.region_logits, targets)
        ahead = region > fused[:, None]
        measured |= {
            "restrained": ahead.float().mean(),
            "restrained_faces": ahead.any(dim=1).float().mean(),
            "fused_probability": fused.mean(),
            "region_probability": region.mean(),
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
