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
from occfer.experiments import budget, plan, table1
from occfer.experiments.figure3 import covered_sets, score
from occfer.experiments.jobs import epochs_done
from occfer.experiments.methods import role
from occfer.experiments.progress import carry_out
from occfer.experiments.refusals import (
    refuse_nothing_to_do,
    refuse_other_faces,
    refuse_several_processes,
)
from occfer.experiments.rows import table1_row
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
    look: str, splits: dict[str, FaceSet], tier: Tier, seed: int, runs: Path
) -> tuple[FinetuneRecipe, dict[str, FaceSet], Finetuned]:
    """A plain network from scratch that sees faces in one way only."""
    recipe = finetuning(tier, method="plain", seed=seed)
    seen = {split: LOOKS[look](faces) for split, faces in splits.items()}
    folder = look_folder(look, tier, seed, runs)
    curves = Curves(folder)
    tuned = finetune(seen["train"], seen["val"], recipe, run=folder, watchers=[curves])
    save_curves(tuned.history, folder)
    return recipe, seen, tuned


def look_folder(look: str, tier: Tier, seed: int, runs: Path) -> Path:
    """Where the run of one look lies."""
    return runs / EXPERIMENT / f"{tier}-{look}-seed{seed}"


def record_name(row: str, tier: Tier, seed: int) -> str:
    """Such as ``synthfer-laptop-grey-seed0``."""
    return table1.record_name("synthfer", tier, row, seed)


def run_look(
    look: str, tier: Tier = TIER, seed: int = 0,
    results: Path = table1.RESULTS, runs: Path = Path("runs"),
) -> Record:  # fmt: skip
    """Train and score one look; ``whole`` is scored under every share of Figure 3."""
    name = record_name(look, tier, seed)
    path = results / EXPERIMENT / f"{name}.json"
    if path.exists():
        return Record.load(path)
    recipe, seen, tuned = train_look(look, synthfer_splits(tier), tier, seed, runs)
    if look == "whole":
        tests = covered_sets(seen["test"])
        predictions = score(tuned.model, tests)
    else:
        tests = {"": seen["test"]}
        predictions = evaluate(tuned.model, seen["test"])
    return _record(name, recipe, seen, tests, tuned, predictions, tier, results, look=look)


def run_transfer(
    direction: str, tier: Tier = TIER, seed: int = 0, root: Path | None = None,
    results: Path = table1.RESULTS, runs: Path = Path("runs"),
) -> Record:  # fmt: skip
    """``to-fer2013``: trained on grey SynthFER, scored on PrivateTest; ``from-fer2013``: the plain
    network from scratch of Table 1's controls, scored on the grey test people of SynthFER."""
    refuse_unless_among(direction, TRANSFERS)
    name = record_name(direction, tier, seed)
    path = results / EXPERIMENT / f"{name}.json"
    if path.exists():
        return Record.load(path)
    more = {}
    if direction == "to-fer2013":
        recipe, seen, tuned = train_look("grey", synthfer_splits(tier), tier, seed, runs)
        test = load_faces("fer2013", "test", root)
    else:
        real = table1.load_splits("fer2013", root)
        recipe, tuned = table1.train_row(SCRATCH, real, "fer2013", tier, seed, results, runs)
        whole, choice = table1_row(SCRATCH, tier), budget.chosen(runs, "fer2013", tier)
        more = table1.stated_budget(whole, recipe, tuned.history, choice)
        seen = {"train": real.train, "val": real.validation}
        test = grey(synthfer_splits(tier)["test"])
    predictions = evaluate(tuned.model, test)
    return _record(name, recipe, seen, {"": test}, tuned, predictions, tier, results, **more)


