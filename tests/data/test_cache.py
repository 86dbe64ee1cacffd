"""The cache saves work, never changes what is loaded, and heals."""

import os
import shutil
from typing import ClassVar

import pytest

from occfer.data.cache import cached, fingerprint


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    (folder / "happy").mkdir(parents=True)
    (folder / "happy" / "a.jpg").touch()
    return folder


@pytest.fixture
def reader(make_faces):
    """A reader that counts how often it is called."""

    class Reader:
        calls = 0
        splits: ClassVar = {"train": make_faces(5), "test": make_faces(2, seed=1)}

        def __call__(self):
            self.calls += 1
            return self.splits

    return Reader()


def test_all_splits_are_decoded_once(source, reader, same):
    for split in ("train", "test", "train"):
        assert same(cached("x", [source], split, reader), reader.splits[split])
    assert reader.calls == 1


def test_a_changed_source_is_read_again(source, reader):
    cached("x", [source], "train", reader)
    (source / "happy" / "b.jpg").touch()
    cached("x", [source], "train", reader)
    assert reader.calls == 2


def test_a_source_that_changed_behind_a_link_is_read_again(source, reader, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (source / "sad").symlink_to(tmp_path / "elsewhere")
    cached("x", [source], "train", reader)
    (tmp_path / "elsewhere" / "b.jpg").touch()
    cached("x", [source], "train", reader)
    assert reader.calls == 2


def test_a_damaged_entry_is_built_again(source, reader, cache, same):
    cached("x", [source], "train", reader)
    images = next(cache.rglob("train/images.npy"))
    content = images.read_bytes()
    images.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert same(cached("x", [source], "train", reader), reader.splits["train"])
    assert reader.calls == 2
    assert images.read_bytes() == content


def test_a_missing_split_is_built_again_beside_the_others(source, reader, cache):
    cached("x", [source], "train", reader)
    shutil.rmtree(next(cache.rglob("test")))
    assert len(cached("x", [source], "test", reader)) == 2
    assert reader.calls == 2


def test_where_nothing_can_be_written_faces_come_from_memory(
    source, reader, tmp_path, monkeypatch, same
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("OCCFER_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="could not be cached"):
        faces = cached("x", [source], "train", reader)
    assert same(faces, reader.splits["train"])


def test_the_fingerprint_sees_size_time_path_and_files_that_come_and_go(tmp_path, source):
    table, other = tmp_path / "a.csv", tmp_path / "b.csv"
    table.write_text("1")
    other.write_text("1")
    os.utime(table, ns=(0, 0))
    os.utime(other, ns=(0, 0))
    seen = {fingerprint([table]), fingerprint([other]), fingerprint([table, other])}
    os.utime(table, ns=(0, 1))
    seen.add(fingerprint([table]))
    table.write_text("12")
    os.utime(table, ns=(0, 0))
    seen.add(fingerprint([table]))
    seen.add(fingerprint([source]))
    (source / "happy" / "a.jpg").rename(source / "happy" / "c.jpg")
    seen.add(fingerprint([source]))
    assert len(seen) == 7
    assert fingerprint([source]) == fingerprint([source])
