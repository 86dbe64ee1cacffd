"""A set of faces: pixels, labels, ids and landmarks that stay together (§3.1).

Every reader returns a ``FaceSet`` and every later step takes one. It never changes; taking a
part of it or moving it to a device gives another. Its ``sha256`` names the content, wherever
the pixels lie, so a recorded run can say exactly which faces it saw.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int, Int64, UInt8
from torch import Tensor

from occfer.emotions import EMOTIONS, UNLABELLED

LANDMARKS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
"""The order of the five points, as MTCNN gives them; left and right as seen in the picture."""

CHUNK_BYTES = 16 * 2**20


@dataclass(frozen=True, eq=False, repr=False)
class FaceSet:
    """N faces of one size.

    Args:
        images: pixels, 0 to 255, with one (grey) or three (RGB) channels.
        labels: places in ``EMOTIONS``, or -1 for an unlabelled face.
        ids: one name per face, each only once.
        landmarks: x and y in pixels of the five points of ``LANDMARKS``, the centre of the
            top-left pixel being (0, 0); NaN where a point was not found.
        name: the data set, such as ``"fer2013"``.
        split: such as ``"train"``.
        extras: further tensors with one row per face.

    Raises:
        ValueError: a part has another type, shape, range or device than stated here.
    """

    images: UInt8[Tensor, "faces channels height width"]
    labels: Int64[Tensor, " faces"]
    ids: Sequence[str]
    landmarks: Float32[Tensor, "faces 5 2"] | None = None
    name: str = ""
    split: str = ""
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A frozen dataclass can still settle its own fields once, before anyone sees it.
        object.__setattr__(self, "ids", tuple(self.ids))
        object.__setattr__(self, "extras", dict(self.extras))
        _check_images(self.images)
        _check_labels(self.labels, len(self.images))
        _check_ids(self.ids, len(self.images))
        _check_landmarks(self.landmarks, len(self.images))
        _check_extras(self.extras, len(self.images))
        _check_devices(self)
        _check_words(name=self.name, split=self.split)

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        channels, (height, width) = self.images.shape[1], self.size
        return (
            f"FaceSet({self.name!r}, {self.split!r}: {len(self)} faces of "
            f"{channels} x {height} x {width} on {self.device})"
        )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.images.shape[2], self.images.shape[3]

    @property
    def device(self) -> torch.device:
        return self.images.device

    def __getitem__(
        self,
        index: slice | Bool[Tensor, " mask"] | Int[Tensor, " chosen"] | np.ndarray | Sequence[int],
    ) -> "FaceSet":
        """The chosen faces, in the order of the index; a slice of step 1 copies nothing.

        Raises:
            TypeError: the index is a single number, where ``faces[i:i+1]`` is a set of one face,
                or holds fractions.
            IndexError: an index lies outside, or a mask has another length than the set.
        """
        if isinstance(index, slice):
            rows = range(len(self))[index]
        else:
            # Resolved on the CPU: a bad index on a GPU would end the process.
            rows = torch.arange(len(self))[_as_index(index)].tolist()
        if isinstance(rows, range) and rows.step == 1:
            chosen = slice(rows.start, rows.stop)
        else:
            chosen = torch.tensor(list(rows), dtype=torch.int64, device=self.device)
        return self._map(lambda tensor: tensor[chosen], ids=[self.ids[row] for row in rows])

    def to(self, device: torch.device | str) -> "FaceSet":
        """The same faces with all tensors on ``device``."""
        return self._map(lambda tensor: tensor.to(device), ids=self.ids)

    def _map(self, function, ids: Sequence[str]) -> "FaceSet":
        return replace(
            self,
            images=function(self.images),
            labels=function(self.labels),
            ids=ids,
            landmarks=None if self.landmarks is None else function(self.landmarks),
            extras={key: function(value) for key, value in self.extras.items()},
        )

    def counts(self) -> dict[str, int]:
        """Faces per expression, in the order of ``EMOTIONS``; unlabelled ones count nowhere."""
        found = Counter(self.labels.tolist())
        return {emotion: found[label] for label, emotion in enumerate(EMOTIONS)}

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over pixels, labels, ids and landmarks, with their shapes; read piece by piece.

        The same for the same faces in memory, on disk and on a device. Name, split and extras
        do not enter.
        """
        content = {
            "images": tensor_sha256(self.images),
            "labels": tensor_sha256(self.labels),
            "ids": self.ids,
            "landmarks": None if self.landmarks is None else tensor_sha256(self.landmarks),
        }
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def describe(self) -> dict:
        """What a recorded run says about the faces it used; made of plain JSON types."""
        return {
            "name": self.name,
            "split": self.split,
            "count": len(self),
            "counts": self.counts(),
            "unlabelled": int((self.labels == UNLABELLED).sum()),
            "channels": self.images.shape[1],
            "size": list(self.size),
            "sha256": self.sha256,
        }

    def save(self, folder: str | Path) -> Path:
        """Write the set to a new folder, whole or not at all; see ``occfer.data.storage``."""
        from occfer.data.storage import save_faces

        return save_faces(self, folder)

    @staticmethod
    def open(folder: str | Path, verify: bool = True) -> "FaceSet":
        """A saved set, its pixels memory-mapped; see ``occfer.data.storage``."""
        from occfer.data.storage import open_faces

        return open_faces(folder, verify)

    @staticmethod
    def concat(
        sets: Sequence["FaceSet"], name: str | None = None, split: str | None = None
    ) -> "FaceSet":
        """All faces of several sets, in their order.

        ``name`` and ``split`` default to those of the sets, joined by ``+`` where they differ.
        Extras are kept where every set has them.

        Raises:
            ValueError: no sets, sets that differ in channels, size or the shape of an extra, sets
                of which only some have landmarks, or ids that occur in two sets.
        """
        _check_alike(sets)
        shared = [key for key in sets[0].extras if all(key in each.extras for each in sets)]
        return FaceSet(
            images=torch.cat([each.images for each in sets]),
            labels=torch.cat([each.labels for each in sets]),
            ids=[identifier for each in sets for identifier in each.ids],
            landmarks=None
            if sets[0].landmarks is None
            else torch.cat([each.landmarks for each in sets]),
            name="+".join(dict.fromkeys(each.name for each in sets)) if name is None else name,
            split="+".join(dict.fromkeys(each.split for each in sets)) if split is None else split,
            extras={key: torch.cat([each.extras[key] for each in sets]) for key in shared},
        )


