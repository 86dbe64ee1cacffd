"""FER2013 gets its place whole and counted, or not at all; who may not be fetched is said."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from occfer.cli import main
from occfer.data import fer2013, load_faces, obtain
from occfer.data.archives import BadArchive
from occfer.emotions import EMOTIONS
from tests.data.kaggle import serve

FEW = {"train": 3, "val": 2, "test": 2}
FOLDERS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


@pytest.fixture
def small(monkeypatch) -> None:
    """A FER2013 of three, two and two faces per expression."""
    counts = {split: dict.fromkeys(EMOTIONS, few) for split, few in FEW.items()}
    monkeypatch.setattr(fer2013, "COUNTS", counts)


@pytest.fixture
def pictures(small, tmp_path, encode) -> Path:
    """As Kaggle's folders lie, with what is none of FER2013's beside them."""
    folder, draw = tmp_path / "kaggle", np.random.default_rng(0)
    for place in FOLDERS:
        for split, few in FEW.items():
            for number in range(few):
                half = "train" if split == "train" else "test"
                path = folder / half / place / f"{fer2013.SPLITS[split]}_{number}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode(draw.integers(0, 256, (48, 48), np.uint8), "JPEG"))
    (folder / "run_me.sh").write_text("echo no")
    os.symlink("/etc/passwd", folder / "test" / "sad" / "PrivateTest_99.jpg")
    return folder


def pack(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        for path in folder.rglob("*.jpg"):
            if not path.is_symlink():
                file.write(path, path.relative_to(folder))
    return archive


def left(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir()) if root.exists() else []


def test_a_download_becomes_the_folder_that_is_read(pictures, tmp_path) -> None:
    root = tmp_path / "data"
    folder = obtain.get_fer2013(root, download=lambda: pictures)
    assert folder == root / "fer2013"
    assert left(root) == ["fer2013"]
    assert not (folder / "run_me.sh").exists()
    for split, few in FEW.items():
        faces = load_faces("fer2013", split, root)
        assert len(faces) == 7 * few
        assert faces.counts() == dict.fromkeys(EMOTIONS, few)
    again = obtain.get_fer2013(root, download=lambda: pytest.fail("it is there already"))
    assert again == folder


def test_an_archive_that_is_there_needs_nobody(pictures, tmp_path, capsys) -> None:
    archive = pack(pictures, tmp_path / "archive.zip")
    main(["get", "fer2013", "--root", str(tmp_path / "data"), "--archive", str(archive)])
    assert capsys.readouterr().out == (
        f"train\t21 faces\nval\t14 faces\ntest\t14 faces\ncomplete: {tmp_path}/data/fer2013\n"
    )
    assert len(load_faces("fer2013", "test", tmp_path / "data")) == 14


def test_kagglehub_s_own_cache_is_used(pictures, tmp_path, monkeypatch) -> None:
    """Where kagglehub has the version that is asked for, it asks nobody."""
    cache = tmp_path / "cache" / "datasets" / "msambare" / "fer2013" / "versions" / "1"
    cache.parent.mkdir(parents=True)
    pictures.rename(cache)
    (cache.parents[1] / "1.complete").touch()
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(obtain, "KAGGLE", "msambare/fer2013/versions/1")
    folder = obtain.get_fer2013(tmp_path / "data")
    assert {split: len(load_faces("fer2013", split, folder)) for split in FEW} == {
        split: 7 * few for split, few in FEW.items()
    }


@pytest.fixture
def ask(pictures, tmp_path, monkeypatch):
    """``ask(kaggle)``: ``occfer get fer2013`` by the real kagglehub, from a Kaggle of our own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "hub"))
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)

    def run(kaggle) -> Path:
        for name, value in kaggle.environment.items():
            monkeypatch.setenv(name, value)
        main(["get", "fer2013", "--root", str(tmp_path / "data")])
        return tmp_path / "data" / "fer2013"

    return run


@pytest.fixture
def archive(pictures, tmp_path) -> bytes:
    return pack(pictures, tmp_path / "archive.zip").read_bytes()


def test_kagglehub_downloads_what_is_read(pictures, archive, ask) -> None:
    with serve(archive) as kaggle:
        folder = ask(kaggle)
        asked = ["GetDataset msambare/fer2013", "DownloadDataset msambare/fer2013", "store from 0"]
        assert kaggle.asked == asked
        assert ask(kaggle) == folder  # it is there: nobody is asked again
        assert kaggle.asked == asked
    names = {path.relative_to(folder) for path in folder.rglob("*.jpg")}
    assert len(names) == 7 * sum(FEW.values())
    assert all((folder / name).read_bytes() == (pictures / name).read_bytes() for name in names)


