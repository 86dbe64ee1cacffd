"""Files and folders that are whole or not there, and ways through folders."""

import os
from collections.abc import Callable
from functools import partial

import pytest
import torch

from occfer.files import save_tensors, walk, whole_folder, write_atomically


@pytest.fixture
def windows(monkeypatch) -> list[int]:
    """Flushing as there: only what is open for writing. Gives what was flushed."""
    fcntl, flushed, flush = pytest.importorskip("fcntl"), [], os.fsync

    def fsync(file: int) -> None:
        if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(9, "Bad file descriptor")
        flushed.append(file)
        flush(file)

    monkeypatch.setattr(os, "fsync", fsync)
    return flushed


def test_what_is_written_is_flushed_on_windows_too(windows, tmp_path, make_faces) -> None:
    write_atomically(tmp_path / "words", b"content")
    save_tensors({"x": torch.ones(3)}, tmp_path / "x.safetensors")
    assert len(windows) == 2
    make_faces(2).save(tmp_path / "faces")
    assert (tmp_path / "words").read_bytes() == b"content"
    assert len(windows) > 2


def test_two_writers_of_one_file_have_a_draft_each(tmp_path, monkeypatch) -> None:
    """The second begins and ends while the first is about to give its draft its name."""
    path, replace, drafts = tmp_path / "words", os.replace, []

    def overtaken(draft, target) -> None:
        drafts.append(draft)
        if len(drafts) == 1:
            write_atomically(path, b"second")
        replace(draft, target)

    monkeypatch.setattr(os, "replace", overtaken)
    write_atomically(path, b"first")
    assert path.read_bytes() == b"first"
    assert len(set(drafts)) == 2
    assert list(tmp_path.iterdir()) == [path]


def test_of_two_that_fill_one_folder_the_second_is_told(tmp_path) -> None:
    path = tmp_path / "deep" / "out"

    def fill(word: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        with whole_folder(path) as draft:
            (draft / "a").write_text(word)
            meanwhile()

    with pytest.raises(FileExistsError, match="out exists already; remove it or choose another"):
        fill("slow", partial(fill, "fast"))
    assert (path / "a").read_text() == "fast"
    assert list(path.parent.iterdir()) == [path]


def test_a_walk_goes_behind_links_and_comes_to_its_end(tmp_path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside / "b", inside / "out" / "deep", outside):
        folder.mkdir(parents=True)
        (folder / "file").touch()
    (inside / "a").symlink_to(outside)
    (outside / "back").symlink_to(inside)
    (inside / "c").symlink_to(inside / "b")
    assert list(walk(inside, inside / "out")) == [
        (inside, []),
        (inside / "a", ["file"]),
        (inside / "b", ["file"]),
    ]
