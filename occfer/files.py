"""Files that are whole or not there, and that are what they were: atomic writes and SHA-256.

Tensors lie in safetensors files, from which nothing can be executed.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from uuid import uuid4

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict | None = None) -> str:
    """Write a safetensors file atomically; returns its SHA-256.

    Raises:
        OSError: it could not be written, such as to a full disk; an older file stays.
    """
    draft = _beside(path)
    whole = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    try:
        # safetensors keeps a file to its owner; whoever reads config.json should read the weights.
        draft.touch()
        mode = draft.stat().st_mode
        try:
            save_file(whole, draft, metadata)
        except SafetensorError as failure:
            raise OSError(f"{path} could not be written: {failure}") from failure
        draft.chmod(mode)
        digest = file_sha256(draft)
        _flush(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return digest


def load_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    """Read a safetensors file after comparing its hash."""
    found = file_sha256(path)
    if found != sha256:
        raise ValueError(f"{path} should have SHA-256 {sha256[:12]}…, has {found[:12]}….")
    try:
        return load_file(path)
    except SafetensorError as damage:
        raise ValueError(f"{path} should be a safetensors file, but: {damage}.") from damage


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file by new content; a reader sees the old or the new one, never a part.

    Whoever else writes the same file, the last one wins, on a disk that machines share too.
    """
    draft = _beside(path)
    try:
        draft.write_bytes(content)
        _flush(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def locked(file: Path, taken: str) -> Iterator[None]:
    """Keep a file for this process; the system frees it when the process ends or is killed.

    Args:
        file: made where it is missing, and left there.
        taken: what is said where another process keeps it.

    Raises:
        BlockingIOError: another process keeps it.
    """
    try:
        with FileLock(file, timeout=0):
            yield
    except Timeout as timeout:
        raise BlockingIOError(taken) from timeout


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to write into that becomes ``path`` at the end of the block, or leaves nothing.

    Raises:
        FileExistsError: ``path`` is there, before the block or after it.
    """
    _refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _beside(path)
    try:
        draft.mkdir()
        yield draft
        try:
            draft.rename(path)
        except OSError:
            # Another process was faster; systems differ in the error they give.
            _refuse_existing(path)
            raise
    finally:
        rmtree(draft, ignore_errors=True)


def walk(folder: Path, without: Path | None = None) -> Iterator[tuple[Path, list[str]]]:
    """Each folder from this one down, behind links too, once, with the names of its files.

    Args:
        folder: where to begin.
        without: a folder to leave out, with all that is in it.
    """
    seen = set() if without is None else {os.path.realpath(without)}
    for path, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(path)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield Path(path), sorted(files)


def writable(path: Path) -> Path:
    """A file that is to be written later; says now where that cannot be.

    Raises:
        OSError: it is a folder, or its own folder cannot be written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise OSError(
            f"{path} should be a file that can be written, but is a folder or lies in one that is "
            "read-only; choose another."
        )
    return path


def _beside(path: Path) -> Path:
    """A hidden name that nobody else chooses, not even another machine at the same disk.

    It ends in digits, by which a run knows the drafts that it left behind.
    """
    return path.with_name(f".{path.name}.{uuid4().int}")


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise FileExistsError(f"{path} exists already; remove it or choose another name.")


def _flush(path: Path) -> None:
    # Windows flushes only what is open for writing.
    with open(path, "r+b") as file:
        os.fsync(file.fileno())
