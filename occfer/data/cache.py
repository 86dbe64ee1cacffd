"""Data sets that were decoded once, kept as memory-mapped ``FaceSet`` folders.

The cache lies in ``OCCFER_CACHE``, by default ``~/.cache/occfer``, and may be deleted at any
time.
"""

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from shutil import rmtree

from occfer.data.faceset import FaceSet
from occfer.data.storage import DamagedFaceSet, open_faces, save_faces
from occfer.files import walk

# Part of every key: raise it when a reader starts to give other pixels, labels or ids.
READERS = 1


def cached(
    name: str, sources: Iterable[Path], split: str, read: Callable[[], Mapping[str, FaceSet]]
) -> FaceSet:
    """One split of the data set in ``sources``, memory-mapped; ``read`` is called if need be.

    The key holds the data set's name and each source's path, size and time of change; for a
    folder, those of all folders in it, which change with every file that comes, goes or is
    renamed, but not with one overwritten in place. A damaged entry is built again. Where nothing
    can be written the faces are given from memory, with a warning.
    """
    folder, damaged = cache_root() / f"{name}-{fingerprint(sources)}", False
    try:
        return open_faces(folder / split)
    except FileNotFoundError:
        pass
    except DamagedFaceSet:
        rmtree(folder, ignore_errors=True)
        damaged = (folder / split).exists()
    splits = read()
    if damaged:
        warnings.warn(
            f"{folder} is damaged and cannot be removed, so that {name} was decoded again; remove "
            f"it, or set OCCFER_CACHE to a folder that can be written to.",
            stacklevel=2,
        )
        return splits[split]
    try:
        for key, faces in splits.items():
            with suppress(FileExistsError):  # another process decoded the same and was faster
                save_faces(faces, folder / key)
        return open_faces(folder / split, verify=False)
    except OSError as error:
        warnings.warn(
            f"{name} could not be cached and will be decoded again next time ({error}); set "
            f"OCCFER_CACHE to a folder that can be written to.",
            stacklevel=2,
        )
        return splits[split]


def cache_root() -> Path:
    """The folder of all cached data sets."""
    return Path(os.environ.get("OCCFER_CACHE") or Path.home() / ".cache" / "occfer")


def fingerprint(sources: Iterable[Path]) -> str:
    """Twenty hexadecimal digits that change when one of the files or folders does."""
    paths = [path for source in sources for path in _watched(source.resolve())]
    stats = [(str(path), path.stat()) for path in paths]
    content = [READERS, [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]]
    return hashlib.sha256(repr(content).encode()).hexdigest()[:20]


def _watched(source: Path) -> list[Path]:
    """A file itself; a folder with all folders in it, behind links too."""
    return [source] if source.is_file() else sorted(path for path, _ in walk(source))