def test_a_download_that_breaks_off_goes_on_from_there(pictures, ask, tmp_path) -> None:
    """kagglehub writes by the MiB; what has been written is not asked for again."""
    mebibyte = 2**20
    large = pack(pictures, tmp_path / "large.zip")
    with zipfile.ZipFile(large, "a") as file:
        file.writestr("notes.txt", bytes(2 * mebibyte))
    with serve(large.read_bytes(), cut=mebibyte + 5000) as kaggle:
        with pytest.raises(SystemExit, match="Kaggle did not give msambare/fer2013"):
            ask(kaggle)
        assert left(tmp_path / "data") == []
        folder = ask(kaggle)
        assert kaggle.asked[-1] == f"store from {mebibyte}"
    assert {split: len(load_faces("fer2013", split, folder)) for split in FEW} == {
        split: 7 * few for split, few in FEW.items()
    }


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"refuse": 403}, "403"),
        ({"refuse": 404}, "404"),
        ({"refuse": 429}, "429"),
        ({"refuse": 503}, "503"),
        ({"checksum": b"another content."}, "checksum"),
        ({"content": b"<html>" * 500}, "Unsupported archive type"),
    ],
)
def test_what_kaggle_does_not_give_is_said_in_one_sentence(
    broken, said, archive, ask, tmp_path
) -> None:
    with (
        serve(**{"content": archive, **broken}) as kaggle,
        pytest.raises(SystemExit, match=rf"Kaggle did not give .*{said}.*--archive") as told,
    ):
        ask(kaggle)
    assert "\n" not in str(told.value)
    assert left(tmp_path / "data") == []


def test_what_is_incomplete_or_unsafe_leaves_nothing(pictures, tmp_path) -> None:
    root = tmp_path / "data"
    next(pictures.glob("train/happy/*")).unlink()
    lacks = "must hold 21 faces, {0} holds 20: happiness 2 of 3"
    with pytest.raises(
        ValueError, match=f"{lacks.format(pictures)}; remove {pictures}, and the same call fetches"
    ):
        obtain.get_fer2013(root, download=lambda: pictures)
    assert left(root) == []
    archive = pack(pictures, tmp_path / "part.zip")
    with pytest.raises(ValueError, match=f"{lacks.format(archive)}; download it again"):
        obtain.get_fer2013(root, archive=archive)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("train/happy/anna.jpg", b"")
    with pytest.raises(ValueError, match=rf"^{tmp_path}/other\.zip holds no picture named as in"):
        obtain.get_fer2013(root, archive=tmp_path / "other.zip")
    assert left(root) == []
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(bad, "w") as file:
        file.writestr("../../train/happy/Training_1.jpg", b"")
    with pytest.raises(BadArchive, match="may lead outside"):
        obtain.get_fer2013(root, archive=bad)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no pictures of FER2013"):
        obtain.get_fer2013(root, download=lambda: tmp_path / "empty")
    assert left(root) == []


def test_a_folder_that_is_there_is_counted_and_left_alone(pictures, tmp_path) -> None:
    folder = obtain.get_fer2013(tmp_path / "data", download=lambda: pictures)
    lost = next(folder.glob("test/fear/PublicTest_*"))
    lost.unlink()
    with pytest.raises(ValueError, match=f"fear 1 of 2; remove {folder}, and the same call"):
        obtain.get_fer2013(tmp_path / "data", download=lambda: pictures)
    assert not lost.exists()


def test_without_a_network_there_is_one_sentence(tmp_path) -> None:
    """The real kagglehub behind a proxy that is not there, in a process of its own."""
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    told = subprocess.run(
        [sys.executable, "-m", "occfer", "get", "fer2013", "--root", str(tmp_path / "data")],
        env={**os.environ, **nowhere, "no_proxy": "", "KAGGLEHUB_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert told.returncode == 1
    assert "occfer: Kaggle did not give msambare/fer2013 (" in told.stderr
    assert "pass the file with --archive" in told.stderr
    assert "Traceback" not in told.stderr
    assert left(tmp_path / "data") == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("rafdb", "ask its authors for the basic set"),
        ("ferplus", "fer2013new.csv from github.com/microsoft/FERPlus"),
        ("affectnet", "ask its authors"),
        ("synthfer", "comes with occfer"),
    ],
)
def test_who_may_not_be_fetched_is_said(data, said) -> None:
    with pytest.raises(SystemExit, match=said):
        main(["get", data])


def test_a_picture_is_taken_for_what_it_is(pictures, tmp_path) -> None:
    """Copied byte by byte: what is read afterwards are Kaggle's pixels."""
    folder = obtain.get_fer2013(tmp_path / "data", download=lambda: pictures)
    name = "test/sad/PrivateTest_1.jpg"
    with Image.open(pictures / name) as theirs, Image.open(folder / name) as ours:
        assert theirs.tobytes() == ours.tobytes()
