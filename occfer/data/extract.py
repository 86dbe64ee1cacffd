"""From pictures to a ``FaceSet`` of aligned faces with landmarks (§3.1).

The work is done in parts of some pictures each. A part is one file that appears whole or not at
all, so an extraction that is stopped, with ``kill -9`` too, goes on after its last finished part
and ends with the same set; and however many pictures there are and however large, no more of them
are unfolded at once than ``PIXELS`` says.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shutil import rmtree

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm

from occfer.data.align import moved, similarity, warp
from occfer.data.detect import Detections, Detector
from occfer.data.faceset import FaceSet
from occfer.data.parts import Extracted, is_done, join, make_parts
from occfer.data.pictures import BadPicture
from occfer.data.shards import Files, Picture, Shard, Source, digest, find_sources
from occfer.files import locked, write_atomically

PART = 64
PIXELS = 50_000_000
"""Of the pictures of a part that are unfolded and searched at once."""


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


class Extractor:
    """Pictures in, aligned faces out; holds the networks, and nothing of what it has seen."""

    def __init__(self, choice: Choice | None = None, device: torch.device | str = "cpu") -> None:
        self.choice = choice or Choice()
        # Boxes of a face differ a little in height and width, so smaller ones are looked for too.
        self.detector = Detector(max(12, self.choice.min_face * 3 // 4), device=device)

    def __call__(self, pictures: Sequence[Picture]) -> Extracted:
        """The faces on some pictures; those of a picture ``name`` are called ``name#0``,
        ``name#1``, ..."""
        found = Extracted([], [], [], [], [], [])
        held: list[tuple[str, Image.Image]] = []
        left = PIXELS
        for name, pixels in pictures:
            try:
                picture = Image.fromarray(pixels())
            except (BadPicture, OSError) as error:
                found.rejected.append((name, str(error)))
                continue
            left -= picture.width * picture.height
            if held and left < 0:
                self._search(found, held)
                held, left = [], PIXELS - picture.width * picture.height
            held.append((name, picture))
        if held:
            self._search(found, held)
        return found

    def _search(self, into: Extracted, pictures: list[tuple[str, Image.Image]]) -> None:
        factors = [-(-max(picture.size) // self.choice.max_side) for _, picture in pictures]
        small = [
            np.asarray(picture.reduce(factor) if factor > 1 else picture)
            for (_, picture), factor in zip(pictures, factors, strict=True)
        ]
        for (name, picture), factor, faces in zip(
            pictures, factors, self.detector(small), strict=True
        ):
            self._take(into, name, picture, _enlarged(faces, factor))

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
                into.matrices.append(matrices[number])


Engine = Callable[[Sequence[Source], int, Path, Choice, str], Iterator[int]]
"""Who does the work, ``one_by_one`` or ``occfer.data.cluster.OnRay``: makes all parts of the
sources, of so many pictures each, in a folder; gives the numbers of pictures that are through."""


def one_by_one(
    sources: Sequence[Source], size: int, parts: Path, choice: Choice, device: str
) -> Iterator[int]:
    """The engine that works here, in this process."""
    extractor = Extractor(choice, device)
    for source in sources:
        yield from make_parts(source, size, parts, extractor)


def extract(
    folder: str | Path,
    out: str | Path,
    choice: Choice | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
    engine: Engine = one_by_one,
) -> FaceSet:
    """All faces on the pictures of a folder, aligned, as a saved ``FaceSet`` in ``out/faces``.

    ``out/rejected.tsv`` lists every picture and face that was not taken, and why. The same call
    goes on with an extraction that was stopped, whichever engine it is given.

    Args:
        folder: pictures in folders of any depth, behind links too, such as a crawl's
            ``pictures``; or shards of them, see ``occfer.data.shards``.
        out: made where it is missing; it may lie in ``folder``, and is not searched then.
        choice: which faces are taken.
        device: of the networks.
        progress: show a bar.
        engine: who does the work.

    Returns:
        Unlabelled faces of 112 x 112 pixels, memory-mapped, with ``box`` and ``score`` (in the
        picture that they were cut from) as extras.

    Raises:
        ValueError: no pictures or no face in them, or an ``out`` that is ``folder`` itself or
            holds another extraction.
        BlockingIOError: another extraction is writing to ``out``.
    """
    # Workers elsewhere may stand in another folder.
    folder, out, choice = Path(folder).absolute(), Path(out).absolute(), choice or Choice()
    sources = find_sources(folder, PART, out)
    out.mkdir(parents=True, exist_ok=True)
    taken = f"Another extraction is writing to {out}; wait for it, or choose another folder."
    with locked(out / ".lock", taken):
        _claim(out, sources, choice)
        parts = out / "parts"
        if not (out / "faces").exists():
            parts.mkdir(exist_ok=True)
            left = [source for source in sources if not is_done(source, parts)]
            counts = [source.count for source in left]
            total = None if None in counts else sum(counts)
            with tqdm(total=total, desc="align", unit="picture", disable=not progress) as bar:
                if left:
                    for count in engine(left, PART, parts, choice, str(device)):
                        bar.update(count)
            join(parts, out)
        rmtree(parts, ignore_errors=True)
    return FaceSet.open(out / "faces")


def _enlarged(faces: Detections, factor: int) -> Detections:
    """Detections on a picture that was reduced, in the pixels of the original."""
    shift = (factor - 1) / 2
    return replace(faces, boxes=faces.boxes * factor, landmarks=(faces.landmarks * factor + shift))


def _plan(stated: Path) -> object:
    try:
        return json.loads(stated.read_text())
    except (ValueError, RecursionError):
        return None


def _claim(out: Path, sources: list[Source], choice: Choice) -> None:
    """Write what is extracted from what, or compare it with what is written."""
    plan = {
        "pictures": sum(source.count for source in sources if isinstance(source, Files)),
        "shards": sum(isinstance(source, Shard) for source in sources),
        "sha256": digest(sources),
        "choice": asdict(choice),
        "part": PART,
    }
    stated = out / "plan.json"
    if not stated.exists():
        write_atomically(stated, json.dumps(plan, indent=1).encode())
    elif _plan(stated) != plan:
        raise ValueError(
            f"{out} holds an extraction of other pictures or with another choice; delete it or "
            f"choose another folder."
        )
