"""RAF-DB (§3.1): 15,339 aligned faces of 100 x 100 pixels with one of seven basic expressions.

Li, Deng and Du, "Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression
Recognition in the Wild", CVPR 2017. It comes with a training and a test split; a tenth of the
training split, the same share of every expression, is held out as ``val`` to choose epochs by.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from occfer.data.cache import cached
from occfer.data.faceset import FaceSet
from occfer.data.pictures import load
from occfer.data.sources import check_split, data_root, expect_counts, missing, read_text
from occfer.emotions import EMOTIONS, from_rafdb

SIZE = (100, 100)
SPLITS = ("train", "val", "test")
COUNTS = {
    "train": dict(zip(EMOTIONS, (705, 717, 281, 4772, 1982, 1290, 2524), strict=True)),
    "test": dict(zip(EMOTIONS, (162, 160, 74, 1185, 478, 329, 680), strict=True)),
}
"""Faces per official split and expression: 12,271 and 3,068 in all."""

HOW_TO_GET = (
    "ask its authors for the basic set (http://www.whdeng.cn/raf/model1.html) and unpack "
    "Image/aligned.zip"
)

LIST = "list_patition_label.txt"  # spelt as its authors do
BASES = ("", "basic", "rafdb", "rafdb/basic", "RAF-DB", "RAF-DB/basic", "raf-db", "raf-db/basic")
VAL_SHARE = 0.1
VAL_SEED = 0


class Entry(NamedTuple):
    """One line of the list."""

    id: str
    label: int


def rafdb(
    split: str = "train", root: str | Path | None = None, check_counts: bool = True
) -> FaceSet:
    """One split of RAF-DB's basic set, memory-mapped, images [N, 3, 100, 100].

    Args:
        split: ``train`` (90 % of the official training split), ``val`` (the other 10 %) or
            ``test``; the official training split is ``FaceSet.concat`` of the first two.
        root: the folder with ``list_patition_label.txt`` (or ``EmoLabel/`` of it) and
            ``aligned/`` (or ``Image/aligned/``), or one above it; by default the environment's
            ``OCCFER_DATA``.
        check_counts: refuse other counts per expression than ``COUNTS``.

    Raises:
        FileNotFoundError: it is not there, or a listed picture is missing.
        ValueError: counts differ, or a line or picture is broken; the message names it.
    """
    check_split(split, "RAF-DB", SPLITS)
    labels, pictures = find(data_root(root, "RAF-DB", HOW_TO_GET))
    entries = read_list(labels)
    if check_counts:
        for official, expected in COUNTS.items():
            found = _counts(entry for entry in entries if entry.id.startswith(official))
            expect_counts(found, expected, f"RAF-DB's official {official} split", labels)
    return cached("rafdb", (labels, pictures), split, lambda: read(entries, pictures))


def find(root: Path) -> tuple[Path, Path]:
    """The list of labels and the folder of aligned pictures in ``root``.

    Raises:
        FileNotFoundError: one of them is not there.
    """
    for base in (root / base for base in BASES):
        for labels in (base / LIST, base / "EmoLabel" / LIST):
            for pictures in (base / "aligned", base / "Image" / "aligned"):
                if labels.is_file() and pictures.is_dir():
                    return labels, pictures
    raise missing("RAF-DB", f"{root} holds no {LIST} beside a folder aligned", HOW_TO_GET)


def read(entries: list[Entry], pictures: Path) -> dict[str, FaceSet]:
    """All splits, decoded.

    Raises:
        FileNotFoundError: listed pictures are missing.
        ValueError: a picture is broken.
    """
    absent = [entry for entry in entries if not _picture(pictures, entry).is_file()]
    if absent:
        raise missing(
            "RAF-DB",
            f"{pictures} lacks {len(absent):,} of {len(entries):,} listed pictures, such as "
            f"{_picture(pictures, absent[0]).name}",
            HOW_TO_GET,
        )
    training = [entry for entry in entries if entry.id.startswith("train")]
    held_out = validation(training)
    splits = {
        "train": set(training) - held_out,
        "val": held_out,
        "test": set(entries) - set(training),
    }
    return {split: _face_set(split, pictures, sorted(part)) for split, part in splits.items()}


def read_list(labels: Path) -> list[Entry]:
    """Id and label of every line, such as ``train_00001.jpg 5``.

    Raises:
        ValueError: it is not in UTF-8, a line is of another form, or a face stands there twice.
    """
    entries = []
    for number, line in enumerate(read_text(labels).splitlines(), start=1):
        try:
            file, expression = line.split()
            identifier = Path(file).stem
            if identifier != file.removesuffix(".jpg") or not identifier.startswith(tuple(COUNTS)):
                raise ValueError(f"{file!r} is no name such as train_00001.jpg")
            entries.append(Entry(identifier, from_rafdb(int(expression))))
        except ValueError as error:
            raise ValueError(
                f"{labels} must hold lines such as 'train_00001.jpg 5', but line {number} is "
                f"{line[:80]!r} ({error}); fetch it again."
            ) from error
    twice = [identifier for identifier, n in Counter(e.id for e in entries).items() if n > 1]
    if twice:
        raise ValueError(
            f"{labels} must list each face once, got {twice[0]} again; fetch it again."
        )
    return entries


def validation(entries: Iterable[Entry], seed: int = VAL_SEED) -> set[Entry]:
    """``VAL_SHARE`` of the entries of each expression, rounded.

    They are ranked by a hash of seed and id, so the choice depends on no library's generator.
    """
    ranked = sorted(entries, key=lambda entry: _rank(entry.id, seed))
    chosen: set[Entry] = set()
    for label in range(len(EMOTIONS)):
        of_label = [entry for entry in ranked if entry.label == label]
        chosen.update(of_label[: round(VAL_SHARE * len(of_label))])
    return chosen


def _rank(identifier: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {identifier}".encode()).digest()


def _picture(pictures: Path, entry: Entry) -> Path:
    return pictures / f"{entry.id}_aligned.jpg"


def _face_set(split: str, pictures: Path, entries: list[Entry]) -> FaceSet:
    images = np.empty((len(entries), *SIZE, 3), np.uint8)
    for image, entry in zip(images, entries, strict=True):
        image[:] = load(_picture(pictures, entry), "RGB", SIZE)
    return FaceSet(
        images=torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))),
        labels=torch.tensor([entry.label for entry in entries], dtype=torch.int64),
        ids=[entry.id for entry in entries],
        name="rafdb",
        split=split,
    )


def _counts(entries: Iterable[Entry]) -> dict[str, int]:
    found = Counter(entry.label for entry in entries)
    return {emotion: found[label] for label, emotion in enumerate(EMOTIONS)}
