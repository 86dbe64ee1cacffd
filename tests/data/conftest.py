"""Faces and pictures to test with, and a cache folder of each test's own."""

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from occfer.data import FaceSet
from occfer.engine.records import Record, environment

RESULTS = Path(__file__).resolve().parents[2] / "book" / "results"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """No test reads or writes the user's cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("OCCFER_CACHE", str(folder))
    monkeypatch.delenv("OCCFER_DATA", raising=False)
    return folder


@pytest.fixture(scope="session")
def make_faces():
    """``make_faces(count, ...)``: random faces with everything a set can hold."""

    def make(count=6, channels=1, size=(4, 5), landmarks=True, name="set", prefix="face", seed=0):
        draw = torch.Generator().manual_seed(seed)
        shape = (count, channels, *size)
        return FaceSet(
            images=torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8),
            labels=torch.randint(-1, 7, (count,), generator=draw),
            ids=[f"{prefix}{number}" for number in range(count)],
            landmarks=torch.rand(count, 5, 2, generator=draw) if landmarks else None,
            name=name,
            split="train",
            extras={"age": torch.arange(count), "soft": torch.rand(count, 7, generator=draw)},
        )

    return make


@pytest.fixture(scope="session")
def same():
    """``same(a, b)``: whether two sets agree in every part."""

    def agree(one: FaceSet, other: FaceSet) -> bool:
        pairs = [(one.images, other.images), (one.labels, other.labels)]
        if one.landmarks is not None:
            pairs.append((one.landmarks, other.landmarks))
        pairs += [(one.extras[key], other.extras[key]) for key in one.extras]
        return (
            (one.ids, one.name, one.split) == (other.ids, other.name, other.split)
            and (one.landmarks is None) == (other.landmarks is None)
            and one.extras.keys() == other.extras.keys()
            and all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)
        )

    return agree


@pytest.fixture(scope="session")
def encode():
    """``encode(pixels, "PNG")``: the bytes of a picture file."""

    def to_bytes(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
        buffer = BytesIO()
        image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return to_bytes


@pytest.fixture(scope="session")
def real_cache(tmp_path_factory, shared_data):
    """FER2013 as it really is, decoded once for all tests; give it as ``OCCFER_CACHE``."""
    from occfer.data.fer2013 import fer2013

    folder = tmp_path_factory.mktemp("decoded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OCCFER_CACHE", str(folder))
        fer2013("train", shared_data)
    return folder


@pytest.fixture(scope="session")
def keep_record():
    """``keep_record("hostile", cases=...)``: what a test saw, for the tables of chapter 2.

    Written only where ``OCCFER_RECORD=1`` says that the record in the book is to be renewed.
    """

    def keep(name: str, **values) -> None:
        if os.environ.get("OCCFER_RECORD"):
            about = {"experiment": "collecting", "name": name, "environment": environment()}
            Record(about | values).save(RESULTS)

    return keep
