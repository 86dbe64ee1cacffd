"""Saved sets: the same after a round trip, whole or absent, never silently damaged."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from occfer.data import FaceSet, storage
from occfer.data.storage import MANIFEST, DamagedFaceSet, open_faces, save_faces
from tools.kills import small_disk


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(0, 5),
    channels=st.sampled_from([1, 3]),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    landmarks=st.booleans(),
)
def test_what_is_saved_is_opened(
    tmp_path_factory, make_faces, same, count, channels, size, landmarks
):
    faces = make_faces(count, channels, size, landmarks)
    opened = FaceSet.open(faces.save(tmp_path_factory.mktemp("sets") / "faces"))
    assert same(opened, faces)
    assert opened.sha256 == faces.sha256


def test_odd_ids_and_names_survive(tmp_path, make_faces, same):
    faces = FaceSet(
        images=torch.zeros(3, 1, 2, 2, dtype=torch.uint8),
        labels=torch.zeros(3, dtype=torch.int64),
        ids=["脸/笑.jpg", 'a"\n\\', "\udcff"],
        name="ü",
        extras={"../../out": torch.zeros(3)},
    )
    assert same(FaceSet.open(faces.save(tmp_path / "faces")), faces)
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["faces"]


def test_an_opened_set_is_mapped_and_writing_to_it_leaves_the_file_alone(tmp_path, make_faces):
    folder = make_faces(6).save(tmp_path / "faces")
    before = (folder / "images.npy").read_bytes()
    opened = FaceSet.open(folder)
    assert isinstance(np.load(folder / "images.npy", mmap_mode="c"), np.memmap)
    opened.images[0] = 7
    assert (folder / "images.npy").read_bytes() == before


def test_opening_without_verifying_reads_no_pixels(tmp_path, make_faces):
    folder = make_faces(6).save(tmp_path / "faces")
    flip_last_byte(folder / "images.npy")
    assert len(FaceSet.open(folder, verify=False)) == 6


def test_nothing_is_overwritten(tmp_path, make_faces):
    folder = make_faces(6).save(tmp_path / "faces")
    with pytest.raises(FileExistsError, match="exists already"):
        make_faces(2).save(folder)
    assert len(FaceSet.open(folder)) == 6


def test_an_interrupted_save_leaves_nothing(tmp_path, make_faces, monkeypatch):
    def full_disk(path, tensor):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(storage, "_write_array", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_faces(make_faces(6), tmp_path / "sets" / "faces")
    assert list((tmp_path / "sets").iterdir()) == []


def on_a_full_disk(script: str, size: int) -> subprocess.CompletedProcess:
    """What a Python of its own says in a folder with ``size`` bytes of room, and what it leaves."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("mounts a small file system, which needs root on Linux")
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk(size))
        except subprocess.CalledProcessError as refused:
            pytest.skip(f"mounts a small file system, which is not allowed here: {refused}")
        ended = subprocess.run(
            [sys.executable, "-c", script], cwd=disk, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
        ended.left = sorted(path.name for path in disk.iterdir())
    return ended


def test_a_disk_that_is_really_full_is_an_error_and_no_death() -> None:
    """To write into a mapped file kills the process there."""
    script = (
        "import torch; from occfer import FaceSet;"
        "images = torch.zeros(900, 1, 48, 48, dtype=torch.uint8);"
        "FaceSet(images, torch.zeros(900).long(), list(map(str, range(900)))).save('faces')"
    )
    ended = on_a_full_disk(script, 2**20)
    assert "No space left on device" in ended.stderr
    assert (ended.returncode, ended.left) == (1, [])


def test_a_save_that_another_process_overtook_says_so(tmp_path, make_faces, monkeypatch):
    write = storage._write_array

    def write_after_the_other(path, tensor):
        if not (tmp_path / "faces").exists():
            (tmp_path / "faces").mkdir()
            (tmp_path / "faces" / MANIFEST).touch()
        write(path, tensor)

    monkeypatch.setattr(storage, "_write_array", write_after_the_other)
    with pytest.raises(FileExistsError):
        save_faces(make_faces(6), tmp_path / "faces")


def test_an_extra_that_numpy_does_not_know_is_named(tmp_path, make_faces):
    extras = {"feature": torch.zeros(6, 2, dtype=torch.bfloat16)}
    with pytest.raises(ValueError, match=r"extras\['feature'\] must be .* got torch.bfloat16"):
        replace(make_faces(6), extras=extras).save(tmp_path / "sets" / "faces")
    assert not (tmp_path / "sets").exists()


def test_a_folder_without_a_set_is_not_called_damaged(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no saved FaceSet"):
        open_faces(tmp_path)


def flip_last_byte(path):
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def empty(path):
    path.write_bytes(b"")


def state(path, **words):
    path.write_text(json.dumps(json.loads(path.read_text()) | words))


def npy_header(words):
    """An ``.npy`` file that says these words of itself; Python's parser does not get to an end."""
    return b"\x93NUMPY\x01\x00" + len(words).to_bytes(2, "little") + words


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("images.npy", flip_last_byte),
        ("labels.npy", flip_last_byte),
        ("landmarks.npy", flip_last_byte),
        ("extra-1.npy", flip_last_byte),
        ("images.npy", cut),
        ("images.npy", empty),
        ("labels.npy", lambda path: path.unlink()),
        (MANIFEST, cut),
        (MANIFEST, empty),
        (MANIFEST, lambda path: path.write_text('{"format": 99}')),
        (MANIFEST, lambda path: path.write_text("[]")),
        (MANIFEST, lambda path: path.write_bytes(b"\xff\xfe")),
        (MANIFEST, lambda path: path.write_text("[" * 200_000)),
        (MANIFEST, lambda path: state(path, split=5)),
        (MANIFEST, lambda path: state(path, name={"a": 1})),
        ("labels.npy", lambda path: path.write_bytes(npy_header(b"-" * 9000))),
    ],
)
def test_damage_is_recognised_and_the_folder_named(tmp_path, make_faces, file, damage):
    folder = make_faces(6).save(tmp_path / "faces")
    damage(folder / file)
    with pytest.raises(DamagedFaceSet, match=str(folder)):
        open_faces(folder)


@pytest.mark.parametrize("key", ["ids", "hashes", "extras", "name", "landmarks"])
def test_a_manifest_that_lacks_an_entry_is_damaged(tmp_path, make_faces, key):
    folder = make_faces(6).save(tmp_path / "faces")
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest[key]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(DamagedFaceSet, match=key):
        open_faces(folder)


def test_a_pickle_in_place_of_an_array_is_never_loaded(tmp_path, make_faces):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("exploded").touch, ())

    folder = make_faces(6).save(tmp_path / "faces")
    np.save(folder / "labels.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(DamagedFaceSet):
        open_faces(folder)
    assert not (tmp_path / "exploded").exists()
