"""Tar and zip archives from strangers: only plain files, only inside, only so many bytes.

An archive may name paths that leave the folder, hold links and devices, or unfold a few
kilobytes into a full disk. Every member passes the same door here, whether it is read in memory
or written out, and anything suspicious refuses the whole archive.
"""

import bz2
import gzip
import lzma
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol, runtime_checkable

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
CHUNK = 2**20
# A long name or further attributes of a tar's member, which are read in one piece.
MAX_HEADER = 2**20
# Below this many bytes a ratio says nothing: an empty tar is twenty kilobytes of zeros.
HARMLESS = 2**20

# First bytes of a file -> how to unpack the tar inside.
_COMPRESSIONS: dict[bytes, Callable] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
# Types of members that say something of the next one.
_HEADERS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,  # zipfile's word for an encrypted member
    NotImplementedError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
)


class BadArchive(ValueError):
    """An archive that is broken, or that holds something an honest archive does not."""


@dataclass(frozen=True)
class Limits:
    """What an archive may unfold to.

    members: files and folders.
    total_bytes: bytes of all files, and for a tar of its headers too.
    ratio: those bytes per byte of the archive.
    """

    members: int = 1_000_000
    total_bytes: int = 64 * 2**30
    ratio: int = 200


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive this module reads."""
    return path.name.lower().endswith(SUFFIXES)


def read_files(archive: str | Path, limits: Limits | None = None) -> Iterator[tuple[str, bytes]]:
    """Path and content of every file in an archive, in its order; nothing is written anywhere.

    Raises:
        BadArchive: as ``unpack``; files before the offending one have then been given.
    """
    for path, chunks in stream_files(archive, limits):
        yield path, b"".join(chunks)


def stream_files(
    archive: str | Path, limits: Limits | None = None
) -> Iterator[tuple[str, Iterator[bytes]]]:
    """As ``read_files``, each file's content in pieces of at most ``CHUNK`` bytes.

    A file's pieces are there until the next file is asked for; they need not all be taken.
    """
    archive = Path(archive)
    if not archive.is_file():
        raise FileNotFoundError(f"There is no archive {archive}; check the path.")
    walk = _zip_files if _begins(archive, b"PK") else _tar_files
    with _blame(archive):
        for path, file in walk(archive, _Meter(archive, limits or Limits())):
            yield path, _chunks(file, archive)


def unpack(archive: str | Path, folder: Path, limits: Limits | None = None) -> None:
    """Write an archive's files to an empty folder, a draft of :func:`occfer.files.whole_folder`,
    so that one that is refused halfway leaves nothing.

    Owners, modes, times and empty folders are not kept.

    Raises:
        FileNotFoundError: there is no such archive.
        BadArchive: it is broken, cut short or encrypted, or holds a path that is absolute, has
            a drive letter or leads outside, a link, a device, one path twice, a header of more than
            ``MAX_HEADER`` bytes, a compression without a limit, or more than ``limits`` allows.
    """
    for path, chunks in stream_files(archive, limits):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            file.writelines(chunks)


def safe_path(name: str) -> str:
    """A member's path, with ``/`` between its parts, if it stays inside the target.

    Backslashes separate too, for an archive must not mean another place on Windows.

    Raises:
        ValueError: it is empty, absolute, has a drive letter, a NUL or ``..``.
    """
    parts = PurePosixPath(name.replace("\\", "/")).parts
    unsafe = (
        not parts
        or parts[0].startswith("/")
        or ".." in parts
        or "\0" in name
        or any(re.match("[A-Za-z]:", part) for part in parts)
    )
    if unsafe:
        raise ValueError(f"it holds the path {name!r}, which may lead outside")
    return "/".join(parts)


@runtime_checkable
class _Readable(Protocol):
    """All that is asked of a member's content."""

    def read(self, size: int, /) -> bytes: ...


