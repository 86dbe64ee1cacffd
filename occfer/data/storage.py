"""A ``FaceSet`` as a folder: plain ``.npy`` arrays and one JSON file, opened memory-mapped.

The folder appears whole or not at all, holds no pickles, and is recognised when damaged.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from occfer.data.faceset import FaceSet, pieces, tensor_sha256
from occfer.files import whole_folder

MANIFEST = "faceset.json"
FORMAT = 1


class DamagedFaceSet(ValueError):
    """A saved set whose files are missing, cut short, altered or of another format."""


def save_faces(faces: FaceSet, folder: str | Path) -> Path:
    """Write a set to ``folder``, which must not exist yet, and return its path.

    Everything is written to a sibling folder first and renamed when complete, so an
    interrupted save leaves nothing under the final name.

    Raises:
        FileExistsError: something is there already.
        ValueError: an extra is of a type that NumPy does not know.
    """
    _check_types(faces.extras)
    with whole_folder(Path(folder)) as unfinished:
        for file, tensor in _arrays(faces).items():
            _write_array(unfinished / file, tensor)
        (unfinished / MANIFEST).write_text(json.dumps(_manifest(faces)), encoding="utf-8")
    return Path(folder)


def open_faces(folder: str | Path, verify: bool = True) -> FaceSet:
    """The set saved in ``folder``; its arrays are mapped, and read from disk as they are used.

    Args:
        folder: where ``save_faces`` put it.
        verify: read everything once and compare the SHA-256, about 2 GB in a second; a record
            of a run needs that number anyway. Without it only types and shapes are checked.

    Raises:
        FileNotFoundError: there is no saved set.
        DamagedFaceSet: it is damaged.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise FileNotFoundError(f"{folder} holds no saved FaceSet: it has no {MANIFEST}.")
    try:
        faces = _read(folder)
        if verify and _hashes(faces) != _load_manifest(folder)["hashes"]:
            raise ValueError("its content has another SHA-256 than when it was saved")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise DamagedFaceSet(
            f"{folder} holds a damaged FaceSet ({error}); remove the folder and build it again."
        ) from error
    return faces


def _read(folder: Path) -> FaceSet:
    manifest = _load_manifest(folder)
    extras = {
        key: read_array(folder / _extra_file(number))
        for number, key in enumerate(manifest["extras"])
    }
    return FaceSet(
        images=read_array(folder / "images.npy"),
        labels=read_array(folder / "labels.npy"),
        ids=manifest["ids"],
        landmarks=read_array(folder / "landmarks.npy") if manifest["landmarks"] else None,
        name=manifest["name"],
        split=manifest["split"],
        extras=extras,
    )


def _load_manifest(folder: Path) -> dict:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{MANIFEST} nests too many brackets") from error
    if manifest["format"] != FORMAT:
        raise ValueError(f"its format is {manifest['format']}, this version reads {FORMAT}")
    return manifest


def _manifest(faces: FaceSet) -> dict:
    return {
        "format": FORMAT,
        "name": faces.name,
        "split": faces.split,
        "hashes": _hashes(faces),
        "landmarks": faces.landmarks is not None,
        "extras": list(faces.extras),
        "ids": faces.ids,
    }


def _hashes(faces: FaceSet) -> dict[str, str]:
    """SHA-256 of the faces and of each of the extras, which the set's own hash leaves out."""
    return {"faces": faces.sha256} | {
        f"extra {key}": tensor_sha256(value) for key, value in faces.extras.items()
    }


def _arrays(faces: FaceSet) -> dict[str, Tensor]:
    """The tensors by the name of the file that holds each."""
    landmarks = {} if faces.landmarks is None else {"landmarks.npy": faces.landmarks}
    extras = {_extra_file(number): value for number, value in enumerate(faces.extras.values())}
    return {"images.npy": faces.images, "labels.npy": faces.labels, **landmarks, **extras}


def _extra_file(number: int) -> str:
    # Numbered, so that no key can become a path.
    return f"extra-{number}.npy"


def _check_types(extras: Mapping[str, Tensor]) -> None:
    for key, value in extras.items():
        try:
            torch.empty(0, dtype=value.dtype).numpy()
        except TypeError as unknown:
            raise ValueError(
                f"extras[{key!r}] must be of a type that NumPy knows to be saved, got "
                f"{value.dtype}; make it float32 with .float()."
            ) from unknown


def _write_array(path: Path, tensor: Tensor) -> None:
    """Write piece by piece: a set on a device or on disk is never copied whole."""
    dtype = torch.empty(0, dtype=tensor.dtype).numpy().dtype
    write_pieces(path, dtype, tuple(tensor.shape), (piece.numpy() for piece in pieces(tensor)))


def write_pieces(
    path: Path, dtype: np.dtype, shape: tuple[int, ...], parts: Iterable[np.ndarray]
) -> None:
    """An ``.npy`` file of an array that comes in consecutive parts of its rows.

    It is written and not mapped: to write into a map kills the process where the disk is full.
    """
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part).data)
        file.flush()
        os.fsync(file.fileno())  # the folder is renamed when it is whole on the disk


def read_array(path: Path) -> Tensor:
    """The array of an ``.npy`` file, mapped."""
    # Mode "c", copy on write: PyTorch gets the writable memory it asks for, the file stays as is.
    try:
        return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
    except MemoryError as error:  # of a header with brackets or signs without end
        raise ValueError(f"{path.name} has a header that cannot be read") from error
