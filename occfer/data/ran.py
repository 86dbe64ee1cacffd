"""Faces that were occluded or turned away when they were photographed: RAN's lists.

Wang et al., "Region Attention Networks", IEEE TIP 2020, marked the test faces of FER+ and RAF-DB
that are occluded, and those whose head is turned by more than 30 or 45 degrees
(github.com/kaiwang960112/Challenge-condition-FER-dataset). The lists hold names and classes; the
pictures are those of the two data sets.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from occfer.data import ferplus, rafdb
from occfer.data.faceset import FaceSet
from occfer.data.fer2013 import fer2013
from occfer.data.sources import check_split, find_beside, read_text
from occfer.emotions import FERPLUS, RAFDB, UNLABELLED, from_ferplus, from_rafdb

CHALLENGES = ("occlusion", "pose30", "pose45")
FILES = {
    "ferplus": (
        ("jianfei_occlusion_list.txt", 605),
        ("pose_30_ferplus_list.txt", 1170),
        ("pose_45_ferplus_list.txt", 633),
    ),
    "rafdb": (
        ("rafdb_occlusion_list.txt", 734),
        ("val_raf_db_list.txt", 1247),
        ("val_raf_db_list_45.txt", 558),
    ),
}
"""The authors' name of each list, in the order of ``CHALLENGES``, and how many faces it names."""

CLASSES = {"ferplus": len(FERPLUS), "rafdb": len(RAFDB)}
"""How many classes the lists know; contempt is one of FER+'s."""

JOINED = "occlusion_ferplus.csv"
"""FER+'s occluded faces by their paths in Kaggle's folders, which need no table of names; read
where the authors' list is not there. Its columns are ``path`` and ``ferplus_class``."""

NAMES = "fer2013new.csv"
HOW_TO_GET = (
    "take it from github.com/kaiwang960112/Challenge-condition-FER-dataset (FERplus_dir, "
    "RAF_DB_dir), and for FER+ fer2013new.csv from github.com/microsoft/FERPlus too"
)

# 1_fer0034656.png 8 0 or 0/fer0032226.jpg or 0/test_0004_aligned.jpg: the class comes first;
_CLASS_FIRST = re.compile(r"(?P<label>\d)[/_](?P<name>(?:fer|test_)\d+)\w*\.(?:png|jpg)(?: \d+)*")
# test_0003_aligned 3 4: here it comes second, then the kind of the occlusion.
_NAME_FIRST = re.compile(r"(?P<name>test_\d+)\w*(?:\.jpg)? (?P<label>\d)(?: \d+)?")


def challenge(
    data: str,
    split: str,
    root: str | Path | None = None,
    check_counts: bool = True,
    unlabelled: bool = False,
) -> FaceSet:
    """The listed faces of a test split, in the list's order and with the list's labels.

    Args:
        data: ``ferplus`` or ``rafdb``.
        split: one of ``CHALLENGES``.
        root: holds the data set and the list, the list also in a folder ``ran``; by default the
            environment's ``OCCFER_DATA``. With FER2013's own table or Kaggle's pictures FER+'s
            lists need ``fer2013new.csv``, which says which row a name means; with the pictures
            ``ferplus_votes.csv`` as well. ``JOINED`` needs neither.
        check_counts: refuse a list of another length than ``FILES`` says.
        unlabelled: keep faces of FER+'s contempt, with label -1.

    Extras, of FER+'s faces: ``ferplus_class`` int64 [N], contempt being 7.

    Raises:
        FileNotFoundError: the data set, the list or a table is missing.
        ValueError: a line is of another form, a listed face is not there, or counts differ.
    """
    if data not in FILES:
        raise ValueError(f"RAN has lists for {' and '.join(FILES)}, got {data!r}.")
    check_split(split, f"RAN's lists for {data}", CHALLENGES)
    file, count = FILES[data][CHALLENGES.index(split)]
    table = _find(root, file, *([JOINED] if (data, split) == ("ferplus", "occlusion") else []))
    listed = read_joined(table) if table.name == JOINED else read_list(table, CLASSES[data])
    if data == "rafdb":
        faces = rafdb.rafdb("test", root, check_counts)
        labels, extras = [from_rafdb(number + 1) for number in listed.values()], {}
    else:
        faces = fer2013("test", root, check_counts)
        labels = [from_ferplus(number) for number in listed.values()]
        extras = {"ferplus_class": torch.tensor(list(listed.values()), dtype=torch.int64)}
    named = data == "ferplus" and table.name != JOINED
    ids = _ferplus_ids(root, listed, faces) if named else list(listed)
    place = {identifier: row for row, identifier in enumerate(faces.ids)}
    absent = [name for name, identifier in zip(listed, ids, strict=True) if identifier not in place]
    if absent or (check_counts and len(listed) != count):
        raise ValueError(
            f"{table} must list {count:,} faces of the test split, got {len(listed):,}, of which "
            f"{len(absent):,} are not there ({', '.join(absent[:3]) or 'none'}); fetch the list "
            f"again or complete the data set."
        )
    chosen = replace(
        faces[[place[identifier] for identifier in ids]],
        labels=torch.tensor(labels, dtype=torch.int64),
        name=data,
        split=split,
        extras=extras,
    )
    return chosen if unlabelled else chosen[chosen.labels != UNLABELLED]