def reproduce(
    data: str = "synthfer",
    tier: Tier = TIER,
    seeds: int = 1,
    rows: tuple[str, ...] = tuple(LOOKS),
    root: Path | None = None,
    results: Path = table1.RESULTS,
    runs: Path = Path("runs"),
    minutes: float | None = None,
    dry: bool = False,
    say: Callable[[str], None] = print,
) -> list[Record]:
    """Every measurement in ``rows`` (looks and transfers) that is not recorded yet; a record of
    other faces is refused.

    ``data`` is SynthFER whatever is asked for; ``root`` is where FER2013 lies, for transfers.
    ``minutes``, ``dry`` and ``say`` are as for Table 1, see
    :func:`occfer.experiments.reproduce.reproduce`. Networks of rendered faces keep all their
    epochs; ``from-fer2013`` is of a network of Table 1, with the share that was chosen there.

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
    refuse_other_records(rows, tier, seeds, root, results, runs)

    def standing() -> list[plan.Stage]:
        return [_stage(row, tier, seed, results, runs) for seed in range(seeds) for row in rows]

    def left() -> float:
        return math.inf if minutes is None else 60 * minutes - (time.monotonic() - began)

    def do(stage: plan.Stage) -> None:
        if stage.row in LOOKS:
            run_look(stage.row, tier, stage.seed, results, runs)
        else:
            run_transfer(stage.row, tier, stage.seed, root, results, runs)

    paces = {} if minutes is None and not dry else _paces(standing(), tier, results, say)
    if dry:
        say(plan.as_text(standing(), paces))
    else:
        carry_out(standing, do, paces, left, say)
    paths = [results / EXPERIMENT / f"{stage.name}.json" for stage in standing() if stage.done]
    return [Record.load(path) for path in paths]


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


def refuse_other_records(
    rows: Sequence[str], tier: Tier, seeds: int, root: Path | None, results: Path, runs: Path
) -> None:
    """Refuse records that were made of other faces; of rows without one no face is read."""
    for row in rows:
        paths = [results / EXPERIMENT / f"{record_name(row, tier, s)}.json" for s in range(seeds)]
        if found := [path for path in paths if path.exists()]:
            today = faces_of(row, tier, root)
            sets = {role: lambda faces=faces: faces for role, faces in today.items()}
            data = "synthfer" if row in LOOKS else "synthfer and fer2013"
            for path in found:
                refuse_other_faces(path, sets, data, runs)


def _stage(row: str, tier: Tier, seed: int, results: Path, runs: Path) -> plan.Stage:
    name, recipe = record_name(row, tier, seed), finetuning(tier, method="plain", seed=seed)
    kind, folder = budget.kind_of(recipe), look_folder(row, tier, seed, runs)
    if row == "to-fer2013":
        folder = look_folder("grey", tier, seed, runs)
    elif row == "from-fer2013":
        trained = table1.record_name("fer2013", tier, SCRATCH, seed)
        choice = budget.chosen(runs, "fer2013", tier)
        recipe = choice.applied(recipe) if choice else recipe
        kind, folder = f"{kind} on fer2013", runs / table1.EXPERIMENT / trained
    return plan.Stage(
        name, row, seed, kind, recipe.epochs,
        done=(results / EXPERIMENT / f"{name}.json").exists(),
        epochs_done=epochs_done(folder),
    )  # fmt: skip


def _paces(
    stages: list[plan.Stage], tier: Tier, results: Path, say: Callable[[str], None]
) -> dict[str, plan.Pace]:
    """The pace on rendered faces, as recorded on this machine, or measured now."""
    recipe = finetuning(tier, method="plain")
    kind = budget.kind_of(recipe)
    looks = (*LOOKS, "to-fer2013")
    found = budget.recorded_paces(each for row in looks for each in recorded(results, tier, row))
    if kind not in found and any(stage.kind == kind and not stage.done for stage in stages):
        splits = synthfer_splits(tier)
        found[kind] = pace = budget.measure(recipe, splits["train"], splits["val"])
        say(f"{kind}: an epoch takes {pace.epoch:.1f} seconds here (measured).")
    return found


def refuse_unless_among(row: str, rows: Sequence[str]) -> None:
    """Say which rows there are."""
    if row not in rows:
        raise ValueError(f"a row of the data card is one of {', '.join(rows)}, got {row!r}.")


def recorded(results: Path, tier: Tier, what: str) -> tuple[Record, ...]:
    """All seeds of one measurement."""
    return table1.recorded(results, "synthfer", tier, what, EXPERIMENT)


def _keep(faces: FaceSet, where: Callable) -> FaceSet:
    rows = torch.arange(faces.size[0], device=faces.device)
    kept = where(rows, faces.landmarks[:, NOSE, 1, None])[:, None, :, None]
    return replace(faces, images=torch.where(kept, faces.images, MASKED).byte())


def _record(name, recipe, seen, tests, tuned, predictions, tier, results, **more) -> Record:
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
        tier=tier,
        best_epoch=tuned.best_epoch,
        **more,
    )
    record.save(results)
    return record
