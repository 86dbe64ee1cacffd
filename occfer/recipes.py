"""Every hyper-parameter (§3.2), and the tier that decides how much of it a machine is asked for.

``OCCFER_TIER`` is read once, here: ``smoke`` (seconds on two cores), ``laptop`` (minutes to an
hour on two cores) or ``paper`` (one GPU). The defaults of the dataclasses are the paper's, and ours
where it names none, as for batch sizes, the epochs of fine-tuning and its patience.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeVar, get_args

import torch

Tier = Literal["smoke", "laptop", "paper"]
Method = Literal["plain", "fgw"]
OptimizerName = Literal["adam", "sgd"]


def _tier(name: str) -> Tier:
    if name not in get_args(Tier):
        raise ValueError(f"OCCFER_TIER must be one of {', '.join(get_args(Tier))}, got {name!r}.")
    return name


TIER: Tier = _tier(os.environ.get("OCCFER_TIER", "smoke"))


@dataclass(frozen=True)
class NetworkRecipe:
    """The backbone, shared by pre-training and fine-tuning."""

    backbone: str = "resnet18"
    width: int | None = None
    stem: str = "imagenet"
    size: int = 112
    """Side in pixels of a view in pre-training, and of a region (or face) in fine-tuning."""


@dataclass(frozen=True)
class ViewRecipe:
    """How a random view of a face is drawn (§2.2); :class:`occfer.views.RandomView` draws it.

    Args:
        crop: bounds of the crop's share of the picture's area.
        rotation: the largest turn in degrees, either way.
        flip: probability of a mirror image.
        jitter: probability that a face's colours are changed at all.
        brightness, contrast, saturation: factors from U(1 − v, 1 + v); ``hue``: a turn of the
            colour circle by U(−v, v) of a full circle.
        grey: probability of a greyscale view.
        occlusion: probability of a block; ``occlusion_area`` bounds its share of the view,
            ``fill`` what is seen instead.
    """

    crop: tuple[float, float] = (0.3, 1.0)
    rotation: float = 0.0
    flip: float = 0.5
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    grey: float = 0.2
    occlusion: float = 0.5
    occlusion_area: tuple[float, float] = (0.05, 0.30)
    fill: str = "mixed"


GENTLE_VIEWS = ViewRecipe(
    crop=(0.7, 1.0),
    rotation=10.0,
    jitter=0.5,
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
    hue=0.0,
    grey=0.0,
    occlusion=0.0,
)
"""Fine-tuning's augmentation. The paper names none; a face stays whole and uncovered."""


def _check_counts(recipe: Any, **least: int) -> None:
    for name, fewest in least.items():
        if not getattr(recipe, name) >= fewest:
            raise ValueError(
                f"{name} should be at least {fewest}, got {getattr(recipe, name)}; choose another."
            )
    if not 0 <= recipe.seed < 2**32 - 1:
        raise ValueError(f"seed should lie in [0, 2^32 - 1), got {recipe.seed}; choose another.")


def _check_numbers(recipe: Any, positive: Sequence[str] = (), other: Sequence[str] = ()) -> None:
    for name in (*positive, *other):
        value = getattr(recipe, name)
        if not 0 <= value < math.inf or (name in positive and not value):
            least = "greater than 0" if name in positive else "at least 0"
            raise ValueError(f"{name} should be finite and {least}, got {value}; choose another.")


@dataclass(frozen=True)
class PretrainRecipe:
    """OCL pre-training (§2.2, §3.2). τ, N and the projector are not in the paper."""

    network: NetworkRecipe = NetworkRecipe()
    views: ViewRecipe = ViewRecipe()
    one_view: bool = False
    temperature: float = 0.2
    batch_size: int = 256
    epochs: int = 800
    optimizer: OptimizerName = "adam"
    learning_rate: float = 2.5e-4
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    projector_hidden: int = 512
    projector_dimensions: int = 128
    seed: int = 0
    precision: str = "32-true"
    save_every_seconds: float = 120.0
    synchronise_batch_norm: bool = False
    """With several processes: normalise by the whole batch rather than by each one's part."""
    cuda_graphs: bool = True
    """On a GPU, record the kernels of a whole batch once and replay them. On a CPU the network
    always runs as it is written."""
    compile: bool = False
    """On a GPU, with torch.compile. It begins with half a minute or more of compiling."""

    def __post_init__(self) -> None:
        _check_counts(self, epochs=1, batch_size=2, projector_hidden=1, projector_dimensions=1)
        # A rate of 0 trains nothing and can be meant.
        _check_numbers(self, ("temperature",), ("learning_rate", "weight_decay"))
        if self.schedule not in ("constant", "cosine"):
            raise ValueError(f"schedule must be 'constant' or 'cosine', got {self.schedule!r}.")

    def learning_rate_at(self, epoch: int) -> float:
        """Constant, as the paper's §3.2 reads; ``cosine`` falls to zero over the epochs."""
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))


