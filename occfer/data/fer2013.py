"""FER2013 (§3.1): 35,887 grey faces of 48 x 48 pixels in three splits.

Goodfellow et al., "Challenges in Representation Learning", 2013. Two forms of it are about: the
challenge's own table with a row of pixels per face, and Kaggle's folders of JPEG files. The
JPEG files are compressed again, so their pixels are close to the table's, not equal.
"""

import csv
import re
from collections.abc import Iterator
from io import BufferedIOBase, BytesIO, TextIOWrapper
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8

from occfer.data.archives import Limits, is_archive, read_files
from occfer.data.cache import cached
from occfer.data.faceset import FaceSet
from occfer.data.pictures import decode
from occfer.data.sources import check_split, data_root, expect_counts, missing
from occfer.emotions import EMOTIONS, emotion_index, from_fer2013
from occfer.files import walk

SIZE = (48, 48)
SPLITS = {"train": "Training", "val": "PublicTest", "test": "PrivateTest"}
"""The library's word for each split, and FER2013's."""

COUNTS = {
    "train": dict(zip(EMOTIONS, (3995, 436, 4097, 7215, 4830, 3171, 4965), strict=True)),
    "val": dict(zip(EMOTIONS, (467, 56, 496, 895, 653, 415, 607), strict=True)),
    "test": dict(zip(EMOTIONS, (491, 55, 528, 879, 594, 416, 626), strict=True)),
}
"""Faces per split and expression: 28,709, 3,589 and 3,589 in all."""

HOW_TO_GET = (
    "fetch it from Kaggle (occfer get fer2013) or take the challenge's fer2013.csv or "
    "icml_face_data.csv"
)

TABLES = ("fer2013.csv", "icml_face_data.csv")
PLACES = (
    "fer2013",
    "FER2013",
    *(f"fer2013{suffix}" for suffix in (".tar.xz", ".tar.gz", ".tgz", ".tar", ".zip")),
    "archive.zip",
    *TABLES,
)
LIMITS = Limits(members=100_000, total_bytes=2 * 2**30)

# Kaggle's names for the folders, in the order of EMOTIONS.
_FOLDERS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
PICTURE = re.compile(
    r"(?:^|/)(?P<folder>[^/]+)/(?P<usage>Training|PublicTest|PrivateTest)_(?P<number>\d+)\.(jpe?g|png)$"
)


class _Face(NamedTuple):
    """One face as it stands in a source."""

    id: str
    usage: str
    label: int
    pixels: UInt8[np.ndarray, "48 48"]


def fer2013(
    split: str = "train", root: str | Path | None = None, check_counts: bool = True
) -> FaceSet:
    """One split of FER2013, memory-mapped, sorted by id, images [N, 1, 48, 48].

    Args:
        split: ``train`` (Training), ``val`` (PublicTest) or ``test`` (PrivateTest).
        root: the table, the archive or the folder that is FER2013, or a folder holding one of
            them; by default the environment's ``OCCFER_DATA``.
        check_counts: refuse a copy whose split has other counts per expression than
            ``COUNTS``; ``False`` takes a part for what it is.

    The id of a face is its path in Kaggle's folders without the suffix, such as
    ``test/angry/PrivateTest_10131363``; the file name alone occurs twice for two pictures. In a
    table it is the usage and the row from 0, such as ``PrivateTest_row33914``.

    Raises:
        FileNotFoundError: it is not there; the message says how to obtain it.
        ValueError: counts differ, or a picture or row is broken; the message names it.
    """
    check_split(split, "FER2013", SPLITS)
    source = find(data_root(root, "FER2013", HOW_TO_GET))
    faces = cached("fer2013", [source], split, lambda: read(source))
    if check_counts:
        expect_counts(
            faces.counts(), COUNTS[split], f"FER2013's {split} split ({SPLITS[split]})", source
        )
    return faces


