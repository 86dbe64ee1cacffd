"""Honest archives come out as they went in; hostile ones leave nothing behind."""

import gzip
import io
import stat
import struct
import tarfile
import tracemalloc
import zipfile
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from occfer.data.archives import (
    BadArchive,
    Limits,
    is_archive,
    read_files,
    safe_path,
    stream_files,
    unpack,
)
from occfer.files import whole_folder


def extract(archive, folder, limits=None):
    """As ``get_fer2013`` does it."""
    with whole_folder(folder) as unfinished:
        unpack(archive, unfinished, limits)
    return folder


FILES = {"a.txt": b"first", "folder/b.bin": bytes(range(256)) * 40, "folder/deep/empty": b""}
FEW = Limits(members=10, total_bytes=10**6, ratio=200)


def tar_of(path, *members, mode="w:gz", **options):
    """A tar of ``(name, content)`` pairs or ready ``TarInfo`` objects."""
    with tarfile.open(path, mode, **options) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member, io.BytesIO(bytes(member.size)))
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return path


def zip_of(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def unix_mode(name, mode):
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


@pytest.mark.parametrize("mode", ["w:", "w:gz", "w:bz2", "w:xz", "zip"])
def test_an_honest_archive_comes_out_as_it_went_in(tmp_path, mode):
    # The name says nothing: the kind is read from the content.
    path = tmp_path / "honest"
    zip_of(path, *FILES.items()) if mode == "zip" else tar_of(path, *FILES.items(), mode=mode)
    assert dict(read_files(path)) == FILES
    out = extract(path, tmp_path / "new" / "out")
    files = (file for file in out.rglob("*") if file.is_file())
    assert {str(file.relative_to(out)): file.read_bytes() for file in files} == FILES
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["out"]


def test_folders_as_tar_writes_them_are_harmless(tmp_path):
    folders = [special("./", tarfile.DIRTYPE), special("./folder/", tarfile.DIRTYPE)]
    path = tar_of(tmp_path / "a.tar", *folders, ("./folder/a.txt", b"x"), mode="w:")
    assert dict(read_files(path)) == {"folder/a.txt": b"x"}


def sparse_tar(path):
    """A file of 8 GB that occupies no byte of the archive, in GNU tar's old form."""
    info = tarfile.TarInfo("holes")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:398] = b"00000000000\0"
    header[398:410] = b"00000000000\0"
    header[483:495] = b"77777777777\0"
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    path.write_bytes(bytes(header) + bytes(1024))
    return path


