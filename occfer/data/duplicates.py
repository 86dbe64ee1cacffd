"""Faces that occur more than once: the way a test split leaks into training (§3.1)."""

import hashlib

import torch
from torch import Tensor

from occfer.data.faceset import FaceSet


def pixel_hashes(faces: FaceSet) -> list[bytes]:
    """SHA-256 of each face's pixels."""
    return [hashlib.sha256(image.tobytes()).digest() for image in faces.images.cpu().numpy()]


def occurs_in(faces: FaceSet, *others: FaceSet) -> Tensor:
    """For each face, whether the very same pixels stand in one of ``others``; bool [N]."""
    known = {digest for other in others for digest in pixel_hashes(other)}
    return torch.tensor([digest in known for digest in pixel_hashes(faces)], dtype=torch.bool)


def drop_leaks(faces: FaceSet, *held_out: FaceSet) -> FaceSet:
    """The faces that stand in no held-out split, by exact pixels."""
    return faces[~occurs_in(faces, *held_out)]
