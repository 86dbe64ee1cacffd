"""Finished faces on disk, one file each, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from .face import Face


def path_of(folder: Path, identity: int, face: int) -> Path:
    """Where face ``face`` of ``identity`` is kept."""
    return folder / f"{identity:04d}" / f"{face:03d}.npz"


def save(path: Path, face: Face) -> None:
    """Write a face under a temporary name and rename it: a file with the final name is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    person, expression = face.person, face.expression
    np.savez_compressed(
        unfinished,
        image=face.image,
        parts=face.parts,
        landmarks=face.landmarks,
        label=expression.label,
        intensity=np.float32(expression.intensity),
        actions=expression.actions,
        pose=expression.pose,
        identity=person.index,
        split=person.split,
        shade=person.shade,
        gender=np.float32(person.gender),
        age=np.float32(person.age),
        glasses=face.glasses,
    )
    unfinished.replace(path)


def load(path: Path) -> dict[str, np.ndarray]:
    """One saved face by field name."""
    with np.load(path) as stored:
        return dict(stored)
