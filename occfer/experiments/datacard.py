"""What the data card of SynthFER claims, measured: is the set neither trivial nor impossible, what
do the two halves of a face tell, and does it mean anything for real faces?

Small plain networks are trained from scratch on rendered people and scored on people they have
never seen: on whole faces, on the half above and the half below the tip of the nose, and on grey
faces, which is how a network can be tried on FER2013 and one from FER2013 on these.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from occfer.data import FaceSet, load_faces
from occfer.engine.curves import Curves
from occfer.engine.evaluate import evaluate
from occfer.engine.finetune import Finetuned, finetune
from occfer.engine.records import Record, environment, make_record
from occfer.experiments import budget, table1
from occfer.experiments.figure3 import covered_sets, score
from occfer.experiments.methods import role
from occfer.experiments.refusals import (
    refuse_nothing_to_do,
    refuse_other_faces,
    refuse_several_processes,
)
from occfer.experiments.reproducing import plan
from occfer.experiments.reproducing.jobs import epochs_done
from occfer.experiments.reproducing.progress import carry_out
from occfer.experiments.rows import table1_row
from occfer.experiments.study import RESULTS, Study
from occfer.plots import save_curves
from occfer.recipes import NETWORKS, TIER, FinetuneRecipe, Tier, as_dict, finetuning
from occfer.views import luminance

EXPERIMENT = "synthfer"
NOSE = 2
"""The nose's place among :data:`occfer.data.faceset.LANDMARKS`."""
MASKED = 127


def upper(faces: FaceSet) -> FaceSet:
    """Only what lies above the tip of the nose; the rest is an even grey."""
    return _keep(faces, lambda row, nose: row < nose)


def lower(faces: FaceSet) -> FaceSet:
    """Only what lies below the tip of the nose; the rest is an even grey."""
    return _keep(faces, lambda row, nose: row >= nose)


def grey(faces: FaceSet) -> FaceSet:
    """One channel, as FER2013 has: the luminance."""
    return replace(faces, images=luminance(faces.images.float()).round().byte()[:, None])


def whole(faces: FaceSet) -> FaceSet:
    """The faces as they are."""
    return faces


LOOKS: dict[str, Callable[[FaceSet], FaceSet]] = {
    "whole": whole,
    "upper": upper,
    "lower": lower,
    "grey": grey,
}

TRANSFERS = ("to-fer2013", "from-fer2013")
ROWS = (*LOOKS, *TRANSFERS)
SCRATCH = "Res18-scratch"
"""The row of Table 1's controls that is tried on rendered faces."""


def synthfer_splits(tier: Tier) -> dict[str, FaceSet]:
    """Train, validation and test people at the tier's size."""
    size = NETWORKS[tier].size
    return {split: load_faces("synthfer", split, size=size) for split in ("train", "val", "test")}


def train_look(
    look: str, splits: dict[str, FaceSet], study: Study, seed: int
) -> tuple[FinetuneRecipe, dict[str, FaceSet], Finetuned]:
    """A plain network from scratch that sees faces in one way only."""
    recipe = finetuning(study.tier, method="plain", seed=seed)
    seen = {split: LOOKS[look](faces) for split, faces in splits.items()}
    folder = look_folder(look, study, seed)
    curves = Curves(folder)
    tuned = finetune(seen["train"], seen["val"], recipe, run=folder, watchers=[curves])
    save_curves(tuned.history, folder)
    return recipe, seen, tuned


def look_folder(look: str, study: Study, seed: int) -> Path:
    """Where the run of one look lies."""
    return study.runs / EXPERIMENT / f"{study.tier}-{look}-seed{seed}"


def run_look(look: str, study: Study, seed: int = 0) -> Record:
    """Train and score one look; ``whole`` is scored under every share of Figure 3."""
    path = study.record(look, seed, EXPERIMENT)
    if path.exists():
        return Record.load(path)
    recipe, seen, tuned = train_look(look, synthfer_splits(study.tier), study, seed)
    if look == "whole":
        tests = covered_sets(seen["test"])
        predictions = score(tuned.model, tests)
    else:
        tests = {"": seen["test"]}
        predictions = evaluate(tuned.model, seen["test"])
    return _record(path.stem, recipe, seen, tests, tuned, predictions, study, look=look)


def run_transfer(direction: str, study: Study, seed: int = 0, root: Path | None = None) -> Record:
    """``to-fer2013``: trained on grey SynthFER, scored on PrivateTest; ``from-fer2013``: the plain
    network from scratch of Table 1's controls, scored on the grey test people of SynthFER."""
    refuse_unless_among(direction, TRANSFERS)
    path = study.record(direction, seed, EXPERIMENT)
    if path.exists():
        return Record.load(path)
    more = {}
    if direction == "to-fer2013":
        recipe, seen, tuned = train_look("grey", synthfer_splits(study.tier), study, seed)
        test = load_faces("fer2013", "test", root)
    else:
        real = table1.load_splits("fer2013", root)
        there = replace(study, data="fer2013")
        recipe, tuned = table1.train_row(SCRATCH, real, there, seed)
        whole = table1_row(SCRATCH, study.tier)
        more = table1.stated_budget(there, whole, recipe, tuned.history)
        seen = {"train": real.train, "val": real.validation}
        test = grey(synthfer_splits(study.tier)["test"])
    predictions = evaluate(tuned.model, test)
    return _record(path.stem, recipe, seen, {"": test}, tuned, predictions, study, **more)


