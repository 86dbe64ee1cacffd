"""What the data card of SynthFER claims, measured: is the set neither trivial nor impossible, what
do the two halves of a face tell, and does it mean anything for real faces?

Small plain networks are trained from scratch on rendered people and scored on people they have
never seen: on whole faces, on the half above and the half below the tip of the nose, and on grey
faces, which is how a network can be tried on FER2013 and one from FER2013 on these.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from occfer.data import FaceSet, load_faces
from occfer.engine.conditions import evaluate_conditions
from occfer.engine.evaluate import evaluate
from occfer.engine.finetune import Finetuned, finetune
from occfer.engine.records import Record, environment, make_record
from occfer.experiments import table1
from occfer.experiments.figure3 import covered_sets
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
    folder = runs / EXPERIMENT / f"{tier}-{look}-seed{seed}"
    return recipe, seen, finetune(seen["train"], seen["val"], recipe, run=folder)


def run_look(
    look: str, tier: Tier = TIER, seed: int = 0,
    results: Path = table1.RESULTS, runs: Path = Path("runs"),
) -> Record:  # fmt: skip
    """Train and score one look; ``whole`` is scored under every share of Figure 3."""
    name = f"synthfer-{tier}-{look}-seed{seed}"
    path = results / EXPERIMENT / f"{name}.json"
    if path.exists():
        return Record.load(path)
    recipe, seen, tuned = train_look(look, synthfer_splits(tier), tier, seed, runs)
    tests = covered_sets(seen["test"]) if look == "whole" else {"": seen["test"]}
    if look == "whole":
        predictions = evaluate_conditions(tuned.model, tests)
    else:
        predictions = evaluate(tuned.model, seen["test"])
    return _record(name, recipe, seen, tests, tuned, predictions, tier, results, look=look)


def run_transfer(
    direction: str, tier: Tier = TIER, seed: int = 0, root: Path | None = None,
    results: Path = table1.RESULTS, runs: Path = Path("runs"),
) -> Record:  # fmt: skip
    """``to-fer2013``: trained on grey SynthFER, scored on PrivateTest; ``from-fer2013``: the plain
    network from scratch of Table 1's controls, scored on the grey test people of SynthFER."""
    name = f"synthfer-{tier}-{direction}-seed{seed}"
    path = results / EXPERIMENT / f"{name}.json"
    if path.exists():
        return Record.load(path)
    if direction == "to-fer2013":
        recipe, seen, tuned = train_look("grey", synthfer_splits(tier), tier, seed, runs)
        test = load_faces("fer2013", "test", root)
    elif direction == "from-fer2013":
        real = table1.load_splits("fer2013", root)
        recipe, tuned = table1.train_row(
            "Res18-scratch", real, "fer2013", tier, seed, results, runs
        )
        seen = {"train": real.train, "val": real.validation}
        test = grey(synthfer_splits(tier)["test"])
    else:
        names = ", ".join((*LOOKS, *TRANSFERS))
        raise ValueError(f"a row of the data card is one of {names}, got {direction!r}.")
    predictions = evaluate(tuned.model, test)
    return _record(name, recipe, seen, {"": test}, tuned, predictions, tier, results)


def reproduce(
    data: str = "synthfer",
    tier: Tier = TIER,
    seeds: int = 1,
    rows: tuple[str, ...] = tuple(LOOKS),
    root: Path | None = None,
    results: Path = table1.RESULTS,
    runs: Path = Path("runs"),
) -> list[Record]:
    """Every measurement in ``rows`` (looks and transfers) that is not recorded yet.

    ``data`` is SynthFER whatever is asked for; ``root`` is where FER2013 lies, for transfers.
    """
    environment()
    if data != "synthfer":
        raise ValueError(f"the data card is SynthFER's, got data {data!r}; leave --data out.")
    records = []
    for seed in range(seeds):
        for row in rows:
            if row in LOOKS:
                records.append(run_look(row, tier, seed, results, runs))
            else:
                records.append(run_transfer(row, tier, seed, root, results, runs))
    return records


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
                f"test, {condition} %" if condition else "test": faces.describe()
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