def pieces(tensor: Tensor, size: int = CHUNK_BYTES) -> Iterator[Tensor]:
    """Consecutive rows of a tensor as contiguous CPU tensors of about ``size`` bytes each."""
    row_bytes = max(1, tensor[:1].numel() * tensor.element_size())
    rows = max(1, size // row_bytes)
    for start in range(0, len(tensor), rows):
        yield tensor[start : start + rows].contiguous().cpu()


def tensor_sha256(tensor: Tensor) -> str:
    """SHA-256 of a tensor's type, shape and values, whatever its device and memory layout."""
    digest = hashlib.sha256(_name(tensor).encode())
    for piece in pieces(tensor):
        digest.update(piece.numpy())
    return digest.hexdigest()


def _as_index(index: object) -> Tensor:
    index = torch.as_tensor(index).cpu()
    if index.dim() != 1:
        raise TypeError(
            f"A FaceSet is indexed by a mask or index tensor of one dimension, got shape "
            f"{tuple(index.shape)}; write faces[i:i+1] for a single face."
        )
    if len(index) and (index.is_floating_point() or index.is_complex()):
        raise TypeError(
            f"A FaceSet is indexed by booleans or whole numbers, got {_name(index)}; round them, "
            f"or compare them with something."
        )
    # As int64: torch takes bytes for a mask.
    return index if index.dtype == torch.bool else index.long()


def _check_images(images: object) -> None:
    fits = isinstance(images, Tensor) and images.dtype == torch.uint8 and images.dim() == 4
    if not fits or images.shape[1] not in (1, 3) or 0 in images.shape[2:]:
        raise ValueError(
            f"images must be a uint8 tensor [N, C, H, W] with 1 or 3 channels, got "
            f"{_name(images)}; floats in [0, 1] become bytes by (x * 255).round().byte()."
        )


def _check_labels(labels: object, count: int) -> None:
    fits = isinstance(labels, Tensor) and labels.dtype == torch.int64
    if not fits or labels.shape != (count,):
        raise ValueError(f"labels must be an int64 tensor [{count}], got {_name(labels)}.")
    known = (labels >= UNLABELLED) & (labels < len(EMOTIONS))
    if not bool(known.all()):
        raise ValueError(
            f"labels must lie in 0..{len(EMOTIONS) - 1}, or be {UNLABELLED} for unlabelled, got "
            f"{labels[~known][0].item()}; map other numberings with occfer.emotions."
        )


def _check_ids(ids: Sequence, count: int) -> None:
    if len(ids) != count or not all(isinstance(identifier, str) for identifier in ids):
        raise ValueError(f"ids must be {count} strings, one per image, got {len(ids)} values.")
    if len(set(ids)) != count:
        twice = Counter(ids).most_common(1)[0][0]
        raise ValueError(f"ids must be unique, but {twice!r} occurs more than once; rename it.")


def _check_landmarks(landmarks: object, count: int) -> None:
    if landmarks is None:
        return
    fits = isinstance(landmarks, Tensor) and landmarks.dtype == torch.float32
    if not fits or landmarks.shape != (count, 5, 2):
        raise ValueError(
            f"landmarks must be a float32 tensor [{count}, 5, 2] or None, got {_name(landmarks)}."
        )


def _check_extras(extras: Mapping[str, object], count: int) -> None:
    for key, value in extras.items():
        if not isinstance(value, Tensor) or value.shape[:1] != (count,):
            raise ValueError(
                f"extras[{key!r}] must be a tensor with {count} rows, got {_name(value)}."
            )


def _check_devices(faces: FaceSet) -> None:
    landmarks = () if faces.landmarks is None else (faces.landmarks,)
    tensors = (faces.images, faces.labels, *landmarks, *faces.extras.values())
    devices = sorted({str(tensor.device) for tensor in tensors})
    if len(devices) > 1:
        raise ValueError(
            f"All tensors of a FaceSet must lie on one device, got {' and '.join(devices)}; "
            f"build it on one and use .to(device)."
        )


def _check_words(**words: object) -> None:
    for key, value in words.items():
        if not isinstance(value, str):
            raise ValueError(f"{key} must be a string, got {type(value).__name__}.")


def _check_alike(sets: Sequence[FaceSet]) -> None:
    if not sets:
        raise ValueError("concat needs at least one FaceSet, got none.")
    shapes = sorted({tuple(each.images.shape[1:]) for each in sets})
    if len(shapes) > 1:
        raise ValueError(
            f"Only faces of one shape [C, H, W] can be joined, got {shapes}; resize them first."
        )
    for key in set.intersection(*({*each.extras} for each in sets)):
        shapes = sorted({tuple(each.extras[key].shape[1:]) for each in sets})
        if len(shapes) > 1:
            raise ValueError(
                f"extras[{key!r}] must have one shape of row in all sets to be joined, got "
                f"{shapes}; leave it out of one of them, and it is left out of all."
            )
    if len({each.landmarks is None for each in sets}) > 1:
        raise ValueError(
            "Either all sets to be joined have landmarks or none; "
            "dataclasses.replace(faces, landmarks=None) leaves them out."
        )


def _name(value: object) -> str:
    """A tensor's type and shape, or the type of anything else, for messages."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return type(value).__name__
