"""SynthFER: rendered faces with exact labels, poses, landmarks and part maps, in the library.

The stand-in for RAF-DB and FER2013 (§3.1) where neither may be had. ``tools/synthfer`` renders it;
every face is in the public domain (CC0). The people do not exist and the expressions are posed by
rule, so results on it say how a method works, never how people feel.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from safetensors import safe_open
from torch import Tensor

from occfer.data.faceset import FaceSet
from occfer.data.pictures import decode
from occfer.data.sources import check_split
from occfer.emotions import EMOTIONS
from occfer.files import file_sha256

SIZE = 112
SPLITS = ("train", "val", "test")
PARTS = ("background", "skin", "brows", "eyes", "nose", "mouth", "covering")
"""What the codes of a part map stand for; a covering is hair, a cap, a scarf or glasses."""

PACK = Path(str(files("occfer.data"))) / "assets" / "synthfer.safetensors"
PACK_SHA256 = "e8fbc098864ae1fe9e76e663f32c96f1a3c4c960cb4809978484a0b7189c521e"

_PLAIN = ("identity", "intensity", "pose", "shade", "gender", "age", "glasses")


def synthfer(split: str = "train", size: int = SIZE) -> FaceSet:
    """One split of SynthFER, images [N, 3, size, size]; no person is in two splits.

    Args:
        split: ``train``, ``val`` or ``test``.
        size: side of the pictures in pixels; other sides than 112 are resampled with
            antialiasing, and the landmarks follow.

    Each face's ``extras``: ``identity`` (int64), ``intensity`` (0.3 to 1, 0 for neutral), ``pose``
    (yaw, pitch, roll in degrees; positive towards the subject's left, upwards, and the head tilted
    to the subject's left shoulder), ``actions`` (52 ARKit facial actions in [0, 1], in the order
    of ``action_names()``), ``parts`` (uint8 [56, 56], codes of ``PARTS``), ``shade`` (Monk Skin
    Tone, 0 to 9), ``gender`` (0 male to 1 female), ``age`` (years) and ``glasses`` (0 or 1).

    The pack is opened on the first call, and its faces decoded once a split; sets share them, so
    change no pixel in place.

    Raises:
        ValueError: no such split, a size below 1, or a pack that is damaged.
        FileNotFoundError: the pack is not installed.
    """
    check_split(split, "SynthFER", SPLITS)
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}.")
    return resized(_split(split), size)


def action_names() -> tuple[str, ...]:
    """The 52 facial actions of ``extras["actions"]`` by their ARKit names."""
    return tuple(describe_pack()["actions"].split())


def describe_pack() -> dict[str, str]:
    """What the pack says of itself: version, licence, recipe, tool versions, class names."""
    with safe_open(checked(PACK, PACK_SHA256), "pt") as pack:
        return dict(pack.metadata())


@cache
def checked(path: Path, sha256: str) -> Path:
    """The path of a pack whose content is the expected one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: its SHA-256 is another.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"The SynthFER pack should be at {path}, but nothing is there; install occfer again, "
            "or render it with python -m tools.synthfer."
        )
    found = file_sha256(path)
    if found != sha256:
        raise ValueError(
            f"The SynthFER pack {path} should have SHA-256 {sha256}, got {found}: it is damaged "
            "or of another version, so install occfer again."
        )
    return path


def resized(faces: FaceSet, size: int) -> FaceSet:
    """The same faces at another side length; nothing is copied where it is theirs already."""
    if faces.size == (size, size):
        return faces
    scale = size / faces.size[0]
    images = torch.cat(
        [
            torch.nn.functional.interpolate(
                chunk.float(), (size, size), mode="bilinear", antialias=True
            )
            .round()
            .byte()
            for chunk in faces.images.split(256)
        ]
    )
    # (0, 0) is the centre of the first pixel, so its corner stays, not its centre.
    return replace(faces, images=images, landmarks=(faces.landmarks + 0.5) * scale - 0.5)


@cache
def _split(split: str) -> FaceSet:
    with safe_open(checked(PACK, PACK_SHA256), "pt") as pack:
        classes = tuple(pack.metadata()["classes"].split())
        if classes != EMOTIONS:
            raise ValueError(
                f"The SynthFER pack should hold the classes {EMOTIONS}, got {classes}; install "
                "the pack that came with this version of occfer."
            )
        rows = (pack.get_tensor("split") == SPLITS.index(split)).nonzero()[:, 0]
        column = {
            name: pack.get_tensor(name)[rows] for name in ("label", "actions", "landmarks", *_PLAIN)
        }
        images = _pictures(pack.get_tensor("jpeg"), pack.get_tensor("jpeg_ends"), rows, "RGB")
        parts = _pictures(pack.get_tensor("part_png"), pack.get_tensor("part_ends"), rows, "L")
    extras: dict[str, Tensor] = {name: column[name] for name in _PLAIN}
    extras["identity"] = extras["identity"].long()
    extras["actions"] = column["actions"].float() / 255
    extras["parts"] = parts
    return FaceSet(
        images=images.permute(0, 3, 1, 2).contiguous(),
        labels=column["label"].long(),
        ids=_ids(extras["identity"], rows),
        landmarks=column["landmarks"],
        name="synthfer",
        split=split,
        extras=extras,
    )


def _ids(identity: Int64[Tensor, " faces"], rows: Int64[Tensor, " faces"]) -> Sequence[str]:
    return [f"synthfer/{person:04d}/{row:05d}" for person, row in
            zip(identity.tolist(), rows.tolist(), strict=True)]  # fmt: skip


def _pictures(
    data: UInt8[Tensor, " bytes"], ends: Int64[Tensor, " all"], rows: Int64[Tensor, " faces"],
    mode: str,
) -> UInt8[Tensor, "faces height width *rgb"]:  # fmt: skip
    stops = ends.tolist()
    starts = [0, *stops]
    content = data.numpy()
    return torch.from_numpy(
        np.stack(
            [
                decode(content[starts[row] : stops[row]].tobytes(), f"SynthFER face {row}", mode)
                for row in rows.tolist()
            ]
        )
    )
