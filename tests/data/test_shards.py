"""Shards are read as files are; what stands in them is a name and bytes, and nothing else."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from occfer.data import extract as module
from occfer.data import pictures
from occfer.data.extract import Choice, extract
from occfer.data.shards import find_sources

SMALL = Choice(min_face=25)


@pytest.fixture(scope="module", autouse=True)
def small_parts():
    """Two pictures a part, so that a shard has several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PART", 2)
        yield


@pytest.fixture(scope="module")
def photographs() -> list[bytes]:
    """Five JPEGs of a person, each of another size."""
    photograph, made = Image.fromarray(astronaut()), []
    for number in range(5):
        buffer = io.BytesIO()
        photograph.resize((180 + 7 * number, 190)).save(buffer, "JPEG")
        made.append(buffer.getvalue())
    return made


def write_shard(path: Path, *members: tuple[str, bytes] | tarfile.TarInfo) -> Path:
    """A tar, as img2dataset writes it, of names and contents."""
    with tarfile.open(path, "w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return path


def downloaded(folder: Path, number: int, contents: list[bytes]) -> None:
    """Everything that img2dataset leaves of one shard."""
    shard = f"{number:05d}"
    keys = [f"{shard}{place:04d}" for place in range(len(contents))]
    members = [
        member
        for key, content in zip(keys, contents, strict=True)
        for member in (
            (f"{key}.jpg", content),
            (f"{key}.txt", b"a caption"),
            (f"{key}.json", json.dumps({"key": key, "status": "success"}).encode()),
        )
    ]
    write_shard(folder / f"{shard}.tar", *members)
    (folder / f"{shard}.parquet").write_bytes(b"PAR1 never opened PAR1")
    stats = {"count": len(contents) + 3, "successes": len(contents), "failed_to_download": 3}
    (folder / f"{shard}_stats.json").write_text(json.dumps(stats))


def rejected(out: Path) -> dict[str, str]:
    lines = (out / "rejected.tsv").read_text().splitlines()
    return dict(line.split("\t") for line in lines)


def test_a_shard_gives_the_faces_that_its_files_give(photographs, tmp_path) -> None:
    contents = [*photographs, b"\xff\xd8\xff\xe0"]
    (tmp_path / "files").mkdir()
    (tmp_path / "shards").mkdir()
    for number, content in enumerate(contents):
        (tmp_path / "files" / f"{number}.jpg").write_bytes(content)
    downloaded(tmp_path / "shards", 0, contents[:3])
    downloaded(tmp_path / "shards", 1, contents[3:])
    files, shards = (
        extract(tmp_path / name, tmp_path / f"of {name}", SMALL, progress=False)
        for name in ("files", "shards")
    )
    assert len(files) == 5
    assert (files.images == shards.images).all()
    assert (files.landmarks == shards.landmarks).all()
    for extra in ("box", "score"):
        assert (files.extras[extra] == shards.extras[extra]).all()
    assert shards.ids[0] == "00000.tar/000000000.jpg#0"
    assert shards.ids[4] == "00001.tar/000010001.jpg#0"
    assert list(rejected(tmp_path / "of shards")) == ["00001.tar/000010002.jpg"]


def test_files_and_shards_are_one_set_in_the_order_of_their_names(photographs, tmp_path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in (10, 9):
        downloaded(folder, number, photographs[:1])
    (folder / "b.jpg").write_bytes(photographs[1])
    faces = extract(folder, tmp_path / "out", SMALL, progress=False)
    assert [name.partition("/")[0] for name in faces.ids] == ["b.jpg#0", "00009.tar", "00010.tar"]
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    assert (plan["pictures"], plan["shards"]) == (1, 2)


def test_a_shard_goes_on_after_its_last_finished_part(photographs, tmp_path, monkeypatch) -> None:
    (tmp_path / "in").mkdir()
    downloaded(tmp_path / "in", 0, photographs)
    whole = extract(tmp_path / "in", tmp_path / "whole", SMALL, progress=False)
    looked_at, look = [], module.Extractor.__call__

    def counted(self, batch):
        looked_at.append([name for name, _ in batch])
        if len(looked_at) == 2:
            raise KeyboardInterrupt
        return look(self, batch)

    monkeypatch.setattr(module.Extractor, "__call__", counted)
    with pytest.raises(KeyboardInterrupt):
        extract(tmp_path / "in", tmp_path / "out", SMALL, progress=False)
    faces = extract(tmp_path / "in", tmp_path / "out", SMALL, progress=False)
    assert faces.sha256 == whole.sha256
    names = [f"00000.tar/00000000{place}.jpg" for place in range(5)]
    assert looked_at == [names[:2], names[2:4], names[2:4], names[4:]]


def link(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return info


@pytest.mark.parametrize(
    ("member", "why"),
    [
        (("../../evil.jpg", b"x"), "may lead outside"),
        (("/etc/evil.jpg", b"x"), "may lead outside"),
        (link("evil.jpg"), "a link, device or sparse file"),
        (("000000000.jpg", b"x"), "twice"),
    ],
    ids=["upwards", "absolute", "link", "twice"],
)
def test_a_hostile_shard_is_read_as_far_as_it_is_sound(photographs, tmp_path, member, why) -> None:
    """Nothing is written outside, and the pictures before it and other shards are kept."""
    (tmp_path / "in").mkdir()
    first, last = ("000000000.jpg", photographs[0]), ("000000001.jpg", photographs[1])
    write_shard(tmp_path / "in" / "00000.tar", first, member, last)
    write_shard(tmp_path / "in" / "00001.tar", last)
    faces = extract(tmp_path / "in", tmp_path / "out", SMALL, progress=False)
    assert faces.ids == ("00000.tar/000000000.jpg#0", "00001.tar/000000001.jpg#0")
    assert why in rejected(tmp_path / "out")["00000.tar"]
    assert not list(tmp_path.rglob("evil*"))


def test_a_shard_cut_short_keeps_what_was_whole_and_says_so(photographs, tmp_path) -> None:
    (tmp_path / "in").mkdir()
    downloaded(tmp_path / "in", 0, photographs)
    shard = tmp_path / "in" / "00000.tar"
    with tarfile.open(shard) as tar:
        third = tar.getmember("000000002.jpg")
    shard.write_bytes(shard.read_bytes()[: third.offset_data + 100])
    faces = extract(tmp_path / "in", tmp_path / "out", SMALL, progress=False)
    assert [name[-5] for name in (each.partition("#")[0] for each in faces.ids)] == ["0", "1"]
    assert "not a safe and complete archive" in rejected(tmp_path / "out")["00000.tar"]


def test_pictures_that_a_shard_should_have_are_missed(photographs, tmp_path) -> None:
    (tmp_path / "in").mkdir()
    downloaded(tmp_path / "in", 0, photographs)
    write_shard(tmp_path / "in" / "00000.tar", ("0.jpg", photographs[0]))
    extract(tmp_path / "in", tmp_path / "out", SMALL, progress=False)
    assert rejected(tmp_path / "out") == {"00000.tar": "1 pictures, expected 5"}


@pytest.mark.parametrize(
    "stats", ["", "[]", '{"successes": "5"}', '{"successes": -1}', "[" * 10**5]
)
def test_counts_that_say_nothing_are_not_believed(photographs, tmp_path, stats) -> None:
    downloaded(tmp_path, 0, photographs)
    (tmp_path / "00000_stats.json").write_text(stats)
    [shard] = find_sources(tmp_path, 64)
    assert shard.count is None


def test_of_a_picture_too_large_only_so_much_is_read(tmp_path, monkeypatch, encode) -> None:
    """Ten megabytes where one is allowed: refused by its size, the next picture is read."""
    monkeypatch.setattr(pictures, "MAX_BYTES", 2**20)
    monkeypatch.setattr("occfer.data.shards._PIECES", 2)
    sound = encode(np.zeros((40, 30, 3), np.uint8))
    write_shard(tmp_path / "0.tar", ("0.png", sound + bytes(10 * 2**20)), ("1.png", sound))
    [shard] = find_sources(tmp_path, 64)
    (_, large), (_, small) = shard.pictures()
    with pytest.raises(pictures.BadPicture, match=r"at most 1,048,576 bytes .* got 2,097,152"):
        large()
    assert small().shape == (40, 30, 3)


def test_a_shard_that_was_written_again_is_another_one(photographs, tmp_path) -> None:
    (tmp_path / "in").mkdir()
    downloaded(tmp_path / "in", 0, photographs[:2])
    extract(tmp_path / "in", tmp_path / "out", SMALL, progress=False)
    downloaded(tmp_path / "in", 0, photographs[:4])
    with pytest.raises(ValueError, match="holds an extraction of other pictures"):
        extract(tmp_path / "in", tmp_path / "out", SMALL, progress=False)


def test_hidden_copies_are_no_pictures(tmp_path) -> None:
    for name in ("a.jpg", ".thumbs/a.jpg", "__MACOSX/._a.jpg", "b/c.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    [source] = find_sources(tmp_path, 64)
    assert source.names == ("a.jpg", "b/c.gif")