def find(root: Path) -> Path:
    """The table, archive or folder of pictures in ``root``, which may itself be one.

    Raises:
        FileNotFoundError: there is none.
    """
    if root.is_file() or any((root / part).is_dir() for part in ("train", "test")):
        return root
    for place in PLACES:
        if (root / place).is_file():
            return root / place
        if (root / place).is_dir():
            return find(root / place)
    raise missing("FER2013", f"{root} holds none of {', '.join(PLACES)}, train/, test/", HOW_TO_GET)


def read(source: Path) -> dict[str, FaceSet]:
    """All splits, decoded; no count is checked.

    Raises:
        ValueError: a picture, a row or the archive is broken, or nothing in it is FER2013.
    """
    faces = sorted(_faces(source), key=lambda face: face.id)
    if not faces:
        raise ValueError(
            f"{source} holds no picture named as in FER2013 (happy/Training_123.jpg) and no "
            f"table {' or '.join(TABLES)}; any other folder of class folders is read by "
            f"load_faces(folder)."
        )
    return {
        split: _face_set(split, [face for face in faces if face.usage == usage])
        for split, usage in SPLITS.items()
    }


def _face_set(split: str, faces: list[_Face]) -> FaceSet:
    pixels = np.array([face.pixels for face in faces], np.uint8).reshape(-1, 1, *SIZE)
    return FaceSet(
        images=torch.from_numpy(pixels),
        labels=torch.tensor([face.label for face in faces], dtype=torch.int64),
        ids=[face.id for face in faces],
        name="fer2013",
        split=split,
    )


def _faces(source: Path) -> Iterator[_Face]:
    if source.is_dir():
        for file in (path / name for path, names in walk(source) for name in names):
            name = file.relative_to(source).as_posix()
            if PICTURE.search(name):
                yield _from_picture(name, file.read_bytes())
    elif is_archive(source):
        for name, content in read_files(source, LIMITS):
            if PICTURE.search(name):
                yield _from_picture(name, content)
            elif PurePosixPath(name).name in TABLES:
                yield from _from_table(f"{source}/{name}", BytesIO(content))
    else:
        yield from _from_table(str(source), source.open("rb"))


def _from_picture(name: str, content: bytes) -> _Face:
    folder, usage, number, _ = PICTURE.search(name).groups()
    try:
        label = emotion_index(folder)
    except ValueError as error:
        raise ValueError(f"{name} lies in a folder of unknown meaning: {error}") from error
    half = "train" if usage == "Training" else "test"
    identifier = f"{half}/{_FOLDERS[label]}/{usage}_{number}"
    return _Face(identifier, usage, label, decode(content, name, "L", SIZE))


def _from_table(name: str, file: BufferedIOBase) -> Iterator[_Face]:
    """Rows of ``emotion``, ``pixels`` and ``Usage`` in any order; names may have spaces around.

    The file is closed at the end.
    """
    number = 0
    try:
        with TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            lines = csv.reader(text)
            header = [column.strip() for column in next(lines, [])]
            if not {"emotion", "pixels", "Usage"} <= set(header):
                raise ValueError(f"its columns are {', '.join(header)[:80] or 'none'}")
            for number, line in enumerate(filter(None, lines)):
                yield _from_row(number, header, line)
    except (ValueError, csv.Error) as error:
        raise ValueError(
            f"{name} must have the columns emotion, pixels and Usage and 2,304 pixels a row, but "
            f"at row {number} {error}; fetch fer2013.csv or icml_face_data.csv again."
        ) from error


def _from_row(number: int, header: list[str], line: list[str]) -> _Face:
    if len(line) != len(header):
        raise ValueError(f"it has {len(line)} columns instead of {len(header)}")
    row = dict(zip(header, line, strict=True))
    usage = row["Usage"].strip()
    if usage not in SPLITS.values():
        raise ValueError(f"its Usage is {usage!r}")
    # bytes() takes whole numbers from 0 to 255 and nothing else.
    pixels = np.frombuffer(bytes(map(int, row["pixels"].split())), np.uint8).reshape(SIZE)
    label = from_fer2013(int(row["emotion"]))
    return _Face(f"{usage}_row{number:05d}", usage, label, pixels)
