"""Epochs cut to the measured speed of a machine, once, and kept for every seed and machine.

The paper's 800 and 200 epochs may ask for more time than there is. Then every stage keeps the same
share of its epochs and its decay, and of its patience no less than it needs (see
:func:`occfer.recipes.stretched`), and the records say so.
"""

import json
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from occfer.data import FaceSet
from occfer.engine.finetune import finetune
from occfer.engine.pretrain import pretrain
from occfer.engine.records import Record, environment
from occfer.files import write_atomically
from occfer.recipes import (
    BaselineRecipe,
    FinetuneRecipe,
    PretrainRecipe,
    Trained,
    from_dict,
    precision,
    stretched,
)

ROUNDS = 4
BATCHES = {"cpu": 8, "cuda": 40}
"""Of a warm-up's epoch; a GPU needs more of them to show its pace."""
SAME = ("device", "threads", "torch")
"""What two records have in common where their seconds can be compared."""
DAMAGE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What reading a choice that is none may raise."""


@dataclass(frozen=True)
class Pace:
    """How fast one machine is at one kind of stage.

    Args:
        epoch: seconds of one epoch, its validation included.
        startup: seconds that are spent once, before the first epoch has its pace.
    """

    epoch: float
    startup: float = 0.0


@dataclass(frozen=True)
class Budget:
    """What was chosen for all seeds in one folder.

    Args:
        minutes: of the call that chose.
        share: of the tier's epochs that every stage is given, in (0, 1].
        device: that was measured.
        paces: measured on it, by kind of stage.
        threads: that measured; None where an older file does not say.
    """

    minutes: float
    share: float
    device: str
    paces: Mapping[str, Pace] = field(default_factory=dict)
    threads: int | None = None

    @property
    def measured_here(self) -> bool:
        """Whether its paces are those of this machine, as far as it says."""
        here = environment()
        return self.device == here["device"] and self.threads in (None, here["threads"])

    def save(self, path: Path) -> Path:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, (json.dumps(asdict(self), indent=1) + "\n").encode())
        return path

    @staticmethod
    def load(path: Path) -> "Budget":
        """Read what :meth:`save` wrote."""
        try:
            found = _from_values(json.loads(path.read_text()))
        except DAMAGE as damage:
            raise ValueError(
                f"{path} should hold the share of epochs that an earlier call chose, but is "
                f"damaged ({damage}); delete it and the runs beside it to choose again."
            ) from damage
        return found

    def applied(self, recipe: Trained) -> Trained:
        """The recipe with its share of the epochs."""
        return recipe if self.share == 1 else stretched(recipe, self.share)

    def as_record(self, epochs: int, planned: int, run: int) -> dict[str, Any]:
        """For a run's record: the choice, and the epochs of the tier, the plan and the run."""
        return {
            **asdict(self),
            "epochs_of_tier": epochs,
            "epochs_planned": planned,
            "epochs_run": run,
        }


def _from_values(values: Mapping[str, Any]) -> Budget:
    """A choice as JSON has it; what is none raises one of ``DAMAGE``."""
    paces = {kind: Pace(**pace) for kind, pace in values["paces"].items()}
    found = Budget(**{**values, "paces": paces})
    timed = [value for pace in paces.values() for value in (pace.epoch, pace.startup)]
    for value in (found.minutes, found.share, *timed):
        if isinstance(value, bool) or not 0 <= value < math.inf:
            raise ValueError(f"{value!r} is no number of minutes, seconds or epochs")
    if not 0 < found.share <= 1:
        raise ValueError(f"its share is {found.share}")
    if not isinstance(found.device, str) or not isinstance(found.threads, int | None):
        raise ValueError(f"it was measured by {found.threads!r} threads of {found.device!r}")
    return found


def adopted(records: Iterable[Record]) -> Budget | None:
    """What was chosen for runs that only records tell of; None where none of them states a choice.

    Raises:
        ValueError: they tell of several, and seeds of different lengths are no seeds of one row.
    """
    found = [_stated(each) for each in records if "budget" in each.values]
    shares = sorted({each.share for each in found})
    if len(shares) > 1:
        raise ValueError(
            f"the records should be of one share of the epochs, but state {shares}; move those of "
            "all but one to another folder."
        )
    return min(found, key=lambda each: json.dumps(asdict(each), sort_keys=True), default=None)