def long_header_tar(path):
    """One header, a member's name, that unfolds to 10 MB."""
    header = special("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    header.size = 10_000_000
    with gzip.open(path, "wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(10):
            file.write(b"a" * 1_000_000)
    return path


def holes_without_end_tar(path, form):
    """The list of a sparse file's holes, in the two forms that a tar may hold, of 10 MB."""
    if form == "old":
        info = special("holes", tarfile.GNUTYPE_SPARSE)
        header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        header[482] = 1
        header[148:156] = b" " * 8
        header[148:156] = f"{sum(header):06o}\0 ".encode()
        more = (b"%011o\0" % 1 * 42 + b"\1" + bytes(7)) * 20_000
    else:
        info = tarfile.TarInfo("holes")
        info.size = 10_000_000
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
        header = info.tobuf(tarfile.PAX_FORMAT)
        more = b"9999999\n" + b"1\n" * 5_000_000
    with gzip.open(path, "wb") as file:
        file.write(bytes(header))
        file.write(more)
    return path


def lying_zip(path):
    """Says that its member unfolds to 10 bytes; it holds a million."""
    zip_of(path, ("a.txt", bytes(10**6)))
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<I", 10**6), struct.pack("<I", 10)))
    return path


def packed_bomb(path, method):
    """Thirty megabytes in a few kilobytes, in a method that zipfile unpacks without a limit."""
    with zipfile.ZipFile(path, "w", method) as archive, archive.open("a", "w") as file:
        for _ in range(30):
            file.write(bytes(10**6))
    return path


def encrypted_zip(path):
    content = bytearray(zip_of(path, ("a.txt", b"secret")).read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    return path


def flipped(path):
    """An honest zip with one bit of its content changed."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a.txt", b"innocent content")
    path.write_bytes(path.read_bytes().replace(b"innocent", b"innocenu"))
    return path


def flipped_header(path):
    """The second of three headers is damaged, where tarfile alone would see the end."""
    content = bytearray(tar_of(path, ("a", b"1"), ("b", b"2"), ("c", b"3"), mode="w:").read_bytes())
    content[1024] ^= 1
    path.write_bytes(content)
    return path


def cut_to(share, make):
    def cut(path):
        content = make(path).read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        return path

    return cut


def nul_name(path):
    content = zip_of(path, ("innocent.txt", b"x")).read_bytes()
    path.write_bytes(content.replace(b"innocent.txt", b"a.txt\0ending"))
    return path


HOSTILE = {
    "tar: parent": lambda p: tar_of(p, ("../evil", b"x")),
    "tar: parent inside": lambda p: tar_of(p, ("a/../../evil", b"x")),
    "tar: absolute": lambda p: tar_of(p, ("/tmp/evil", b"x")),
    "tar: backslashes": lambda p: tar_of(p, ("..\\evil", b"x")),
    "tar: drive": lambda p: tar_of(p, ("C:\\evil", b"x")),
    "tar: empty name": lambda p: tar_of(p, ("", b"x")),
    "tar: symlink": lambda p: tar_of(p, special("a", tarfile.SYMTYPE, "/etc/passwd")),
    "tar: symlink, then through it": lambda p: tar_of(
        p, special("a", tarfile.SYMTYPE, ".."), ("a/evil", b"x")
    ),
    "tar: hard link": lambda p: tar_of(p, special("a", tarfile.LNKTYPE, "/etc/passwd")),
    "tar: character device": lambda p: tar_of(p, special("a", tarfile.CHRTYPE)),
    "tar: block device": lambda p: tar_of(p, special("a", tarfile.BLKTYPE)),
    "tar: pipe": lambda p: tar_of(p, special("a", tarfile.FIFOTYPE)),
    "tar: folder outside": lambda p: tar_of(p, special("../evil", tarfile.DIRTYPE)),
    "tar: same path twice": lambda p: tar_of(p, ("a", b"x"), ("./a", b"y")),
    "tar: file, then folder": lambda p: tar_of(p, ("a", b"x"), ("a/b", b"y")),
    "tar: folder, then file": lambda p: tar_of(p, ("a/b", b"x"), ("a", b"y")),
    "tar: too many members": lambda p: tar_of(p, *((f"{i}", b"") for i in range(11))),
    "tar: too many bytes": lambda p: tar_of(p, ("a", bytes(2 * 10**6)), mode="w:"),
    "tar: bomb": lambda p: tar_of(p, ("a", bytes(10**7)), mode="w:xz"),
    "tar: bomb in a header": long_header_tar,
    "tar: holes": sparse_tar,
    "tar: holes without end, GNU": lambda p: holes_without_end_tar(p, "old"),
    "tar: holes without end, PAX": lambda p: holes_without_end_tar(p, "new"),
    "tar: cut": cut_to(0.2, lambda p: tar_of(p, ("a", b"x" * 3000), mode="w:")),
    "tar: cut between members": cut_to(
        0.1, lambda p: tar_of(p, ("a", b"x"), ("b", b"y"), mode="w:")
    ),
    "tar: cut in its compression": cut_to(0.9, lambda p: tar_of(p, *FILES.items())),
    "tar: checksum cut off": cut_to(0.98, lambda p: tar_of(p, ("a", b"x"))),
    "tar: damaged header": flipped_header,
    "zip: parent": lambda p: zip_of(p, ("../evil", b"x")),
    "zip: absolute": lambda p: zip_of(p, ("/tmp/evil", b"x")),
    "zip: backslashes": lambda p: zip_of(p, ("a\\..\\..\\evil", b"x")),
    "zip: drive": lambda p: zip_of(p, ("c:/evil", b"x")),
    "zip: NUL in the name": nul_name,
    "zip: symlink": lambda p: zip_of(p, (unix_mode("a", stat.S_IFLNK | 0o777), b"/etc/passwd")),
    "zip: device": lambda p: zip_of(p, (unix_mode("a", stat.S_IFCHR | 0o600), b"")),
    "zip: folder outside": lambda p: zip_of(p, ("../evil/", b"")),
    "zip: file, then folder": lambda p: zip_of(p, ("a", b"x"), ("a/b", b"y")),
    "zip: too many members": lambda p: zip_of(p, *((f"{i}", b"") for i in range(11))),
    "zip: bomb": lambda p: zip_of(p, ("a", bytes(10**7))),
    "zip: bomb in bzip2": lambda p: packed_bomb(p, zipfile.ZIP_BZIP2),
    "zip: bomb in LZMA": lambda p: packed_bomb(p, zipfile.ZIP_LZMA),
    "zip: many small bombs": lambda p: zip_of(p, *((f"{i}", bytes(3 * 10**5)) for i in range(5))),
    "zip: lies about its size": lying_zip,
    "zip: encrypted": encrypted_zip,
    "zip: changed content": flipped,
    "zip: cut": cut_to(0.9, lambda p: zip_of(p, *FILES.items())),
    "empty": lambda p: (p.write_bytes(b""), p)[1],
    "text": lambda p: (p.write_text("no archive at all " * 100), p)[1],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(tmp_path, case):
    outer = tmp_path / "outer"
    outer.mkdir()
    path = HOSTILE[case](outer / "archive")
    with pytest.raises(BadArchive, match=str(path)):
        extract(path, outer / "out", FEW)
    assert [entry.name for entry in outer.iterdir()] == ["archive"]
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("case", HOSTILE)
def test_it_is_refused_in_memory_too(tmp_path, case):
    with pytest.raises(BadArchive):
        list(read_files(HOSTILE[case](tmp_path / "archive"), FEW))


def test_a_few_bytes_may_not_unfold_to_many_even_within_the_total(tmp_path):
    bomb = zip_of(tmp_path / "a.zip", ("a", bytes(10**7)))
    assert bomb.stat().st_size < 10**5
    with pytest.raises(BadArchive, match="too many bytes"):
        list(read_files(bomb, Limits(total_bytes=10**9, ratio=200)))
    assert len(list(read_files(bomb, Limits(total_bytes=10**9, ratio=2000)))) == 1


@pytest.mark.parametrize("case", [case for case in HOSTILE if "bomb" in case or "end" in case])
def test_a_refusal_costs_little_memory(tmp_path, case):
    """However much may unfold: what is allowed is read in pieces, which are dropped here."""
    path = HOSTILE[case](tmp_path / "archive")
    tracemalloc.start()
    try:
        with suppress(BadArchive):
            for _, chunks in stream_files(path, Limits(ratio=10**6)):
                for _ in chunks:
                    pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Of which LZMA, which looks back by eight megabytes, needs the most.
    assert peak < 16 * 2**20


def test_a_header_too_long_is_named(tmp_path):
    """A megabyte of archive may unfold to two hundred of files, but to none of names."""
    path = long_header_tar(tmp_path / "a.tar")
    with path.open("ab") as file:
        file.write(bytes(2**20))
    with pytest.raises(BadArchive, match="a header of 10,000,000 bytes"):
        list(read_files(path))


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_honest_long_name_is_read(tmp_path, form):
    name = "/".join(["folder" * 8] * 20) + "/a.txt"
    path = tar_of(tmp_path / "a.tar", (name, b"x"), mode="w:", format=form)
    assert dict(read_files(path)) == {name: b"x"}


def test_what_the_limits_allow_comes_through(tmp_path):
    path = tar_of(tmp_path / "a.tar.gz", *((f"{i}", bytes(50_000)) for i in range(10)))
    assert sum(len(content) for _, content in read_files(path, FEW)) == 500_000


def test_an_existing_folder_is_not_touched(tmp_path):
    path = tar_of(tmp_path / "a.tar", ("a", b"x"))
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="exists already"):
        extract(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_missing_archive_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no archive"):
        extract(tmp_path / "a.zip", tmp_path / "out")


def test_a_full_disk_is_not_blamed_on_the_archive(tmp_path, monkeypatch):
    class FullDisk(io.BytesIO):
        def writelines(self, lines):
            raise OSError("No space left on device")

    path = tar_of(tmp_path / "a.tar", ("a", b"x"))
    archive_open = type(path).open
    monkeypatch.setattr(
        type(path),
        "open",
        lambda self, mode="r", *a: FullDisk() if mode == "xb" else archive_open(self, mode, *a),
    )
    with pytest.raises(OSError, match="No space") as raised:
        extract(path, tmp_path / "out")
    assert not isinstance(raised.value, BadArchive)


@given(st.text(st.sampled_from("ab./\\:C\0"), max_size=12))
def test_a_safe_path_stays_inside_wherever_it_is_joined(name):
    try:
        path = safe_path(name)
    except ValueError:
        return
    parts = path.split("/")
    assert parts
    assert not {"", ".", ".."} & set(parts)
    assert not any(part[:1].isalpha() and part[1:2] == ":" for part in parts)
    assert "\\" not in path


def test_archives_are_known_by_name_where_a_data_set_is_looked_for(tmp_path):
    assert is_archive(tmp_path / "FER2013.TAR.XZ")
    assert not is_archive(tmp_path / "fer2013.csv")
