"""Parts of an extraction: the faces of some pictures each, as a file that is whole or not there.

A source of pictures becomes the files ``NNNNNNNN-000000``, ``-000001``, ... and ``NNNNNNNN-end``,
the last of which says that it is done. Whoever makes a part makes the same part, so workers may
die or do one twice, and in the order of their names the parts are the whole.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from occfer.data.align import SIZE
from occfer.data.faceset import FaceSet
from occfer.data.shards import Picture, Source
from occfer.data.storage import read_array, write_pieces
from occfer.emotions import UNLABELLED
from occfer.files import write_atomically

REJECTED = "rejected.tsv"


@dataclass
class Extracted:
    """The faces of some pictures, and why others were not taken."""

    images: list[np.ndarray]
    landmarks: list[np.ndarray]
    boxes: list[np.ndarray]
    scores: list[float]
    ids: list[str]
    rejected: list[tuple[str, str]]
    matrices: list[np.ndarray] = field(default_factory=list)
    """Each takes a point of the picture to a point of the aligned face."""


def is_done(source: Source, folder: Path) -> bool:
    """Whether all parts of a source lie in a folder."""
    return _file(source, None, folder).exists()


def make_parts(
    source: Source,
    size: int,
    folder: Path,
    extractor: Callable[[Sequence[Picture]], Extracted],
) -> Iterator[int]:
    """Write those parts of a source that a folder lacks; gives each part's number of pictures.

    Args:
        source: the pictures.
        size: how many of them make a part.
        folder: of the parts.
        extractor: what finds faces on pictures.
    """
    pictures = source.pictures()
    ahead = list(islice(pictures, 1))
    for number in count():
        batch = ahead + list(islice(pictures, size - len(ahead)))
        ahead = list(islice(pictures, 1))
        file = _file(source, number if ahead else None, folder)
        if not file.exists():
            _write(file, extractor(batch))
        yield len(batch)
        if not ahead:
            return


def join(folder: Path, out: Path) -> None:
    """One set of all parts of a folder in ``out/faces``, and ``out/rejected.tsv``.

    The pixels go from file to file, never all at once into memory.

    Raises:
        ValueError: there is no face in any part.
    """
    files = sorted(folder.glob("*.safetensors"))
    ids, rejected, rest = [], [], {"landmarks": [], "boxes": [], "scores": []}
    for words, arrays in _read(files, *rest):
        ids += json.loads(words["ids"])
        rejected += json.loads(words["rejected"])
        for name, array in arrays.items():
            rest[name].append(array)
    lines = ("\t".join(" ".join(each.split()) for each in row) for row in rejected)
    text = "".join(f"{line}\n" for line in lines)
    write_atomically(out / REJECTED, text.encode("utf-8", "replace"))
    if not ids:
        raise ValueError(f"No face was taken from the pictures; {out / REJECTED} says why.")
    pixels = folder / "pixels.npy"
    images = (arrays["images"].transpose(0, 3, 1, 2) for _, arrays in _read(files, "images"))
    write_pieces(pixels, np.dtype(np.uint8), (len(ids), 3, SIZE, SIZE), images)
    joined = {name: torch.from_numpy(np.concatenate(array)) for name, array in rest.items()}
    faces = FaceSet(
        images=read_array(pixels),
        labels=torch.full((len(ids),), UNLABELLED),
        ids=ids,
        landmarks=joined["landmarks"],
        name=out.name,
        extras={"box": joined["boxes"], "score": joined["scores"]},
    )
    faces.save(out / "faces")


def _file(source: Source, number: int | None, folder: Path) -> Path:
    place = "end" if number is None else f"{number:06d}"
    return folder / f"{source.number:08d}-{place}.safetensors"


def _write(file: Path, found: Extracted) -> None:
    arrays = {
        "images": np.stack(found.images)
        if found.images
        else np.zeros((0, SIZE, SIZE, 3), np.uint8),
        "landmarks": np.array(found.landmarks, np.float32).reshape(-1, 5, 2),
        "boxes": np.array(found.boxes, np.float32).reshape(-1, 4),
        "scores": np.array(found.scores, np.float32),
    }
    words = {"ids": json.dumps(found.ids), "rejected": json.dumps(found.rejected)}
    write_atomically(file, save(arrays, words))


def _read(files: list[Path], *names: str) -> Iterator[tuple[dict, dict[str, np.ndarray]]]:
    for file in files:
        try:
            with safe_open(file, framework="np") as part:
                words, arrays = part.metadata(), {name: part.get_tensor(name) for name in names}
        except (SafetensorError, OSError) as damage:
            raise ValueError(
                f"{file} should be a part of the extraction, but is damaged ({damage}); delete it, "
                "and the same call makes it again."
            ) from damage
        yield words, arrays