def _stated(record: Record) -> Budget:
    names = {each.name for each in fields(Budget)}
    try:
        stated = record.values["budget"].items()
        return _from_values({name: value for name, value in stated if name in names})
    except DAMAGE as damage:
        raise ValueError(
            f"{record.name} should state the share of epochs that was chosen for it, but its "
            f"budget is damaged ({damage}); copy the record again, or move it away."
        ) from damage


def kind_of(recipe: PretrainRecipe | FinetuneRecipe, row: str = "") -> str:
    """What a stage's pace depends on within one tier and data set, such as ``fgw resnet18``."""
    if isinstance(recipe, PretrainRecipe):
        return f"pretraining {recipe.network.backbone}"
    usual = recipe.method == "plain" or recipe.regions == FinetuneRecipe.regions
    cut = "" if usual else f", K = {recipe.regions}"
    fewer = ", a tenth" if row.endswith("-tenth") else ""
    return f"{recipe.method} {recipe.network.backbone}{cut}{fewer}"


def measure(recipe: PretrainRecipe | FinetuneRecipe, train: FaceSet, validation: FaceSet) -> Pace:
    """The pace of a recipe, from a few batches; what they learn is thrown away.

    Training and validation faces are cut to the same share, so that an epoch of the cut takes that
    share of an epoch. The first epoch is not counted but for how much longer it takes.
    """
    batches = BATCHES["cuda" if torch.cuda.is_available() else "cpu"]
    count = min(len(train), batches * recipe.batch_size)
    share = count / len(train)
    few = train[:count]
    recipe = replace(recipe, epochs=ROUNDS)
    if isinstance(recipe, PretrainRecipe):
        history = pretrain(few, recipe, progress=False).history
    else:
        recipe = replace(recipe, patience=ROUNDS, pretrained=False)
        few_more = validation[: max(1, round(share * len(validation)))]
        history = finetune(few, few_more, recipe, progress=False).history
    return pace_of(history, share)


def pace_of(history: list[dict[str, Any]], share: float = 1.0) -> Pace:
    """The pace that a run's history shows; its epochs were a ``share`` of whole ones."""
    first, steady = _seconds(history)
    return Pace(steady / share, max(0.0, first - steady))


def recorded_paces(records: Iterable[Record]) -> dict[str, Pace]:
    """Paces by kind, from recorded runs of the same device, threads, PyTorch and precision.

    A descriptor has no epochs: fitting it takes its seconds once, and scoring it somewhat more.
    """
    here = environment()
    found: dict[str, list[float]] = {}
    fits: dict[str, list[float]] = {}
    for record in records:
        there, history = record.values["environment"], record.values["history"]
        recipe = from_dict(record.values["recipe"])
        same = all(there.get(each) == here[each] for each in SAME)
        if same and isinstance(recipe, BaselineRecipe):
            fits.setdefault(recipe.descriptor, []).append(record.values["seconds"])
            continue
        same = same and recipe.precision == precision(record.values["tier"])
        if same and len(history) > 1:
            kind = kind_of(recipe, record.values.get("row", ""))
            found.setdefault(kind, []).append(_seconds(history)[1])
    once = {kind: Pace(0.0, statistics.median(each)) for kind, each in fits.items()}
    return once | {kind: Pace(statistics.median(each)) for kind, each in found.items()}


def recorded_scoring(records: Iterable[Record]) -> dict[str, Pace]:
    """How long a figure looked at methods on this machine, by :func:`scoring`."""
    here = environment()
    found: dict[str, list[float]] = {}
    for record in records:
        values = record.values
        took, recipe = values.get("scoring_seconds"), from_dict(values["recipe"])
        if took is None or any(values["environment"].get(each) != here[each] for each in SAME):
            continue
        if isinstance(recipe, BaselineRecipe):
            kind = recipe.descriptor
        else:
            kind = kind_of(recipe, values.get("row", ""))
        found.setdefault(scoring(values["experiment"], kind), []).append(took)
    return {name: Pace(0.0, statistics.median(each)) for name, each in found.items()}


def scoring(experiment: str, kind: str) -> str:
    """What the pace of a figure's look at a method is called."""
    return f"{experiment} of {kind}"


def _seconds(history: list[dict[str, Any]]) -> tuple[float, float]:
    """Seconds of the first epoch, and the median of the others."""
    ends = [row["seconds"] for row in history]
    return ends[0], statistics.median(late - early for early, late in pairwise(ends))
