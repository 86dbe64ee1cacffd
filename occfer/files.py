"""Files that are whole or not there, and that are what they were: atomic writes and SHA-256.

Tensors lie in safetensors files, from which nothing can be executed.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict | None = None) -> str:
    """Write a safetensors file atomically; returns its SHA-256.

    Raises:
        OSError: it could not be written, such as to a full disk; an older file stays.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
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
    """Replace a file by new content; a reader sees the old or the new one, never a part."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(content)
        _flush(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


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


def _flush(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
