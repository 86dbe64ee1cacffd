"""Contact sheets: what a person looks at before calling the pack done."""

from __future__ import annotations

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