def read_list(table: Path, classes: int) -> dict[str, int]:
    """Name -> class, as RAN numbers it: FER+'s own numbers, and RAF-DB's less one.

    A face that a list names twice counts once.

    Args:
        table: the list.
        classes: how many classes there are, counted from 0.

    Raises:
        ValueError: it is not in UTF-8, a line is of another form or names another class, or a face
            has two.
    """
    found: dict[str, int] = {}
    for number, line in enumerate(read_text(table).splitlines(), start=1):
        fits = _CLASS_FIRST.fullmatch(line.strip()) or _NAME_FIRST.fullmatch(line.strip())
        label = int(fits["label"]) if fits else classes
        if label >= classes or found.setdefault(fits["name"], label) != label:
            raise ValueError(
                f"{table} must hold lines such as '0/fer0032226.jpg' or 'test_0003_aligned 3 4', "
                f"each face with one class from 0 to {classes - 1}, but line {number} is "
                f"{line[:80]!r}; fetch it again."
            )
    return found


def read_joined(table: Path) -> dict[str, int]:
    """The id of each face, as ``fer2013`` gives it for pictures -> FER+'s class, from ``JOINED``.

    Raises:
        ValueError: a column is missing, a class is none of FER+'s, or a face has two.
    """
    found: dict[str, int] = {}
    for row in ferplus.rows(table, ("path", "ferplus_class")):
        if row["ferplus_class"] not in map(str, range(len(FERPLUS))):
            raise ValueError(
                f"{table} must give each face's ferplus_class as a number from 0 to 7, got "
                f"{row['ferplus_class']!r} for {row['path']!r}; mend that line."
            )
        identifier, number = row["path"].rpartition(".")[0], int(row["ferplus_class"])
        if found.setdefault(identifier, number) != number:
            raise ValueError(
                f"{table} must give each face one class, but {row['path']!r} has "
                f"{found[identifier]} and {number}; mend that line."
            )
    return found


def _find(root: str | Path | None, *files: str) -> Path:
    places = ("", "ran", "ferplus", "rafdb", "..")
    return find_beside(root, files, places, "RAN's list", HOW_TO_GET)


def _ferplus_ids(root: str | Path | None, listed: Mapping[str, int], faces: FaceSet) -> list[str]:
    """The id of each named face in ``faces``: FER+ names pictures, FER2013 counts rows."""
    row_of = {
        row["Image name"].partition(".")[0]: f"{row['Usage']}_row{number:05d}"
        for number, row in enumerate(ferplus.rows(_find(root, NAMES), ("Usage", "Image name")))
    }
    ids = [row_of.get(name, name) for name in listed]
    if any("_row" in identifier for identifier in faces.ids[:1]):
        return ids
    votes = ferplus.rows(_find(root, ferplus.TABLES[0]), ("path", "usage", "row"))
    path_of = {
        f"{row['usage']}_row{int(row['row']):05d}": row["path"].rpartition(".")[0] for row in votes
    }
    return [path_of.get(identifier, identifier) for identifier in ids]
