"""Table 1, the ablation (§3.3): what each of the three ideas adds, row by row.

For each seed the encoder is pre-trained once, on the training faces that stand in no held-out
split; every row is fine-tuned from it. The validation split chooses the epoch, and the test
split is scored once, when the row is finished.
"""

import glob
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from occfer.data import FaceSet, load_faces
from occfer.data.duplicates import drop_leaks
from occfer.emotions import EMOTIONS
from occfer.engine.curves import Curves
from occfer.engine.evaluate import Predictions, evaluate
from occfer.engine.finetune import Finetuned, finetune, fingerprint
from occfer.engine.models import load_encoder, save_model
from occfer.engine.pretrain import pretrain
from occfer.engine.records import Record, make_record
from occfer.experiments import budget, paper
from occfer.experiments.carry import as_begun, carried, has_model, pack, stated_recipe, unpack
from occfer.experiments.refusals import refuse_another_encoder
from occfer.experiments.rows import READINGS, ROWS, WHOLE_METHOD, table1_pretraining, table1_row
from occfer.ocl import Encoder
from occfer.plots import save_curves
from occfer.recipes import TIER, FinetuneRecipe, PretrainRecipe, Tier, Trained, as_dict

EXPERIMENT = "table1"
RESULTS = Path("book/results")
Cover = Callable[[FaceSet], Mapping[str, FaceSet]]
"""From the test faces to the same faces under every condition, by its name."""