@dataclass(frozen=True)
class FinetuneRecipe:
    """Fine-tuning (§2.3, §2.4, §3.2): Adam 2.5e-4, ×0.9 every 5 epochs from epoch 80 on."""

    network: NetworkRecipe = NetworkRecipe()
    method: Method = "fgw"
    views: ViewRecipe = GENTLE_VIEWS
    regions: int = 5
    corner: float = 0.75
    centre: float = 0.85
    share: str = "side"
    attention: str = "shared"
    attention_after: int = -1
    official: bool = False
    head: str = "sliced"
    fusion: str = "concat"
    restrain_weight: float = 0.5
    detach_regions: bool = False
    pretrained: bool = False
    batch_size: int = 128
    epochs: int = 200
    patience: int = 30
    """Early stop: epochs without a better validation accuracy."""
    optimizer: OptimizerName = "adam"
    learning_rate: float = 2.5e-4
    weight_decay: float = 0.0
    momentum: float = 0.9
    decay_from: int = 80
    decay_every: int = 5
    decay: float = 0.9
    seed: int = 0
    precision: str = "32-true"
    save_every_seconds: float = 120.0
    synchronise_batch_norm: bool = False
    cuda_graphs: bool = True
    compile: bool = False

    def __post_init__(self) -> None:
        _check_counts(self, epochs=1, batch_size=2, patience=0, decay_every=1)
        least_0 = ("learning_rate", "weight_decay", "momentum", "restrain_weight")
        _check_numbers(self, ("decay",), least_0)

    def learning_rate_at(self, epoch: int) -> float:
        """The paper's one decay policy; ``epoch`` counts from 0."""
        steps = max(0, (epoch - self.decay_from) // self.decay_every + 1)
        return self.learning_rate * self.decay**steps


@dataclass(frozen=True)
class BaselineRecipe:
    """A descriptor and an SVM (§3.5). The paper names the descriptors and nothing else."""

    descriptor: str = "HOG"
    size: int = 48
    """Side in pixels of the grey face."""
    dimensions: int = 128
    """How many PCA keeps."""
    c: tuple[float, ...] = (1.0, 10.0)
    """Values of the SVM's C to choose from on the validation split."""
    seed: int = 0
    """Of PCA's randomised solver; nothing else is left to chance."""


SGD = dict(optimizer="sgd", learning_rate=0.01)
"""``replace(recipe, **SGD)``: the other reading of §3.2 ("from 0.01, after 80, every 5")."""

NETWORKS: dict[Tier, NetworkRecipe] = {
    "smoke": NetworkRecipe(width=16, stem="small", size=48),
    "laptop": NetworkRecipe(width=16, stem="small", size=48),
    "paper": NetworkRecipe(),
}
BUDGETS: dict[Tier, dict[str, dict[str, Any]]] = {
    "smoke": {
        "pretrain": dict(epochs=6, batch_size=64),
        "finetune": dict(epochs=8, batch_size=32, learning_rate=1e-3, patience=8),
    },
    "laptop": {
        "pretrain": dict(epochs=30, learning_rate=1e-3, schedule="cosine"),
        "finetune": dict(
            epochs=20,
            learning_rate=1e-3,
            patience=8,
            decay_from=10,
            decay_every=1,
            decay=0.75,
        ),
    },
    "paper": {"pretrain": {}, "finetune": {}},
}


def precision(tier: Tier) -> str:
    """Fabric's name for the numbers a tier trains in: ``bf16-mixed`` where the machine has them.

    A processor or GPU that has to imitate bfloat16 is slower with it by up to a hundred times, so
    there, and at the smoke tier, it is ``32-true``.
    """
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.backends.mkldnn.is_available() and (
            torch.ops.mkldnn._is_mkldnn_bf16_supported()
        )
    return "bf16-mixed" if native and tier != "smoke" else "32-true"


def pretraining(tier: Tier = TIER, **changes) -> PretrainRecipe:
    """The pre-training recipe of a tier, with changes by name."""
    recipe = PretrainRecipe(
        network=NETWORKS[_tier(tier)], precision=precision(tier), **BUDGETS[tier]["pretrain"]
    )
    return replace(recipe, **changes)


def finetuning(tier: Tier = TIER, **changes) -> FinetuneRecipe:
    """The fine-tuning recipe of a tier (OCL+Res18+FGW+LGDS), with changes by name."""
    recipe = FinetuneRecipe(
        network=NETWORKS[_tier(tier)], precision=precision(tier), **BUDGETS[tier]["finetune"]
    )
    return replace(recipe, **changes)


def baseline(descriptor: str, tier: Tier = TIER, **changes) -> BaselineRecipe:
    """The recipe of a baseline, at the size of the tier's networks."""
    return replace(BaselineRecipe(descriptor, NETWORKS[_tier(tier)].size), **changes)


Trained = TypeVar("Trained", PretrainRecipe, FinetuneRecipe)

LEAST_PATIENCE = 5
"""Epochs. From one epoch to the next validation accuracy falls by chance alone, so that a shorter
patience ends a run that still learns (the engine's page shows some)."""


def stretched(recipe: Trained, factor: float) -> Trained:
    """The same recipe over ``factor`` times the epochs, the decay and the patience with it.

    Epochs are whole and at least one, and no patience is cut below ``LEAST_PATIENCE``. Where the
    rate cannot fall at the same points of a shorter run, each fall is made larger, so that it ends
    where it would have ended.
    """
    if not 0 < factor < math.inf:
        raise ValueError(f"factor should be greater than 0, got {factor}; 0.5 halves the epochs.")

    def times(epochs: int) -> int:
        return max(1, math.floor(epochs * factor + 1e-9))

    if isinstance(recipe, PretrainRecipe):
        return replace(recipe, epochs=times(recipe.epochs))
    decay_every = times(recipe.decay_every)
    return replace(
        recipe,
        epochs=times(recipe.epochs),
        patience=max(times(recipe.patience), min(recipe.patience, LEAST_PATIENCE)),
        decay_from=times(recipe.decay_from),
        decay_every=decay_every,
        decay=recipe.decay ** (decay_every / (recipe.decay_every * factor)),
    )


Recipe = PretrainRecipe | FinetuneRecipe | BaselineRecipe


def network_options(recipe: PretrainRecipe | FinetuneRecipe) -> tuple[str, dict[str, Any]]:
    """Which network a recipe trains, by the name of its class, and the options to make it with."""
    network = recipe.network
    options = dict(backbone=network.backbone, width=network.width, stem=network.stem)
    if isinstance(recipe, PretrainRecipe):
        return "Encoder", options
    options |= dict(size=network.size, pretrained=recipe.pretrained)
    if recipe.method == "plain":
        return "PlainClassifier", options
    if recipe.method != "fgw":
        raise ValueError(f"method must be 'plain' or 'fgw', got {recipe.method!r}.")
    cut = ("regions", "corner", "centre", "share")
    weighing = ("attention", "attention_after", "official", "head", "fusion")
    return "FGW", options | {name: getattr(recipe, name) for name in (*cut, *weighing)}


def as_dict(recipe: Recipe) -> dict[str, Any]:
    """For records and checkpoints; :func:`from_dict` reads it back."""
    return {"kind": type(recipe).__name__, **asdict(recipe)}


def from_dict(values: dict[str, Any]) -> Recipe:
    """The recipe that :func:`as_dict` wrote; a field it lacks takes its default."""
    kinds = {kind.__name__: kind for kind in get_args(Recipe)}
    try:
        kind = values.get("kind")
        if kind not in kinds:
            raise ValueError(f"kind of recipe must be one of {', '.join(kinds)}, got {kind!r}.")
        parts = {"network": NetworkRecipe, "views": ViewRecipe}
        fields = {
            name: _checked(parts[name], value) if name in parts else value
            for name, value in values.items()
            if name != "kind"
        }
        return _checked(kinds[kind], fields)
    except (TypeError, AttributeError) as damage:
        raise ValueError(
            f"a recipe should name its kind and values of its fields, but is damaged ({damage}); "
            "copy it again."
        ) from damage


def _checked(kind: type, fields: dict[str, Any]) -> Any:
    unknown = set(fields) - set(kind.__dataclass_fields__)
    if unknown:
        raise ValueError(f"the recipe holds unknown fields {sorted(unknown)}; update occfer.")
    # JSON has no tuples.
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()})