def reproduce(
    data: str = "synthfer",
    tier: Tier = TIER,
    seeds: int = 1,
    rows: tuple[str, ...] = tuple(LOOKS),
    root: Path | None = None,
    results: Path = RESULTS,
    runs: Path = Path("runs"),
    minutes: float | None = None,
    dry: bool = False,
    say: Callable[[str], None] = print,
) -> list[Record]:
    """Every measurement in ``rows`` (looks and transfers) that is not recorded yet; a record of
    other faces is refused.

    ``data`` is SynthFER whatever is asked for; ``root`` is where FER2013 lies, for transfers.
    ``minutes``, ``dry`` and ``say`` are as for Table 1, see
    :func:`occfer.experiments.reproducing.reproduce.reproduce`. Networks of rendered faces keep all
    their epochs; ``from-fer2013`` is of one of Table 1, with the share that was chosen there.

    Returns:
        The records in ``rows`` that are there at the end.
    """
    refuse_nothing_to_do(seeds, minutes)
    refuse_several_processes()
    began = time.monotonic()
    environment()
    if data != "synthfer":
        raise ValueError(f"the data card is SynthFER's, got data {data!r}; leave --data out.")
    for row in rows:
        refuse_unless_among(row, ROWS)
    study = Study(data, tier, results, runs)
    refuse_other_records(rows, study, seeds, root)

    def standing() -> list[plan.Stage]:
        return [_stage(row, study, seed) for seed in range(seeds) for row in rows]

    def left() -> float:
        return math.inf if minutes is None else 60 * minutes - (time.monotonic() - began)

    def do(stage: plan.Stage) -> None:
        if stage.row in LOOKS:
            run_look(stage.row, study, stage.seed)
        else:
            run_transfer(stage.row, study, stage.seed, root)

    paces = {} if minutes is None and not dry else _paces(standing(), study, say)
    if dry:
        say(plan.as_text(standing(), paces))
    else:
        carry_out(standing, do, paces, left, say)
    done = (stage for stage in standing() if stage.done)
    return [Record.load(study.record(stage.row, stage.seed, EXPERIMENT)) for stage in done]


def faces_of(row: str, tier: Tier, root: Path | None = None) -> dict[str, FaceSet]:
    """Today's faces of a row by the roles that its record gives them."""
    look = LOOKS.get(row, grey)
    train, validation, test = map(look, synthfer_splits(tier).values())
    if row == "to-fer2013":
        test = load_faces("fer2013", "test", root)
    elif row == "from-fer2013":
        real = table1.load_splits("fer2013", root)
        train, validation = real.train, real.validation
    return {"train": train, "validation": validation, "test": test, "test, 0 %": test}


def refuse_other_records(rows: Sequence[str], study: Study, seeds: int, root: Path | None) -> None:
    """Refuse records that were made of other faces; of rows without one no face is read."""
    for row in rows:
        paths = [study.record(row, seed, EXPERIMENT) for seed in range(seeds)]
        if found := [path for path in paths if path.exists()]:
            today = faces_of(row, study.tier, root)
            sets = {role: lambda faces=faces: faces for role, faces in today.items()}
            data = "synthfer" if row in LOOKS else "synthfer and fer2013"
            for path in found:
                refuse_other_faces(path, sets, data, study.runs)


def _stage(row: str, study: Study, seed: int) -> plan.Stage:
    recipe = finetuning(study.tier, method="plain", seed=seed)
    kind, folder = budget.kind_of(recipe), look_folder(row, study, seed)
    if row == "to-fer2013":
        folder = look_folder("grey", study, seed)
    elif row == "from-fer2013":
        there = replace(study, data="fer2013")
        recipe = there.choice.applied(recipe) if there.choice else recipe
        kind, folder = f"{kind} on fer2013", there.run(SCRATCH, seed)
    return plan.Stage(
        study.name(row, seed), row, seed, kind, recipe.epochs,
        done=study.record(row, seed, EXPERIMENT).exists(),
        epochs_done=epochs_done(folder),
    )  # fmt: skip


def _paces(
    stages: list[plan.Stage], study: Study, say: Callable[[str], None]
) -> dict[str, budget.Pace]:
    """The pace on rendered faces, as recorded on this machine, or measured now."""
    recipe = finetuning(study.tier, method="plain")
    kind = budget.kind_of(recipe)
    looks = (*LOOKS, "to-fer2013")
    found = budget.recorded_paces(each for row in looks for each in study.recorded(row, EXPERIMENT))
    if kind not in found and any(stage.kind == kind and not stage.done for stage in stages):
        splits = synthfer_splits(study.tier)
        found[kind] = pace = budget.measure(recipe, splits["train"], splits["val"])
        say(f"{kind}: an epoch takes {pace.epoch:.1f} seconds here (measured).")
    return found


def refuse_unless_among(row: str, rows: Sequence[str]) -> None:
    """Say which rows there are."""
    if row not in rows:
        raise ValueError(f"a row of the data card is one of {', '.join(rows)}, got {row!r}.")


def _keep(faces: FaceSet, where: Callable) -> FaceSet:
    rows = torch.arange(faces.size[0], device=faces.device)
    kept = where(rows, faces.landmarks[:, NOSE, 1, None])[:, None, :, None]
    return replace(faces, images=torch.where(kept, faces.images, MASKED).byte())


def _record(name, recipe, seen, tests, tuned, predictions, study, **more) -> Record:
    record = make_record(
        EXPERIMENT,
        name,
        as_dict(recipe),
        {
            "train": seen["train"].describe(),
            "validation": seen["val"].describe(),
            **{
                role(condition) if condition else "test": faces.describe()
                for condition, faces in tests.items()
            },
        },
        tuned.history,
        tuned.seconds,
        predictions,
        tier=study.tier,
        best_epoch=tuned.best_epoch,
        **more,
    )
    record.save(study.results)
    return record
