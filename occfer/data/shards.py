"""Where an extraction's pictures come from: the files of a folder, and shards, tars of pictures.

Shards are read as img2dataset (github.com/rom1504/img2dataset) writes them for WebDataset:
``00000.tar`` holds ``000000000.jpg`` beside its ``.json`` and ``.txt``, and ``00000_stats.json``
counts what was downloaded. What stands in an archive is a name and bytes, never a path: pictures
go from the tar through memory, and nothing is unpacked.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import UInt8

from occfer.data import pictures
from occfer.data.archives import CHUNK, BadArchive, stream_files
from occfer.data.sources import PICTURES
from occfer.files import walk

Pixels = UInt8[np.ndarray, "height width 3"]
Picture = tuple[str, Callable[[], Pixels]]
"""What a picture is called, and what gives its pixels or raises ``BadPicture`` or ``OSError``."""

SHARD = ".tar"
# Pieces of a picture in a tar; one more than a picture may have, so that an excess is seen.
_PIECES = pictures.MAX_BYTES // CHUNK + 1


@dataclass(frozen=True)
class Files:
    """Some of the picture files of a folder."""

    number: int
    folder: Path
    names: tuple[str, ...]

    @property
    def count(self) -> int:
        return len(self.names)

    def pictures(self) -> Iterator[Picture]:
        for name in self.names:
            yield name, partial(pictures.load, self.folder / name, "RGB")


@dataclass(frozen=True)
class Shard:
    """A tar of pictures; one that is broken or hostile is read as far as it is sound."""

    number: int
    folder: Path
    name: str
    count: int | None

    def pictures(self) -> Iterator[Picture]:
        held = 0
        try:
            for member, pieces in stream_files(self.folder / self.name):
                if _is(member, PICTURES):
                    held += 1
                    name = f"{self.name}/{member}"
                    content = b"".join(islice(pieces, _PIECES))
                    yield name, partial(pictures.decode, content, name, "RGB")
        except (BadArchive, OSError) as error:
            yield self.name, partial(_refuse, str(error))
        else:
            if self.count not in (None, held):
                yield self.name, partial(_refuse, f"{held} pictures, expected {self.count}")


Source = Files | Shard
"""Pictures that one worker goes through in their order, the same each time: its place among the
sources of an extraction (``number``), and how many there are, where that is known (``count``).

A shard's pictures hold their bytes until they are dropped, files are read when their pixels are
asked for.
"""


def find_sources(folder: Path, size: int, out: Path | None = None) -> list[Source]:
    """All pictures below a folder: its files, hidden ones aside, then its shards.

    Args:
        folder: links in it are followed, and no folder is gone through twice.
        size: pictures to a source.
        out: a folder whose files are none of them, though it may lie below that folder.

    Raises:
        ValueError: there are none, or ``out`` is the folder itself.
    """
    if out is not None and out.resolve() == folder.resolve():
        raise ValueError(
            f"The faces need a folder of their own, got {out}, where the pictures lie; choose "
            f"another, such as {out / 'aligned'}."
        )
    below = sorted(path / name for path, names in walk(folder, out) for name in names)
    names = [path.relative_to(folder).as_posix() for path in below]
    files = [
        name for name in names if _is(name, PICTURES) and pictures.visible(PurePosixPath(name))
    ]
    shards = [name for name in names if _is(name, (SHARD,))]
    if not files and not shards:
        raise ValueError(
            f"{folder} should hold pictures ({', '.join(pictures.SUFFIXES)}) or shards of them "
            f"({SHARD}), but holds none."
        )
    groups = [tuple(files[start : start + size]) for start in range(0, len(files), size)]
    return [
        *(Files(number, folder, group) for number, group in enumerate(groups)),
        *(
            Shard(number, folder, name, _downloaded(folder / name))
            for number, name in enumerate(shards, start=len(groups))
        ),
    ]


def digest(sources: list[Source]) -> str:
    """SHA-256 of the names and sizes of files and shards."""
    lines = []
    for source in sources:
        for name in source.names if isinstance(source, Files) else [source.name]:
            try:
                size = (source.folder / name).stat().st_size
            except OSError:  # such as a link to nowhere, which is rejected by its name
                size = -1
            lines.append(f"{name}\n{size}")
    return hashlib.sha256("\0".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _is(name: str, suffixes: tuple[str, ...]) -> bool:
    return PurePosixPath(name).suffix.lower() in suffixes


def _downloaded(shard: Path) -> int | None:
    """How many pictures img2dataset says it put into a shard."""
    stats = shard.with_name(f"{shard.stem}_stats.json")
    try:
        successes = json.loads(stats.read_bytes())["successes"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return successes if type(successes) is int and successes >= 0 else None


def _refuse(why: str) -> Pixels:
    raise pictures.BadPicture(why)