@dataclass(frozen=True)
class Splits:
    """The three splits of one data set, and the pool: training faces of no held-out split."""

    train: FaceSet
    validation: FaceSet
    test: FaceSet
    _conditions: dict[Cover, Mapping[str, FaceSet]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def pool(self) -> FaceSet:
        return drop_leaks(self.train, self.validation, self.test)

    def training(self, row: str) -> FaceSet:
        """What a row is fine-tuned on: the whole training split, unless its name says less."""
        if row.endswith("-unleaked"):
            return self.pool
        if row.endswith("-tenth"):
            return every_tenth(self.train)
        return self.train

    def covered(self, cover: Cover) -> Mapping[str, FaceSet]:
        """The test faces under every condition of a figure, covered once for all of its methods."""
        if cover not in self._conditions:
            self._conditions[cover] = cover(self.test)
        return self._conditions[cover]


def every_tenth(faces: FaceSet) -> FaceSet:
    """Of each expression every tenth face, so that a tenth of the labels is left."""
    kept = [(faces.labels == label).nonzero()[::10, 0] for label in range(len(EMOTIONS))]
    return faces[torch.cat(kept).sort().values]


def load_splits(data: str, root: str | Path | None = None) -> Splits:
    """All splits of a data set by name or path."""
    return Splits(*(load_faces(data, split, root) for split in ("train", "val", "test")))


def record_name(data: str, tier: Tier, row: str, seed: int) -> str:
    """Such as ``fer2013-laptop-OCL+Res18-seed0``."""
    return f"{Path(data).name}-{tier}-{row}-seed{seed}"


def encoder_name(row: str) -> str:
    """What the encoder of a row is called, such as ``OCL`` or ``OCL-MobileNetV2``."""
    if row in READINGS:
        usual = table1_pretraining(row) == table1_pretraining(WHOLE_METHOD)
        return "OCL" if usual else f"OCL-{row}"
    kind, network = row.split("+")[:2]
    return kind if network.startswith("Res18") else f"{kind}-{network}"


def encoder_recipe(row: str, data: str, tier: Tier, seed: int, runs: Path) -> PretrainRecipe | None:
    """The pre-training a row starts from, over the share of epochs that was chosen for ``runs``."""
    recipe, choice = table1_pretraining(row, tier, seed=seed), budget.chosen(runs, data, tier)
    if recipe is None:
        return None
    folder = runs / EXPERIMENT / record_name(data, tier, encoder_name(row), seed)
    return as_begun(choice.applied(recipe) if choice else recipe, folder)


def row_recipe(row: str, data: str, tier: Tier, seed: int, runs: Path) -> FinetuneRecipe:
    """The recipe of a row, over the share of epochs that was chosen for ``runs``."""
    recipe, choice = table1_row(row, tier, seed=seed), budget.chosen(runs, data, tier)
    folder = runs / EXPERIMENT / record_name(data, tier, row, seed)
    return as_begun(choice.applied(recipe) if choice else recipe, folder)


def stated_budget(
    whole: Trained, planned: Trained, history: list[dict], choice: budget.Budget | None
) -> dict[str, Any]:
    """For a record: what was chosen, and what became of the epochs; nothing where all were kept."""
    if choice is None:
        return {}
    return {"budget": choice.as_record(whole.epochs, planned.epochs, len(history))}


def pretrained_encoder(
    row: str, splits: Splits, data: str, tier: Tier, seed: int, results: Path, runs: Path
) -> Encoder | None:
    """The encoder a row starts from: read where it is finished, else trained now; or None."""
    whole, recipe = table1_pretraining(row, tier), encoder_recipe(row, data, tier, seed, runs)
    if recipe is None:
        return None
    folder = runs / EXPERIMENT / record_name(data, tier, encoder_name(row), seed)
    unpack(folder)
    pool = splits.pool
    if has_model(folder):
        record = results / EXPERIMENT / f"{folder.name}.json"
        refuse_another_encoder(folder, stated_recipe(folder), recipe, pool, runs, record)
        encoder = load_encoder(folder / "model")
        pack(folder, torch.float32)  # a call that was stopped between the two has not
        return encoder
    pretrained = pretrain(pool, recipe, run=folder, watchers=[Curves(folder)])
    record = make_record(
        EXPERIMENT,
        folder.name,
        as_dict(recipe),
        {"pool": pool.describe()},
        pretrained.history,
        pretrained.seconds,
        tier=tier,
        leaks_dropped=len(splits.train) - len(pool),
        encoder=fingerprint(pretrained.encoder),
        **stated_budget(whole, recipe, pretrained.history, budget.chosen(runs, data, tier)),
    )
    record.save(results)
    save_model(pretrained.encoder, recipe, folder / "model", record.values)
    save_curves(pretrained.history, folder)
    pack(folder, torch.float32)
    return pretrained.encoder


def train_row(
    row: str,
    splits: Splits,
    data: str,
    tier: Tier = TIER,
    seed: int = 0,
    results: Path = RESULTS,
    runs: Path = Path("runs"),
) -> tuple[FinetuneRecipe, Finetuned]:
    """Recipe and network of one row; a run that is finished in ``runs`` is only read.

    The model card tells of the score on the test split where :func:`run_row` has recorded it.
    """
    recipe = row_recipe(row, data, tier, seed, runs)
    folder = runs / EXPERIMENT / record_name(data, tier, row, seed)
    if tuned := carried(folder, results / EXPERIMENT / f"{folder.name}.json", recipe, runs):
        return recipe, tuned
    encoder = pretrained_encoder(row, splits, data, tier, seed, results, runs)
    tuned = finetune(
        splits.training(row), splits.validation, recipe, encoder, run=folder,
        watchers=[Curves(folder)],
    )  # fmt: skip
    record = _record(row, splits, data, tier, recipe, tuned, runs)
    stated = results / EXPERIMENT / f"{folder.name}.json"
    scored = Record.load(stated).values if stated.exists() else {}
    # Trained anew, a network has other seconds, and the score of the one before is not its own.
    told = scored if scored.get("history") == record.values["history"] else record.values
    save_model(tuned.model, recipe, folder / "model", told)
    save_curves(tuned.history, folder)
    pack(folder, torch.float16)
    return recipe, tuned


def run_row(
    row: str,
    splits: Splits,
    data: str,
    tier: Tier = TIER,
    seed: int = 0,
    results: Path = RESULTS,
    runs: Path = Path("runs"),
) -> Record:
    """Train one row for one seed and score it once on the test split; skip it where recorded."""
    name = record_name(data, tier, row, seed)
    path = results / EXPERIMENT / f"{name}.json"
    if path.exists():
        return Record.load(path)
    recipe, tuned = train_row(row, splits, data, tier, seed, results, runs)
    predictions = evaluate(tuned.model, splits.test)
    record = _record(row, splits, data, tier, recipe, tuned, runs, predictions)
    # The record comes last: where it is, nothing of the row is done again.
    save_model(tuned.model, recipe, runs / EXPERIMENT / name / "model", record.values)
    record.save(results)
    return record


def _record(
    row: str,
    splits: Splits,
    data: str,
    tier: Tier,
    recipe: FinetuneRecipe,
    tuned: Finetuned,
    runs: Path,
    predictions: Predictions | None = None,
) -> Record:
    """What one row leaves behind; before it is scored, the test split has no part in it."""
    whole, choice = table1_row(row, tier), budget.chosen(runs, data, tier)
    sets = {"train": splits.training(row), "validation": splits.validation}
    if predictions is not None:
        sets["test"] = splits.test
    return make_record(
        EXPERIMENT,
        record_name(data, tier, row, recipe.seed),
        as_dict(recipe),
        {role: faces.describe() for role, faces in sets.items()},
        tuned.history,
        tuned.seconds,
        predictions,
        tier=tier,
        row=row,
        best_epoch=tuned.best_epoch,
        encoder=tuned.encoder_fingerprint,
        **stated_budget(whole, recipe, tuned.history, choice),
    )


@dataclass(frozen=True)
class Line:
    """One line of Table 1: the paper's number, and every recorded run of ours."""

    row: str
    paper: float | None
    records: tuple[Record, ...]

    @property
    def accuracies(self) -> list[float]:
        """Test accuracy of each seed, in per cent."""
        return [100 * record.metrics["accuracy"] for record in self.records]

    @property
    def result(self) -> str:
        """Mean ± standard deviation over seeds; one seed with its 95 % interval; or "not run"."""
        if not self.records:
            return "not run"
        if len(self.records) > 1:
            spread = statistics.stdev(self.accuracies)
            return f"{statistics.mean(self.accuracies):.2f} ± {spread:.2f}"
        low, high = self.records[0].metrics["accuracy_interval_95"]
        return f"{self.accuracies[0]:.2f} [{100 * low:.2f}, {100 * high:.2f}]"


def recorded(
    results: Path, data: str, tier: Tier, row: str, experiment: str = EXPERIMENT
) -> tuple[Record, ...]:
    """Every recorded seed of one row."""
    pattern = f"{glob.escape(record_name(data, tier, row, 0)[:-1])}*.json"
    return tuple(Record.load(path) for path in sorted((results / experiment).glob(pattern)))


def lines(results: Path, data: str, tier: Tier) -> list[Line]:
    """The table as recorded: the paper's four rows, the controls, then MobileNetV2."""
    return [
        Line(row, paper.TABLE1.get(row, {}).get(data), recorded(results, data, tier, row))
        for row in ROWS
    ]


def as_markdown(table: list[Line], data: str) -> str:
    """The table for the book; accuracies in per cent."""
    head = [
        f"| row | {data}, the paper's | ours | seeds | epochs run | minutes |",
        "|---|---|---|---|---|---|",
    ]
    body = []
    for line in table:
        runs = line.records
        epochs = ", ".join(str(len(record.values["history"])) for record in runs)
        each = [record.values["seconds"] / 60 for record in runs]
        minutes = ", ".join(f"{some:.0f}" if some >= 10 else f"{some:.1f}" for some in each)
        quoted = "–" if line.paper is None else f"{line.paper:.2f}"
        body.append(
            f"| {line.row} | {quoted} | {line.result} | {len(runs)} | {epochs} | {minutes} |"
        )
    return "\n".join(head + body)
