"""Occlusion-FERPlus: what really occluded faces cost, beside the drawn occluders of Figure 3.

RAN's list (:mod:`occfer.data.ran`) names 605 faces that were covered when they were photographed.
All stand in FER2013's test split, so that every recorded network of Table 1 has answered them
already: here its stored predictions are taken apart into those faces and the others.

These are other faces, and not the same ones without a cover, so that three things beside the cover
could make them harder or easier. Their expressions are mixed otherwise: the others are weighted to
the same mix. FER+'s people agree about nearly all of them, and about fewer of the others: only
those others are *matched*. And the two sets of labels contradict each other, on covered faces more
often than elsewhere: every number is given against either, and where both agree.

The list is somebody else's. What is recorded are counts, accuracies and its hash.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64

from occfer.data import load_faces
from occfer.emotions import UNLABELLED
from occfer.engine.evaluate import Predictions
from occfer.engine.measurements import times_drawn
from occfer.engine.records import Record, environment
from occfer.experiments.comparison import Comparison, by_seed, compare, t_interval
from occfer.experiments.rows import ROWS
from occfer.experiments.standardisation import AGAINST, Sides, fall
from occfer.experiments.study import TABLE1, Study
from occfer.files import file_sha256

EXPERIMENT = "occlusion-ferplus"
DATA = "fer2013"
"""Whose test split holds the listed faces."""
LABELS = ("fer2013", "ferplus", "agreed")
"""FER2013's own labels; the list's and FER+'s majority; and those of the faces on which both say
the same."""
PAIRS = (
    ("OCL+Res18", "Res18-scratch"),
    ("OCL+Res18+FGW", "OCL+Res18"),
    ("OCL+Res18+FGW+LGDS", "OCL+Res18+FGW"),
    ("OCL+Res18+FGW+LGDS", "OCL+Res18"),
    ("OCL+Res18+FGW+LGDS", "Res18-scratch"),
    ("OCL+Res18+FGW+LGDS", "Res18-scratch-long"),
    ("Res18-scratch-occluded", "Res18-scratch"),
    ("OCL+Res18-occluded", "OCL+Res18"),
)
"""The steps of the method, the method against plain networks, and blocks in fine-tuning."""
KEPT = ("count", "accuracy", "accuracy_interval_95", "balanced_accuracy")


def measure(study: Study, root: Path | None = None, check_counts: bool = True) -> Record:
    """Score every network of Table 1 that is recorded for FER2013 on the really occluded faces.

    Writes ``occlusion-ferplus/fer2013-<tier>.json`` each time anew; see :func:`under` for what
    stands in it.

    Args:
        study: of FER2013; whose records, and where they lie.
        root: holds FER2013, FER+'s votes and RAN's list.
        check_counts: refuse copies of them that are not complete.

    Raises:
        ValueError: other data, no record, or records of other faces than ``root`` holds.
        FileNotFoundError: something is missing; the message says how to obtain it.
    """
    if study.data != DATA:
        raise ValueError(
            f"the really occluded faces stand in FER2013, got {study.data!r}; pass --data fer2013."
        )
    faces = load_faces(DATA, "test", root, check_counts=check_counts)
    every = dict(root=root, check_counts=check_counts, unlabelled=True)
    listed = load_faces("ferplus", "occlusion", **every)
    voted = load_faces("ferplus", "test", **every)
    rows = {row: study.recorded(row) for row in ROWS}
    said = {row: by_seed(records) for row, records in rows.items() if records}
    _check(said, faces.ids, study)
    numbers = dict(zip(listed.ids, listed.labels.tolist(), strict=True))
    sides = sides_of(
        faces.labels.numpy(),
        voted.labels.numpy(),
        np.array([numbers.get(each, UNLABELLED) for each in faces.ids]),
        np.array([each in numbers for each in faces.ids]),
        voted.extras["ferplus_class"].numpy() >= 0,
    )
    drawn = times_drawn(len(faces))
    values = {
        "experiment": EXPERIMENT,
        "name": _path(study).stem,
        "tier": study.tier,
        "environment": environment(),
        "data": {"test": faces.describe(), "occluded": listed.describe()},
        "predictions": {
            path.stem: file_sha256(path.with_suffix(".npz"))
            for row in ROWS
            for path in study.records(row)
        },
        "agreement": agreement(sides),
        "labels": {labels: under(each, said, drawn) for labels, each in sides.items()},
    }
    record = Record(json.loads(json.dumps(values)))
    record.save(study.results)
    return record


def recorded(study: Study) -> Record | None:
    """What :func:`measure` wrote; None where it was not run."""
    path = _path(study)
    return Record.load(path) if path.exists() else None


def _path(study: Study) -> Path:
    return study.results / EXPERIMENT / f"{DATA}-{study.tier}.json"


def sides_of(
    fer2013: Int64[np.ndarray, " faces"],
    ferplus: Int64[np.ndarray, " faces"],
    listed: Int64[np.ndarray, " faces"],
    occluded: Bool[np.ndarray, " faces"],
    clear: Bool[np.ndarray, " faces"],
) -> dict[str, Sides]:
    """The split under each of ``LABELS``: FER+'s are the list's own where a face is on it."""
    theirs = np.where(occluded, listed, ferplus)
    agreed = np.where(fer2013 == theirs, theirs, UNLABELLED)
    every = zip(LABELS, (fer2013, theirs, agreed), strict=True)
    return {name: Sides(labels, occluded, clear) for name, labels in every}


def agreement(sides: Mapping[str, Sides]) -> dict[str, float]:
    """On what share of the faces that FER+ labels FER2013 says the same, part by part."""
    both, theirs = sides["agreed"].parts, sides["ferplus"].parts
    return {part: float(both[part].sum() / theirs[part].sum()) for part in ("occluded", "others")}


def under(
    sides: Sides,
    said: Mapping[str, Mapping[int, Predictions]],
    drawn: Float[np.ndarray, "draws faces"],
) -> dict[str, Any]:
    """Everything that is recorded under one set of labels.

    Args:
        said: predictions of the whole split by row and seed.
        drawn: how often each resample drew each face.

    Returns:
        ``faces``: counts per part and expression. ``rows``: by row and seed the metrics of both
        parts and the falls, and the falls of the mean over seeds. ``pairs``: two rows on the
        occluded faces (:class:`Comparison`), and by how much their falls differ; negative where
        the first loses less.
    """
    correct = {
        row: {seed: (each.labels == sides.labels).astype(float) for seed, each in of.items()}
        for row, of in said.items()
    }
    parts = {part: sides.parts[part] for part in ("occluded", "others")}
    among = {
        part: {
            row: {seed: each.among(chosen, sides.labels) for seed, each in of.items()}
            for row, of in said.items()
        }
        for part, chosen in parts.items()
    }
    rows = {
        row: {
            "seeds": {
                str(seed): {
                    **{part: _kept(among[part][row][seed]) for part in parts},
                    "fall": fall(right, sides, drawn),
                }
                for seed, right in of.items()
            },
            "fall": fall(np.mean(list(of.values()), axis=0), sides, drawn),
        }
        for row, of in correct.items()
    }
    for of in rows.values():
        for against, found in of["fall"].items():
            found["over_seeds_95"] = t_interval(
                [each["fall"][against]["points"] for each in of["seeds"].values()]
            )
    pairs = []
    for first, second in PAIRS:
        shared = sorted(said.get(first, {}).keys() & said.get(second, {}).keys())
        if not shared:
            continue
        ahead = np.mean([correct[first][s] - correct[second][s] for s in shared], axis=0)
        occluded = compare(among["occluded"][first], among["occluded"][second])
        pairs.append(
            {
                "first": first,
                "second": second,
                "occluded": asdict(occluded),
                "fall": fall(ahead, sides, drawn),
            }
        )
    return {"faces": sides.counts(), "rows": rows, "pairs": pairs}


def comparison(pair: Mapping[str, Any]) -> Comparison:
    """Of one of the recorded pairs, on the occluded faces."""
    return Comparison(**{name: _from_json(value) for name, value in pair["occluded"].items()})


def pairs_as_markdown(record: Record, labels: str) -> str:
    """Every recorded pair of rows against one set of labels: a difference of accuracies on the
    occluded faces, and a difference of matched falls, in points."""
    lines = [
        "| pair | seeds | points on covered faces | interval over seeds | over faces | verdict "
        "| loses more (+) or less (-) | interval over faces |",
        "|---|--:|--:|--:|--:|---|--:|--:|",
    ]
    for pair in record.values["labels"][labels]["pairs"]:
        found, lost = comparison(pair), pair["fall"]["matched"]
        seeds, faces, falls = (
            "–" if ends is None else f"{ends[0]:+.2f} to {ends[1]:+.2f}"
            for ends in (found.interval, found.interval_faces, lost["interval_95"])
        )
        lines.append(
            f"| {pair['first']} against {pair['second']} | {len(found.differences)} "
            f"| {found.mean:+.2f} | {seeds} | {faces} | {found.verdict} | {lost['points']:+.2f} "
            f"| {falls} |"
        )
    return "\n".join(lines)


def as_markdown(record: Record, labels: str) -> str:
    """Every row against one set of labels, for the book; in per cent and points, means of seeds."""
    head = [
        "| row | seeds | really occluded | others | fall | interval | fall, matched | interval "
        "| fall, balanced |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    body = []
    for row, found in record.values["labels"][labels]["rows"].items():
        seeds = list(found["seeds"].values())
        falls = " | ".join(_with_interval(found["fall"][against]) for against in AGAINST)
        balanced = _mean(seeds, "others", "balanced_accuracy") - _mean(
            seeds, "occluded", "balanced_accuracy"
        )
        body.append(
            f"| {row} | {len(seeds)} | {_mean(seeds, 'occluded', 'accuracy'):.2f} "
            f"| {_mean(seeds, 'others', 'accuracy'):.2f} | {falls} | {balanced:.2f} |"
        )
    return "\n".join(head + body)


def _from_json(value: Any) -> Any:
    """Seeds are numbers again, and an interval's ends a tuple."""
    if isinstance(value, dict):
        return {int(seed): each for seed, each in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _mean(seeds: list[Mapping[str, Any]], part: str, metric: str) -> float:
    return 100 * float(np.mean([each[part][metric] for each in seeds]))


def _with_interval(found: Mapping[str, Any]) -> str:
    low, high = found["interval_95"]
    return f"{found['points']:.2f} | {low:.2f} to {high:.2f}"


def _kept(predictions: Predictions) -> dict[str, Any]:
    metrics = predictions.metrics()
    return {name: metrics[name] for name in KEPT}


def _check(said: Mapping, ids: tuple[str, ...], study: Study) -> None:
    if not said:
        raise ValueError(
            f"{study.results / TABLE1} must hold a row of Table 1 on FER2013 at the {study.tier} "
            "tier, but has none; run occfer reproduce table1 --data fer2013 first."
        )
    for row, of in said.items():
        for seed, each in of.items():
            if each.ids != ids:
                raise ValueError(
                    f"{row}, seed {seed}, must have been scored on the {len(ids):,} test faces "
                    f"at hand, the first being {ids[0]!r}, but its {len(each.ids):,} begin with "
                    f"{each.ids[0]!r}; give the copy of FER2013 that it was scored on."
                )
