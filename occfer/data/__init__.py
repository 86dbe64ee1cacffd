"""Faces (§3.1): ``FaceSet``, and ``load_faces``, which finds the reader that makes one."""

from collections.abc import Callable
from inspect import signature
from pathlib import Path

from occfer.data.faceset import FaceSet
from occfer.data.storage import MANIFEST

__all__ = ["DATA_SETS", "FaceSet", "load_faces"]

DATA_SETS = ("synthfer", "fer2013", "ferplus", "rafdb")


def load_faces(
    name_or_path: str | Path, split: str = "train", root: str | Path | None = None, **options
) -> FaceSet:
    """One split of a data set by name, or of a folder by path.

    Args:
        name_or_path: a name of ``DATA_SETS``; or a folder: a saved ``FaceSet``, one such per
            split, or class folders as ``occfer.data.folder`` describes. A folder named like a
            data set is given as ``./fer2013``.
        split: ``train``, ``val`` or ``test``; of FER+ and RAF-DB also the test faces on RAN's
            lists, ``occlusion``, ``pose30`` and ``pose45`` (degrees and more).
        root: where the named data set lies, by default the environment's ``OCCFER_DATA``;
            SynthFER comes with the library, and a path says it already.
        options: those of the reader, such as ``check_counts=False`` of FER2013, ``size=(112, 112)``
            of class folders, or ``verify=False`` of a saved set.

    Raises:
        ValueError: there is no such data set, folder, split or option, or the data is damaged.
        FileNotFoundError: the data is not there; the message says how to obtain it.
    """
    # Imported on use: a reader has the name of its module, and costs nothing unless wanted.
    match str(name_or_path):
        case "synthfer":
            from occfer.data.synthfer import synthfer

            return _read("synthfer", synthfer, split, **options)
        case "fer2013":
            from occfer.data.fer2013 import fer2013

            return _read("fer2013", fer2013, split, root, **options)
        case "ferplus" | "rafdb" as name if split in ("occlusion", "pose30", "pose45"):
            from occfer.data.ran import challenge

            return _read(name, challenge, name, split, root, **options)
        case "ferplus":
            from occfer.data.ferplus import ferplus

            return _read("ferplus", ferplus, split, root, **options)
        case "rafdb":
            from occfer.data.rafdb import rafdb

            return _read("rafdb", rafdb, split, root, **options)
    return _from_folder(Path(name_or_path), split, options)


def _from_folder(path: Path, split: str, options: dict) -> FaceSet:
    if not path.is_dir():
        raise ValueError(
            f"{str(path)!r} is neither a data set nor a folder; the data sets are "
            f"{', '.join(DATA_SETS)}."
        )
    if (path / split / MANIFEST).is_file():
        return _read(f"{path / split}, a saved FaceSet,", FaceSet.open, path / split, **options)
    if (path / MANIFEST).is_file():
        faces = _read(f"{path}, a saved FaceSet,", FaceSet.open, path, **options)
        # A set that names no split is all train, as class folders are, so that nobody tests on the
        # faces trained on.
        held = faces.split.partition(",")[0] or "train"
        if held != split:
            raise ValueError(f"{path} holds the {held} split; {split!r} was asked for.")
        return faces
    from occfer.data.folder import folder

    return _read(str(path), folder, path, split, **options)


def _read(what: str, reader: Callable[..., FaceSet], /, *place, **options) -> FaceSet:
    known = list(signature(reader).parameters)[len(place) :]
    unknown = [option for option in options if option not in known]
    if unknown:
        raise ValueError(
            f"{what} is read with {' or '.join(known) or 'no option'}, got "
            f"{', '.join(unknown)}; leave that out."
        )
    return reader(*place, **options)
