"""The same faces from Ray's workers as from one process, also when workers are killed."""

import os
import pickle
import signal
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from time import monotonic, sleep

import pytest
from PIL import Image
from skimage.data import astronaut

from occfer.cli import main
from occfer.data.cluster import OnRay, _Worker
from occfer.data.extract import Choice, extract
from occfer.data.shards import find_sources

SHARDS = 12
SMALL = Choice(min_face=25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Photographs as files, among them no face and a broken one, and twelve shards of four."""
    folder = tmp_path_factory.mktemp("pictures")
    photograph = Image.fromarray(astronaut())
    for number in range(3):
        photograph.resize((160 + number, 170)).save(folder / f"{number}.jpg")
    Image.new("RGB", (90, 80)).save(folder / "black.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for place in range(4):
                buffer = BytesIO()
                photograph.resize((150 + 9 * place, 150 + 2 * shard)).save(buffer, "JPEG")
                info = tarfile.TarInfo(f"{shard:05d}{place:04d}.jpg")
                info.size = buffer.tell()
                buffer.seek(0)
                tar.addfile(info, buffer)
    return folder


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory) -> Path:
    """What one process makes of the folder."""
    out = tmp_path_factory.mktemp("whole") / "out"
    faces = extract(folder, out, SMALL, progress=False)
    assert SHARDS < len(faces) < 3 + 4 * SHARDS, "some are too small, so that reasons are compared"
    return out


def content(out: Path) -> dict[str, bytes]:
    """Every byte that an extraction leaves."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def processes() -> dict[int, tuple[int, str]]:
    """Parent and command line of every process."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    )
    rows = (line.split(None, 2) for line in listed.stdout.splitlines())
    return {int(pid): (int(parent), " ".join(words)) for pid, parent, *words in rows}


def below(ancestor: int) -> dict[int, str]:
    """The processes that a process started, and those that they did."""
    running, found = processes(), {}
    for pid, (parent, command) in running.items():
        while parent in running and parent != ancestor:
            parent = running[parent][0]
        if parent == ancestor:
            found[pid] = command
    return found


def workers(ancestor: int) -> list[int]:
    """The workers that are just looking for faces, by what Ray calls their processes."""
    named = below(ancestor).items()
    return sorted(pid for pid, command in named if command == "ray::MapWorker(Map(_Worker)).submit")


@pytest.mark.slow
def test_two_workers_that_are_killed_make_what_one_process_makes(folder, whole, tmp_path) -> None:
    """Both are killed in the middle of their work, one after the other; nothing else is left."""
    out = tmp_path / "out"
    options = ["--out", out, "--choice.min-face", "25", "--engine", "ray", "--workers", "2"]
    # Ray in a process of its own: what it starts must end with that process.
    process = subprocess.Popen([sys.executable, "-m", "occfer", "align", folder, *options])
    killed, seen, start = set(), set(), monotonic()
    while process.poll() is None:
        assert monotonic() - start < 700, "Ray hangs"
        seen |= below(process.pid).keys()
        done = len(list(out.glob("parts/*-end.safetensors")))
        for pid in workers(process.pid):
            if 1 + 3 * len(killed) <= done < SHARDS and pid not in killed and len(killed) < 2:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
                break
        sleep(0.05)
    assert process.returncode == 0
    assert len(killed) == 2
    assert content(out) == content(whole)
    while processes().keys() & seen:
        assert monotonic() - start < 700, "processes are left behind"
        sleep(0.2)


def test_one_engine_goes_on_where_the_other_stopped(folder, whole, tmp_path, capsys) -> None:
    """All is done already, so that Ray need not even start."""
    main(["align", str(folder), "--out", str(whole), "--engine", "ray", "--choice.min-face", "25"])
    assert f"faces: {whole}/faces" in capsys.readouterr().out
    assert "ray" not in sys.modules


def test_a_worker_that_cannot_write_says_so_in_a_sentence(folder, tmp_path) -> None:
    """A full disk, say; here the folder is not there."""
    worker = _Worker(64, tmp_path / "none", SMALL, "cpu")
    found = worker({"source": pickle.dumps(find_sources(folder, 64)[0])})
    assert found["pictures"] == 0
    assert "No such file or directory" in found["error"]


def test_no_workers_do_no_work() -> None:
    with pytest.raises(ValueError, match="needs at least 1 worker, got 0"):
        OnRay(0)
