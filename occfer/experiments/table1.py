"""Table 1, the ablation (§3.3): what each of the three ideas adds, row by row.

For each seed the encoder is pre-trained once, on the training faces that stand in no held-out
split; every row is fine-tuned from it. The validation split chooses the epoch, and the test
split is scored once, when the row is finished.
"""

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
from occfer.experiments import paper
from occfer.experiments.carry import as_begun, carried, has_model, pack, stated_recipe, unpack
from occfer.experiments.refusals import refuse_another_encoder
from occfer.experiments.rows import READINGS, ROWS, WHOLE_METHOD, table1_pretraining, table1_row
from occfer.experiments.study import TABLE1, Study
from occfer.ocl import Encoder
from occfer.plots import save_curves
from occfer.recipes import FinetuneRecipe, PretrainRecipe, Trained, as_dict

EXPERIMENT = TABLE1
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


def encoder_name(row: str) -> str:
    """What the encoder of a row is called, such as ``OCL`` or ``OCL-MobileNetV2``."""
    if row in READINGS:
        usual = table1_pretraining(row) == table1_pretraining(WHOLE_METHOD)
        return "OCL" if usual else f"OCL-{row}"
    kind, network = row.split("+")[:2]
    return kind if network.startswith("Res18") else f"{kind}-{network}"


def encoder_recipe(row: str, study: Study, seed: int) -> PretrainRecipe | None:
    """The pre-training a row starts from, over the share of epochs that was chosen for the runs."""
    recipe = table1_pretraining(row, study.tier, seed=seed)
    return recipe and _as_chosen(recipe, study, encoder_name(row))


def row_recipe(row: str, study: Study, seed: int) -> FinetuneRecipe:
    """The recipe of a row, over the share of epochs that was chosen for the runs."""
    return _as_chosen(table1_row(row, study.tier, seed=seed), study, row)


def _as_chosen(recipe: Trained, study: Study, name: str) -> Trained:
    choice = study.choice
    return as_begun(choice.applied(recipe) if choice else recipe, study.run(name, recipe.seed))


def stated_budget(
    study: Study, whole: Trained, planned: Trained, history: list[dict]
) -> dict[str, Any]:
    """For a record: what was chosen, and what became of the epochs; nothing where all were kept."""
    if (choice := study.choice) is None:
        return {}
    return {"budget": choice.as_record(whole.epochs, planned.epochs, len(history))}


def pretrained_encoder(row: str, splits: Splits, study: Study, seed: int) -> Encoder | None:
    """The encoder a row starts from: read where it is finished, else trained now; or None."""
    recipe = encoder_recipe(row, study, seed)
    if recipe is None:
        return None
    name, pool = encoder_name(row), splits.pool
    folder = study.run(name, seed)
    unpack(folder)
    if has_model(folder):
        record = study.record(name, seed)
        refuse_another_encoder(folder, stated_recipe(folder), recipe, pool, study.runs, record)
        encoder = load_encoder(folder / "model")
        pack(folder, torch.float32)  # a call that was stopped between the two has not
        return encoder
    pretrained = pretrain(pool, recipe, run=folder, watchers=[Curves(folder)])
    whole = table1_pretraining(row, study.tier)
    record = make_record(
        EXPERIMENT,
        folder.name,
        as_dict(recipe),
        {"pool": pool.describe()},
        pretrained.history,
        pretrained.seconds,
        tier=study.tier,
        leaks_dropped=len(splits.train) - len(pool),
        encoder=fingerprint(pretrained.encoder),
        **stated_budget(study, whole, recipe, pretrained.history),
    )
    record.save(study.results)
    save_model(pretrained.encoder, recipe, folder / "model", record.values)
    save_curves(pretrained.history, folder)
    pack(folder, torch.float32)
    return pretrained.encoder


def train_row(
    row: str, splits: Splits, study: Study, seed: int = 0
) -> tuple[FinetuneRecipe, Finetuned]:
    """Recipe and network of one row; a run of the study that is finished is only read.

    The model card tells of the score on the test split where :func:`run_row` has recorded it.
    """
    recipe, folder = row_recipe(row, study, seed), study.run(row, seed)
    stated = study.record(row, seed)
    if tuned := carried(folder, stated, recipe, study.runs):
        return recipe, tuned
    encoder = pretrained_encoder(row, splits, study, seed)
    tuned = finetune(
        splits.training(row), splits.validation, recipe, encoder, run=folder,
        watchers=[Curves(folder)],
    )  # fmt: skip
    record = _record(row, splits, study, recipe, tuned)
    scored = Record.load(stated).values if stated.exists() else {}
    # Trained anew, a network has other seconds, and the score of the one before is not its own.
    told = scored if scored.get("history") == record.values["history"] else record.values
    save_model(tuned.model, recipe, folder / "model", told)
    save_curves(tuned.history, folder)
    pack(folder, torch.float16)
    return recipe, tuned


def run_row(row: str, splits: Splits, study: Study, seed: int = 0) -> Record:
    """Train one row for one seed and score it once on the test split; skip it where recorded."""
    path = study.record(row, seed)
    if path.exists():
        return Record.load(path)
    recipe, tuned = train_row(row, splits, study, seed)
    predictions = evaluate(tuned.model, splits.test)
    record = _record(row, splits, study, recipe, tuned, predictions)
    # The record comes last: where it is, nothing of the row is done again.
    save_model(tuned.model, recipe, study.run(row, seed) / "model", record.values)
    record.save(study.results)
    return record


def _record(
    row: str,
    splits: Splits,
    study: Study,
    recipe: FinetuneRecipe,
    tuned: Finetuned,
    predictions: Predictions | None = None,
) -> Record:
    """What one row leaves behind; before it is scored, the test split has no part in it."""
    sets = {"train": splits.training(row), "validation": splits.validation}
    if predictions is not None:
        sets["test"] = splits.test
    return make_record(
        EXPERIMENT,
        study.name(row, recipe.seed),
        as_dict(recipe),
        {role: faces.describe() for role, faces in sets.items()},
        tuned.history,
        tuned.seconds,
        predictions,
        tier=study.tier,
        row=row,
        best_epoch=tuned.best_epoch,
        encoder=tuned.encoder_fingerprint,
        **stated_budget(study, table1_row(row, study.tier), recipe, tuned.history),
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


def lines(study: Study) -> list[Line]:
    """The table as recorded: the paper's four rows, the controls, then MobileNetV2."""
    quoted = {row: numbers.get(study.data) for row, numbers in paper.TABLE1.items()}
    return [Line(row, quoted.get(row), study.recorded(row)) for row in ROWS]


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
