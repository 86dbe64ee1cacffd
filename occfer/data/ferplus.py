"""FER+: ten people's votes for each face of FER2013.

Barsoum et al., "Training Deep Networks for Facial Expression Recognition with Crowd-Sourced
Label Distribution", ICMI 2016 (github.com/microsoft/FERPlus).
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from occfer.data.faceset import FaceSet
from occfer.data.fer2013 import SPLITS, fer2013
from occfer.data.sources import check_split, find_beside
from occfer.emotions import EMOTIONS, FERPLUS, UNLABELLED, from_ferplus

COLUMNS = (*FERPLUS, "unknown", "NF")
"""What a vote can be for; NF means "not a face"."""

TABLES = ("ferplus_votes.csv", "fer2013new.csv")
SHARE_WITH_VOTES = 0.99
VOTERS = 10

HOW_TO_GET = (
    "put fer2013new.csv from github.com/microsoft/FERPlus beside the challenge's fer2013.csv, or "
    "a ferplus_votes.csv (path, usage, row, then the votes) beside Kaggle's pictures"
)


def ferplus(
    split: str = "train",
    root: str | Path | None = None,
    check_counts: bool = True,
    unlabelled: bool = False,
) -> FaceSet:
    """One split of FER2013's faces with FER+'s majority labels.

    Args:
        split: ``train``, ``val`` or ``test`` as in FER2013.
        root: holds FER2013 and the votes; by default the environment's ``OCCFER_DATA``.
        check_counts: refuse an incomplete FER2013, and votes for less than 99 % of its faces.
        unlabelled: keep the faces without a majority for one of the seven expressions
            (contempt among them), with label -1; otherwise they are left out.

    Extras: ``votes`` int64 [N, 10] for each of ``COLUMNS``, ``ferplus_class`` int64 [N] as by
    ``majority``, ``soft`` float32 [N, 7] as by ``soft_labels``.

    Raises:
        FileNotFoundError: FER2013 or the votes are missing.
        ValueError: a table is damaged, or counts differ.
    """
    check_split(split, "FER+", SPLITS)
    everyone = _with_votes(split, root, check_counts)
    return everyone if unlabelled else everyone[everyone.labels != UNLABELLED]


def _with_votes(split: str, root: str | Path | None, check_counts: bool) -> FaceSet:
    faces = fer2013(split, root, check_counts)
    table = find_beside(root, TABLES, ("", "ferplus", ".."), "FER+", HOW_TO_GET)
    found = read_votes(table)
    if check_counts:
        _check_share(sum(identifier in found for identifier in faces.ids), faces, table)
    nobody = (0,) * len(COLUMNS)
    rows = [found.get(identifier, nobody) for identifier in faces.ids]
    votes = torch.tensor(rows, dtype=torch.int64).reshape(-1, len(COLUMNS))
    classes = majority(votes)
    extras = {"votes": votes, "ferplus_class": classes, "soft": soft_labels(votes)}
    return replace(faces, labels=_labels(classes), name="ferplus", extras=extras)


def majority(votes: Int64[Tensor, "faces 10"]) -> Int64[Tensor, " faces"]:
    """The class in ``FERPLUS`` with a majority, or -1: the reference's rule ``majority``.

    Single votes are outliers and do not count. The winner must then hold more than half of all
    votes left, those for "unknown" and "not a face" included, and be neither of these two.
    """
    kept = _without_outliers(votes)
    most, winner = kept.max(dim=1)
    wins = (2 * most > kept.sum(dim=1)) & (winner < len(FERPLUS))
    return torch.where(wins, winner, UNLABELLED)


def soft_labels(votes: Int64[Tensor, "faces 10"]) -> Float32[Tensor, "faces 7"]:
    """The share of each of the seven ``EMOTIONS`` among their votes, outliers left out.

    A face without such votes gets zeros.
    """
    seven = _without_outliers(votes)[:, [FERPLUS.index(emotion) for emotion in EMOTIONS]]
    return seven / seven.sum(dim=1, keepdim=True).clamp(min=1)


def read_votes(table: Path) -> dict[str, tuple[int, ...]]:
    """Votes by id of the face, as ``fer2013`` gives ids for pictures and for the table.

    Where two rows of different votes stand for one picture, it has none.

    Raises:
        ValueError: a column is missing or a vote is no number.
    """
    votes: dict[str, tuple[int, ...]] = {}
    disputed = set()
    for number, row in enumerate(rows(table, COLUMNS)):
        try:
            here = tuple(int(row[column]) for column in COLUMNS)
            identifiers = _identifiers(row, number)
            if not all(0 <= count <= VOTERS for count in here):
                raise ValueError(f"counts lie from 0 to {VOTERS}, got {here}")
        except (ValueError, KeyError) as damage:
            raise ValueError(
                f"{table} must have the votes of {VOTERS} people for each face, and say which face "
                f"it is (path, usage and row, or Usage), but row {number} has not ({damage!r}); "
                f"mend or fetch it again."
            ) from damage
        for identifier in identifiers:
            if votes.setdefault(identifier, here) != here:
                disputed.add(identifier)
    return {identifier: votes[identifier] for identifier in votes.keys() - disputed}


def _without_outliers(votes: Int64[Tensor, "faces 10"]) -> Int64[Tensor, "faces 10"]:
    return torch.where(votes > 1, votes, 0)


def _labels(classes: Int64[Tensor, " faces"]) -> Int64[Tensor, " faces"]:
    numbers = [UNLABELLED if number < 0 else from_ferplus(number) for number in classes.tolist()]
    return torch.tensor(numbers, dtype=torch.int64)


def _identifiers(row: Mapping[str, str], number: int) -> list[str]:
    """The face's id as picture, where the row has a path, and as row of FER2013's table."""
    if "path" not in row:
        return [f"{row['Usage']}_row{number:05d}"]
    return [row["path"].rpartition(".")[0], f"{row['usage']}_row{int(row['row']):05d}"]


def rows(table: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The rows of a table that has these columns, and perhaps others.

    Raises:
        ValueError: it has not.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            absent = set(columns) - set(reader.fieldnames or ())
            if absent:
                raise ValueError(f"{table} lacks the columns {', '.join(sorted(absent))}.")
            for row in reader:
                if None in row or None in row.values():
                    raise ValueError(
                        f"{table} must have {len(reader.fieldnames)} columns in each line, but "
                        f"line {reader.line_num} has not; mend or fetch it again."
                    )
                yield row
    except (UnicodeDecodeError, csv.Error) as damage:
        raise ValueError(
            f"{table} must be a table in UTF-8 with commas, but is not ({damage}); save or fetch "
            f"it again."
        ) from damage


def _check_share(count: int, faces: FaceSet, table: Path) -> None:
    if count < SHARE_WITH_VOTES * len(faces):
        raise ValueError(
            f"{table} must have votes for {SHARE_WITH_VOTES:.0%} of the {len(faces):,} faces of "
            f"FER2013's {faces.split} split, got {count:,}; use ferplus_votes.csv with Kaggle's "
            f"pictures and fer2013new.csv with fer2013.csv, or take it for what it is with "
            f"check_counts=False in Python."
        )
