"""Processes that render faces side by side, each on one thread."""

from __future__ import annotations

import multiprocessing
import os
from functools import partial
from pathlib import Path

from tqdm import tqdm

from . import records

_STUDIO = None


def render_all(
    out: Path, recipe: dict[str, int], todo: list[tuple[int, list[int]]], workers: int
) -> None:
    """Render ``todo``, pairs of an identity and its missing faces, in ``workers`` processes."""
    if not todo:
        return
    # The model is built once, before the workers start and all want it.
    from .head import load_head

    load_head(out / "head.npz")
    context = multiprocessing.get_context("spawn")
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    bar = tqdm(total=sum(len(faces) for _, faces in todo), unit="face")
    with context.Pool(workers, partial(_start, out, recipe)) as pool, bar:
        for count in pool.imap_unordered(partial(_work, out), _pieces(todo)):
            bar.update(count)


def _pieces(todo: list, size: int = 7) -> list[tuple[int, list[int]]]:
    """Everyone's first seven faces before anyone's eighth: a rendering that is stopped in between
    still holds all classes equally often."""
    pieces = []
    for identity, faces in todo:
        for part in {face // size for face in faces}:
            pieces.append((identity, [face for face in faces if face // size == part]))
    return sorted(pieces, key=lambda piece: (piece[1][0] // size, piece[0]))


def _start(out: Path, recipe: dict[str, int]) -> None:
    global _STUDIO
    import drjit
    import mitsuba
    import torch

    # A third faster than "scalar_rgb" on one core. It needs LLVM's library (Debian: libllvm15).
    mitsuba.set_variant("llvm_ad_rgb")
    drjit.set_thread_count(1)
    torch.set_num_threads(1)
    from .face import Studio
    from .head import load_head

    _STUDIO = Studio(
        load_head(out / "head.npz"), recipe["seed"], recipe["identities"], recipe["samples"]
    )


def _work(out: Path, piece: tuple[int, list[int]]) -> int:
    identity, faces = piece
    for face in faces:
        records.save(records.path_of(out, identity, face), _STUDIO.face(identity, face))
    return len(faces)
