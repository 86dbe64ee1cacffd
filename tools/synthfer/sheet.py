"""Contact sheets: what a person looks at before calling the pack done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from . import records
from .expression import EMOTIONS


def contact_sheet(folder: Path, recipe: dict[str, int], rows: int = 12) -> Image.Image:
    """A picture with one row a person, spread evenly over all of them, and one column a class."""
    count = recipe["identities"]
    people = np.linspace(0, count - 1, min(rows, count)).round().astype(int)
    pictures = [
        [
            records.load(records.path_of(folder, person, face))["image"]
            for face in range(min(len(EMOTIONS), recipe["per_identity"]))
        ]
        for person in people
    ]
    return Image.fromarray(np.vstack([np.hstack(row) for row in pictures]))


def class_sheets(
    folder: Path, recipe: dict[str, int], least: float = 0.7, columns: int = 6, rows: int = 2
) -> Iterator[tuple[str, Image.Image]]:
    """For each class a picture of ``rows`` x ``columns`` people who show it with an intensity of at
    least ``least`` (neutral faces have none), from the lightest shade to the darkest. They are
    taken at even steps through all that there are, not chosen by how they look."""
    faces = [
        records.load(records.path_of(folder, person, face))
        for person in range(recipe["identities"])
        for face in range(min(len(EMOTIONS), recipe["per_identity"]))
    ]
    for label, emotion in enumerate(EMOTIONS):
        fit = [
            face
            for face in faces
            if face["label"] == label and (emotion == "neutral" or face["intensity"] >= least)
        ]
        fit.sort(key=lambda face: (int(face["shade"]), int(face["identity"])))
        steps = np.linspace(0, len(fit) - 1, rows * columns).round().astype(int)
        pictures = np.array([fit[step]["image"] for step in steps])
        grid = pictures.reshape(rows, columns, *pictures.shape[1:])
        yield emotion, Image.fromarray(np.vstack([np.hstack(row) for row in grid]))
