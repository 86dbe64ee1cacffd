"""Where data sets lie, and what every reader says when one is not there or not whole."""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from occfer.data.pictures import SUFFIXES

PICTURES = (*SUFFIXES, ".jpe", ".jfif", ".gif", ".tif", ".tiff", ".heic", ".heif", ".avif")
"""How the names of pictures end. Not all can be read; who collects faces says which were not."""

AGAIN = "fetch it again, or take it for what it is with check_counts=False in Python"
"""What to do about a copy that is not whole."""


def data_root(root: str | Path | None, data_set: str, how_to_get: str) -> Path:
    """The folder or file to look in: ``root``, or the environment's ``OCCFER_DATA``.

    Raises:
        FileNotFoundError: neither is given, or it does not exist.
    """
    root = root or os.environ.get("OCCFER_DATA")
    if root is None:
        raise missing(data_set, "no root was given and OCCFER_DATA is not set", how_to_get)
    if not Path(root).exists():
        raise missing(data_set, f"{root} does not exist", how_to_get)
    return Path(root)


def find_beside(
    root: str | Path | None, files: Sequence[str], places: Sequence[str], what: str, how_to_get: str
) -> Path:
    """The first of these files that lies in ``root``, or beside it where that is a file itself.

    Args:
        places: folders to look in, as paths from there.

    Raises:
        FileNotFoundError: there is none.
    """
    root = data_root(root, what, how_to_get)
    base = root if root.is_dir() else root.parent
    for path in (base / place / file for file in files for place in places):
        if path.is_file():
            return path
    raise missing(what, f"{base} holds no {' or '.join(files)}", how_to_get)


def missing(data_set: str, what: str, how_to_get: str) -> FileNotFoundError:
    """The error of a data set that is not there, with how to obtain it."""
    return FileNotFoundError(
        f"{data_set} was not found: {what}; {how_to_get}, then pass its folder as root or set "
        f"OCCFER_DATA to it."
    )


def check_split(split: str, data_set: str, known: Collection[str]) -> None:
    """Raise a ``ValueError`` that lists the splits where there is no such one."""
    if split not in known:
        raise ValueError(f"{data_set} has the splits {', '.join(known)}; got {split!r}.")


def expect_counts(
    found: Mapping[str, int],
    expected: Mapping[str, int],
    split: str,
    source: object,
    advice: str = AGAIN,
) -> None:
    """Raise a ``ValueError`` naming what is missing where a split has other counts than known."""
    differing = [
        f"{emotion} {found[emotion]:,} of {count:,}"
        for emotion, count in expected.items()
        if found[emotion] != count
    ]
    if differing:
        raise ValueError(
            f"{split} must hold {sum(expected.values()):,} faces, {source} holds "
            f"{sum(found.values()):,}: {', '.join(differing)}; {advice}."
        )


def read_text(path: Path) -> str:
    """A list's text.

    Raises:
        ValueError: it is not in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as damage:
        raise ValueError(
            f"{path} must be a text in UTF-8, but is not ({damage}); save or fetch it again."
        ) from damage
