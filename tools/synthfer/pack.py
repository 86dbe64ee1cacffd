"""One file for all faces: JPEG pictures, PNG part maps and plain tensors, in safetensors."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file
from tqdm import tqdm

from . import records
from .anatomy import PARTS
from .expression import EMOTIONS
from .identity import SPLITS
from .photo import encode

VERSION = "1"
QUALITY = 88  # of the pack's own JPEG coding, after each face's drawn compression
PART_SIZE = 56


def write_pack(folder: Path, target: Path, recipe: dict[str, int]) -> str:
    """Pack every face under ``folder``; returns the file's SHA-256.

    Tensors: ``jpeg`` and ``part_png`` uint8 [bytes] with ``jpeg_ends`` and ``part_ends`` int64 [N];
    ``label``, ``split``, ``shade`` uint8 [N]; ``identity`` int16 [N]; ``intensity``, ``gender``,
    ``age`` float32 [N]; ``glasses`` uint8 [N]; ``pose`` float32 [N, 3]; ``actions`` uint8 [N, 52]
    (1/255 of full strength); ``landmarks`` float32 [N, 5, 2]. The header's metadata names them.
    """
    faces = [
        records.load(records.path_of(folder, identity, face))
        for identity in tqdm(range(recipe["identities"]), desc="pack", unit="person")
        for face in range(recipe["per_identity"])
    ]
    jpegs = [encode(face["image"], QUALITY) for face in faces]
    parts = [_part_png(face["parts"]) for face in faces]

    def column(name: str, dtype: type) -> np.ndarray:
        return np.array([face[name] for face in faces], dtype)

    tensors = {
        "jpeg": np.frombuffer(b"".join(jpegs), np.uint8),
        "jpeg_ends": np.cumsum([len(data) for data in jpegs]),
        "part_png": np.frombuffer(b"".join(parts), np.uint8),
        "part_ends": np.cumsum([len(data) for data in parts]),
        "label": column("label", np.uint8),
        "split": np.array([SPLITS.index(str(face["split"])) for face in faces], np.uint8),
        "identity": column("identity", np.int16),
        "intensity": column("intensity", np.float32),
        "shade": column("shade", np.uint8),
        "gender": column("gender", np.float32),
        "age": column("age", np.float32),
        "glasses": column("glasses", np.uint8),
        "pose": column("pose", np.float32),
        "actions": np.round(255 * column("actions", np.float32)).astype(np.uint8),
        "landmarks": column("landmarks", np.float32),
    }
    header = {
        "name": "SynthFER",
        "version": VERSION,
        "licence": "CC0-1.0",
        "classes": " ".join(EMOTIONS),
        "splits": " ".join(SPLITS),
        "parts": " ".join(PARTS),
        "actions": " ".join(_action_names()),
        "recipe": " ".join(f"{key}={value}" for key, value in recipe.items()),
        "tools": " ".join(f"{tool}={importlib.metadata.version(tool)}" for tool in
                          ("anny", "mitsuba", "numpy", "pillow", "scipy", "torch")),
    }  # fmt: skip
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, target, metadata=dict(sorted(header.items())))
    return hashlib.sha256(target.read_bytes()).hexdigest()


def _action_names() -> list[str]:
    from anny.models.facial_actions import FACIAL_ACTION_LABELS

    return list(FACIAL_ACTION_LABELS)


def _part_png(parts: np.ndarray) -> bytes:
    # Every second pixel: a mean of codes would invent parts.
    step = parts.shape[0] // PART_SIZE
    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(parts[step // 2 :: step, step // 2 :: step]))
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
