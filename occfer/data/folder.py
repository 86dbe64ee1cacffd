"""Any folder of class folders: ``faces/happy/anna.jpg``, or ``faces/train/happy/anna.jpg``.

People sort faces by moving files, so a set can be written as such a folder too.
"""

from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from occfer.data.archives import safe_path
from occfer.data.faceset import FaceSet
from occfer.data.pictures import SUFFIXES, Mode, load
from occfer.data.sources import check_split
from occfer.emotions import emotion_index, is_emotion

SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""The library's word for each split, and the folders that may hold it."""


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
    on the faces trained on.

    Args:
        path: holds class folders, or split folders (``train``, ``val``, ``test``) of them.
        split: ``train``, ``val`` or ``test``.
        size: height and width every picture is resampled to; without it all must have one size.
        mode: ``"L"`` for grey, ``"RGB"`` for colour.
        words: labels of class folders that ``emotions.emotion_index`` does not know, such as
            ``{"contempt": -1}``, where -1 means unlabelled.

    Raises:
        FileNotFoundError: there is no such folder or split, or no picture in it.
        ValueError: a class folder's name is unknown, a picture is broken, or sizes differ; the
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
        ValueError: an id leads out of the folder.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(
            f"{path} should not be there yet, but is, perhaps sorted by hand; give another name, "
            "or remove it."
        )
    try:
        names = [f"{safe_path(identifier)}.png" for identifier in faces.ids]
    except ValueError as unsafe:
        raise ValueError(
            f"the ids of {faces!r} should be paths within {path}, but {unsafe}; rename that face."
        ) from unsafe
    unfinished = path.with_name(f".{path.name}.unfinished")
    rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        for name, image in zip(names, faces.images, strict=True):
            file = unfinished / name
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = image.permute(1, 2, 0).squeeze(2).cpu().numpy()
            Image.fromarray(pixels).save(file)
        unfinished.rename(path)
    finally:
        rmtree(unfinished, ignore_errors=True)
    return path


def _split_folder(path: Path, split: str) -> Path:
    present = {
        known: path / word
        for known, synonyms in SPLITS.items()
        for word in synonyms
        if (path / word).is_dir()
    }
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
    classes = sorted(entry for entry in path.iterdir() if entry.is_dir() and _visible(entry))
    labels = {entry: _label(entry, words) for entry in classes}
    pictures = [
        _Picture(file, label)
        for entry, label in labels.items()
        for file in entry.rglob("*")
        if file.suffix.lower() in SUFFIXES and _visible(file) and file.is_file()
    ]
    if not pictures:
        raise FileNotFoundError(
            f"{path} holds no pictures ({', '.join(SUFFIXES)}) in class folders; expected files "
            f"such as {path / 'happy' / 'anna.jpg'}."
        )
    return sorted(pictures)


def _visible(path: Path) -> bool:
    # macOS leaves hidden ._anna.jpg, which is no picture, beside anna.jpg.
    return not path.name.startswith((".", "__"))


def _label(entry: Path, words: Mapping[str, int]) -> int:
    if entry.name in words:
        return words[entry.name]
    if not is_emotion(entry.name):
        raise ValueError(
            f"{entry} is named after no expression; rename it, or say which label it means, as "
            f"in words={{{entry.name!r}: -1}} for unlabelled faces."
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
                f"{pictures[0].path} has {first.shape[0]} x {first.shape[1]}; pass a size to "
                f"bring all faces to one, such as size=(112, 112)."
            )
        image[:] = pixels
    grey_or_rgb = images.reshape(*images.shape[:3], -1)
    return np.ascontiguousarray(grey_or_rgb.transpose(0, 3, 1, 2))
