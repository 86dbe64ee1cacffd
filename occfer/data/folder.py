"""Any folder of class folders: ``faces/happy/anna.jpg``, or ``faces/train/happy/anna.jpg``.

People sort faces by moving files, so a set can be written as such a folder too.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from occfer.data.archives import safe_path
from occfer.data.faceset import FaceSet
from occfer.data.pictures import SUFFIXES, Mode, load, visible
from occfer.data.sources import PICTURES, check_split
from occfer.emotions import emotion_index, is_emotion
from occfer.files import walk, whole_folder

SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""The library's word for each split, and the folders that may hold it."""

MAX_NAME = 255
"""Bytes that a file's name may have on the usual file systems."""


class _Picture(NamedTuple):
    path: Path
    label: int


def folder(
    path: str | Path,
    split: str = "train",
    size: tuple[int, int] | None = None,
    mode: Mode = "RGB",
    words: Mapping[str, int] | None = None,
) -> FaceSet:
    """The faces of one split, sorted by id, which is the path within ``path``.

    A folder without split folders is all ``train`` and has no other split, so that nobody tests
    on the faces trained on. Hidden files and folders (``.thumbnails``, ``__MACOSX``) are passed by.

    Args:
        path: holds class folders, or split folders (``train``, ``val``, ``test``) of them.
        split: ``train``, ``val`` or ``test``.
        size: height and width every picture is resampled to; without it all must have one size.
        mode: ``"L"`` for grey, ``"RGB"`` for colour.
        words: labels of class folders that ``emotions.emotion_index`` does not know, such as
            ``{"contempt": -1}``, where -1 means unlabelled.

    Raises:
        FileNotFoundError: there is no such folder or split, or no picture in it.
        ValueError: a class folder's name is unknown or it lies in one of another class, two folders
            are one split, a picture is broken or of a kind that is not read, or sizes differ; the
            message names it.
    """
    path = Path(path)
    check_split(split, str(path), SPLITS)
    pictures = _pictures(_split_folder(path, split), words or {})
    return FaceSet(
        images=torch.from_numpy(_pixels(pictures, size, mode)),
        labels=torch.tensor([picture.label for picture in pictures], dtype=torch.int64),
        ids=[picture.path.relative_to(path).as_posix() for picture in pictures],
        name=path.resolve().name,
        split=split,
    )


def write_pictures(faces: FaceSet, path: str | Path) -> Path:
    """Every face as a PNG file named by its id, so that people can look through them and sort.

    Where the ids begin with class folders, as those of faces do that were cut out of pictures in
    such folders, :func:`folder` reads them back.

    Args:
        faces: of any number; one is in memory at a time.
        path: a folder that is not there yet, and appears whole.

    Raises:
        FileExistsError: it is there; what somebody sorted in it is not mixed with anything.
        ValueError: an id leads out of the folder, makes too long a name, or another id's file.
    """
    path = Path(path)
    names = _file_names(faces, path)
    with whole_folder(path) as unfinished:
        for name, image in zip(names, faces.images, strict=True):
            file = unfinished / name
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = image.permute(1, 2, 0).squeeze(2).cpu().numpy()
            Image.fromarray(pixels).save(file)
    return path


def _file_names(faces: FaceSet, path: Path) -> list[str]:
    names: dict[str, str] = {}
    for identifier in faces.ids:
        try:
            name = f"{safe_path(identifier)}.png"
            if max(len(part.encode("utf-8", "replace")) for part in name.split("/")) > MAX_NAME:
                raise ValueError(f"{identifier!r} makes a name of more than {MAX_NAME} bytes")
            other = names.setdefault(name, identifier)
            if other != identifier:
                raise ValueError(f"{other!r} and {identifier!r} are one file, {name}")
        except ValueError as unfit:
            raise ValueError(
                f"the ids of {faces!r} should be paths within {path}, but {unfit}; rename that "
                f"face."
            ) from unfit
    return list(names)


def _split_folder(path: Path, split: str) -> Path:
    present: dict[str, Path] = {}
    for known, synonyms in SPLITS.items():
        for here in (path / word for word in synonyms if (path / word).is_dir()):
            if present.setdefault(known, here) != here:
                raise ValueError(
                    f"{path} should have one folder for the {known} split, got {here.name} beside "
                    f"{present[known].name}; put all of it into one of them."
                )
    if split in present:
        return present[split]
    if present or split != "train":
        raise FileNotFoundError(
            f"{path} has no {split} split, only {', '.join(present) or 'train, all of it'}; put "
            f"its class folders into {path / split}."
        )
    return path


def _pictures(path: Path, words: Mapping[str, int]) -> list[_Picture]:
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is no folder; check the path.")
    classes = sorted(
        entry for entry in path.iterdir() if entry.is_dir() and visible(entry.relative_to(path))
    )
    labels = {entry: _label(entry, words) for entry in classes}
    pictures = [
        _Picture(file, label) for entry, label in labels.items() for file in _files(entry, label)
    ]
    if not pictures:
        raise FileNotFoundError(
            f"{path} holds no pictures ({', '.join(SUFFIXES)}) in class folders; expected files "
            f"such as {path / 'happy' / 'anna.jpg'}."
        )
    return sorted(pictures)


def _files(entry: Path, label: int) -> Iterator[Path]:
    """All that look like pictures in a class folder, in folders of any depth."""
    for here, names in walk(entry):
        inner = here.relative_to(entry)
        if not visible(inner):
            continue
        if is_emotion(here.name) and here != entry and emotion_index(here.name) != label:
            raise ValueError(
                f"{here} is named after an expression, but lies in {entry}, which is another; move "
                f"it beside that folder or rename it."
            )
        for file in map(here.joinpath, names):
            if (
                file.suffix.lower() in PICTURES
                and visible(file.relative_to(here))
                and file.is_file()
            ):
                yield file


def _label(entry: Path, words: Mapping[str, int]) -> int:
    if entry.name in words:
        return words[entry.name]
    if not is_emotion(entry.name):
        raise ValueError(
            f"{entry} is named after no expression; rename it or move it elsewhere, or say in "
            f"Python which label it means, as in words={{{entry.name!r}: -1}} for unlabelled faces."
        )
    return emotion_index(entry.name)


def _pixels(
    pictures: list[_Picture], size: tuple[int, int] | None, mode: Mode
) -> UInt8[np.ndarray, "faces channels height width"]:
    first = load(pictures[0].path, mode, size, resize=True)
    images = np.empty((len(pictures), *first.shape), np.uint8)
    for image, picture in zip(images, pictures, strict=True):
        pixels = load(picture.path, mode, size, resize=True)
        if pixels.shape != first.shape:
            raise ValueError(
                f"{picture.path} has {pixels.shape[0]} x {pixels.shape[1]} pixels, "
                f"{pictures[0].path} has {first.shape[0]} x {first.shape[1]}; bring "
                f"all faces to one size, with size=(112, 112) in Python or --size when training."
            )
        image[:] = pixels
    grey_or_rgb = images.reshape(*images.shape[:3], -1)
    return np.ascontiguousarray(grey_or_rgb.transpose(0, 3, 1, 2))
