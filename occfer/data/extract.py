"""From a folder of pictures to a ``FaceSet`` of aligned faces with landmarks (§3.1).

The work is done in parts of some pictures each. A part is one file that appears whole or not at
all, so an extraction that is stopped, with ``kill -9`` too, goes on after its last finished part
and ends with the same set; and however many pictures there are, one part is in memory.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shutil import rmtree

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save
from tqdm.auto import tqdm

from occfer.data import pictures
from occfer.data.align import SIZE, moved, similarity, warp
from occfer.data.detect import Detections, Detector
from occfer.data.faceset import FaceSet
from occfer.emotions import UNLABELLED

PART = 64
REJECTED = "rejected.tsv"


@dataclass(frozen=True)
class Choice:
    """Which faces are taken.

    every: all faces of a picture, or the largest only.
    min_face: side in pixels that a face's box must have at least.
    min_score: probability of being a face that it must have at least.
    max_side: pictures are searched at no more than this many pixels a side, and then cut from
        their originals.
    """

    every: bool = True
    min_face: int = 40
    min_score: float = 0.95
    max_side: int = 1600

    def __post_init__(self) -> None:
        if self.min_face < 12 or not 0 <= self.min_score <= 1 or self.max_side < 64:
            raise ValueError(
                f"A choice needs min_face from 12, min_score from 0 to 1 and max_side from 64, "
                f"got {self}."
            )


@dataclass
class Extracted:
    """The faces of some pictures, and why others were not taken."""

    images: list[np.ndarray]
    landmarks: list[np.ndarray]
    boxes: list[np.ndarray]
    scores: list[float]
    ids: list[str]
    rejected: list[tuple[str, str]]


class Extractor:
    """Pictures in, aligned faces out; holds the networks, and nothing of what it has seen."""

    def __init__(self, choice: Choice | None = None, device: torch.device | str = "cpu") -> None:
        self.choice = choice or Choice()
        # Boxes of a face differ a little in height and width, so smaller ones are looked for too.
        self.detector = Detector(max(12, self.choice.min_face * 3 // 4), device=device)

    def __call__(self, paths: Sequence[Path], names: Sequence[str]) -> Extracted:
        """The faces on some pictures.

        Args:
            paths: the files.
            names: what each picture is called; its faces are called ``name#0``, ``name#1``, ...
        """
        found = Extracted([], [], [], [], [], [])
        readable: list[tuple[str, Image.Image, float]] = []
        small: list[np.ndarray] = []
        for path, name in zip(paths, names, strict=True):
            try:
                picture = Image.fromarray(pictures.load(path, "RGB"))
            except (pictures.BadPicture, OSError) as error:
                found.rejected.append((name, str(error)))
                continue
            factor = -(-max(picture.size) // self.choice.max_side)
            readable.append((name, picture, factor))
            small.append(np.asarray(picture.reduce(factor) if factor > 1 else picture))
        if readable:
            for (name, picture, factor), faces in zip(readable, self.detector(small), strict=True):
                self._take(found, name, picture, _enlarged(faces, factor))
        return found

    def _take(self, into: Extracted, name: str, picture: Image.Image, faces: Detections) -> None:
        if not len(faces):
            into.rejected.append((name, "no face"))
        matrices = similarity(faces.landmarks)
        taken = 0
        for number, (box, score, points) in enumerate(
            zip(faces.boxes, faces.scores, faces.landmarks, strict=True)
        ):
            face = f"{name}#{number}"
            side = float(min(box[2] - box[0], box[3] - box[1]))
            if side < self.choice.min_face:
                into.rejected.append((face, f"{side:.0f} pixels, less than {self.choice.min_face}"))
            elif score < self.choice.min_score:
                into.rejected.append(
                    (face, f"score {score:.3f}, less than {self.choice.min_score}")
                )
            elif taken and not self.choice.every:
                into.rejected.append((face, "not the largest"))
            else:
                taken += 1
                into.images.append(warp(picture, matrices[number]))
                into.landmarks.append(moved(points, matrices[number]))
                into.boxes.append(box)
                into.scores.append(float(score))
                into.ids.append(face)


def extract(
    folder: str | Path,
    out: str | Path,
    choice: Choice | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> FaceSet:
    """All faces on the pictures of a folder, aligned, as a saved ``FaceSet`` in ``out/faces``.

    ``out/rejected.tsv`` lists every picture and face that was not taken, and why. The same call
    goes on with an extraction that was stopped.

    Args:
        folder: pictures, in folders of any depth, such as a crawl's ``pictures``.
        out: made where it is missing.
        choice: which faces are taken.
        device: of the networks.
        progress: show a bar.

    Returns:
        Unlabelled faces of 112 x 112 pixels, memory-mapped, with ``box`` and ``score`` (in the
        picture that they were cut from) as extras.

    Raises:
        ValueError: no pictures or no face in them, or an ``out`` that holds another extraction.
    """
    folder, out, choice = Path(folder), Path(out), choice or Choice()
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in pictures.SUFFIXES)
    if not paths:
        raise ValueError(
            f"{folder} should hold pictures ({', '.join(pictures.SUFFIXES)}), but holds none."
        )
    names = [path.relative_to(folder).as_posix() for path in paths]
    _claim(out, names, choice)
    if (out / "faces").exists():
        return FaceSet.open(out / "faces")
    parts = out / "parts"
    parts.mkdir(exist_ok=True)
    extractor = None
    starts = range(0, len(paths), PART)
    files = [parts / f"{start:012d}.safetensors" for start in starts]
    with tqdm(total=len(paths), desc="align", unit="picture", disable=not progress) as bar:
        for start, file in zip(starts, files, strict=True):
            chosen = slice(start, start + PART)
            if not file.exists():
                extractor = extractor or Extractor(choice, device)
                _write(file, extractor(paths[chosen], names[chosen]))
            bar.update(len(paths[chosen]))
    _join(out, files)
    return FaceSet.open(out / "faces")


def _enlarged(faces: Detections, factor: int) -> Detections:
    """Detections on a picture that was reduced, in the pixels of the original."""
    shift = (factor - 1) / 2
    return replace(faces, boxes=faces.boxes * factor, landmarks=(faces.landmarks * factor + shift))


def _claim(out: Path, names: list[str], choice: Choice) -> None:
    """Write what is extracted from what, or compare it with what is written."""
    listed = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).hexdigest()
    plan = {"pictures": len(names), "sha256": listed, "choice": asdict(choice), "part": PART}
    out.mkdir(parents=True, exist_ok=True)
    stated = out / "plan.json"
    if not stated.exists():
        _replace(stated, json.dumps(plan, indent=1).encode())
    elif json.loads(stated.read_text()) != plan:
        raise ValueError(
            f"{out} holds an extraction of other pictures or with another choice; delete it or "
            f"choose another folder."
        )


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
    _replace(file, save(arrays, words))


def _join(out: Path, files: list[Path]) -> None:
    """One set of all parts; the pixels go from file to file, never all at once into memory."""
    ids, rejected, rest = [], [], {"landmarks": [], "boxes": [], "scores": []}
    for words, arrays in _read(files, *rest):
        ids += json.loads(words["ids"])
        rejected += json.loads(words["rejected"])
        for name, array in arrays.items():
            rest[name].append(array)
    lines = ("\t".join(" ".join(each.split()) for each in row) for row in rejected)
    _replace(out / REJECTED, "".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
    if not ids:
        raise ValueError(f"No face was taken from the pictures; {out / REJECTED} says why.")
    pixels = out / "pixels.npy"
    shape = (len(ids), 3, SIZE, SIZE)
    images, start = np.lib.format.open_memmap(pixels, "w+", np.uint8, shape), 0
    for _, arrays in _read(files, "images"):
        count = len(arrays["images"])
        images[start : start + count] = arrays["images"].transpose(0, 3, 1, 2)
        start += count
    joined = {name: torch.from_numpy(np.concatenate(array)) for name, array in rest.items()}
    faces = FaceSet(
        images=torch.from_numpy(images),
        labels=torch.full((len(ids),), UNLABELLED),
        ids=ids,
        landmarks=joined["landmarks"],
        name=out.name,
        extras={"box": joined["boxes"], "score": joined["scores"]},
    )
    faces.save(out / "faces")
    pixels.unlink()
    rmtree(out / "parts")


def _read(files: list[Path], *names: str) -> Iterator[tuple[dict, dict[str, np.ndarray]]]:
    for file in files:
        with safe_open(file, framework="np") as part:
            yield part.metadata(), {name: part.get_tensor(name) for name in names}


def _replace(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)