class _Meter:
    """Counts members and bytes as they come, and stops at the first one too many."""

    def __init__(self, archive: Path, limits: Limits) -> None:
        allowed_by_ratio = max(HARMLESS, limits.ratio * archive.stat().st_size)
        self.members_left = limits.members
        self.bytes_left = min(limits.total_bytes, allowed_by_ratio)
        self.files: set[str] = set()
        self.folders: set[str] = set()

    def admit_folder(self, name: str) -> None:
        self._count_member()
        if name.rstrip("/") != ".":
            safe_path(name)

    def admit_file(self, name: str) -> str:
        """The file's safe path, if no earlier member stands in its way."""
        self._count_member()
        path = safe_path(name)
        above = {str(parent) for parent in PurePosixPath(path).parents}
        if path in self.files or path in self.folders or above & self.files:
            raise ValueError(f"it holds {path!r} twice, or as a file and as a folder")
        self.files.add(path)
        self.folders |= above
        return path

    def spend(self, count: int) -> None:
        self.bytes_left -= count
        if self.bytes_left < 0:
            raise ValueError("it unfolds to too many bytes")

    def _count_member(self) -> None:
        self.members_left -= 1
        if self.members_left < 0:
            raise ValueError("it holds too many members")


class _Metered:
    """A file, read in pieces of stated size, every byte of it counted."""

    def __init__(self, file: _Readable, meter: _Meter) -> None:
        self.file, self.meter = file, meter

    def read(self, size: int) -> bytes:
        piece = self.file.read(size)
        self.meter.spend(len(piece))
        return piece


class _StrictTarInfo(tarfile.TarInfo):
    """Takes only zeros for a tar's end, as ``tarfile`` takes any damaged header for it, and no
    header that would fill the memory before its member is seen."""

    @classmethod
    def frombuf(cls, *arguments, **options) -> "_StrictTarInfo":
        header = super().frombuf(*arguments, **options)
        if header.type in _HEADERS and not 0 <= header.size <= MAX_HEADER:
            raise tarfile.ReadError(f"it holds a header of {header.size:,} bytes")
        if header.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError(f"it holds {header.name!r}, a sparse file")
        return header

    def _proc_gnusparse_10(self, member: tarfile.TarInfo, *_) -> None:
        """Where ``tarfile`` would read the list of a sparse file's holes, however long."""
        raise tarfile.ReadError(f"it holds {member.name!r}, a sparse file")

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> "_StrictTarInfo":
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"a header is damaged or missing ({error})") from error


def _chunks(file: _Readable, archive: Path) -> Iterator[bytes]:
    with _blame(archive):
        yield from iter(lambda: file.read(CHUNK), b"")


@contextmanager
def _blame(archive: Path) -> Iterator[None]:
    """Reading failed, so the archive is at fault; what its user does with a file is not here."""
    try:
        yield
    except BadArchive:
        raise
    except _BROKEN as error:
        raise BadArchive(
            f"{archive} is not a safe and complete archive: {error}; fetch it again from its "
            f"source, or raise the limits if you trust it."
        ) from error


def _begins(archive: Path, magic: bytes) -> bool:
    with archive.open("rb") as file:
        return file.read(len(magic)) == magic


def _tar_files(archive: Path, meter: _Meter) -> Iterator[tuple[str, _Readable]]:
    openers = [opener for magic, opener in _COMPRESSIONS.items() if _begins(archive, magic)]
    with (openers or [open])[0](archive, "rb") as file:
        # A stream behind the meter, because a tar's headers alone can unfold to gigabytes.
        stream = _Metered(file, meter)
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictTarInfo) as tar:
            for member in tar:
                if member.isdir():
                    meter.admit_folder(member.name)
                elif member.isreg() and not member.issparse():
                    yield meter.admit_file(member.name), tar.extractfile(member)
                else:
                    raise ValueError(f"it holds {member.name!r}, a link, device or sparse file")
        # Only at its end does a compressed file compare its checksum.
        while stream.read(CHUNK):
            pass


def _zip_files(archive: Path, meter: _Meter) -> Iterator[tuple[str, _Readable]]:
    with zipfile.ZipFile(archive) as members:
        for member in members.infolist():
            # What the archive says; ``filename`` has been cut at a NUL.
            name = member.orig_filename
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # zipfile unpacks the others without a limit, into memory.
                raise ValueError(f"it holds {name!r}, which is neither stored nor deflated")
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ValueError(f"it holds {name!r}, a link or device")
            if name.endswith("/"):
                meter.admit_folder(name)
                continue
            with members.open(member) as file:
                yield meter.admit_file(name), _Metered(file, meter)
