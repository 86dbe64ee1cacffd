"""What commands take and refuse where they are given pictures, folders and places to write to."""

import subprocess
import sys
from pathlib import Path
from threading import Timer

import numpy as np
import pytest
import torch
from PIL import Image

from occfer import PlainClassifier
from occfer.cli import main
from occfer.cli.common import Faces, run_name
from occfer.data import FaceSet


def said(*arguments: object) -> str | int:
    """The sentence, or the number, in which a command ends."""
    with pytest.raises(SystemExit) as stop:
        main([str(each) for each in arguments])
    return stop.value.code


@pytest.fixture
def network(tmp_path) -> Path:
    return PlainClassifier(width=8, stem="small", size=24).save_pretrained(tmp_path / "net")


@pytest.fixture
def wall(tmp_path) -> Path:
    Image.fromarray(np.full((100, 120, 3), 90, np.uint8)).save(tmp_path / "wall.png")
    return tmp_path / "wall.png"


def test_pictures_that_cannot_be_read_are_told_from_those_without_a_face(
    network, wall, capsys
) -> None:
    broken = wall.with_name("broken.jpg")
    broken.write_bytes(b"no picture")
    assert said("predict", wall, broken, "--model", network) == 1
    faceless, unread = capsys.readouterr().out.splitlines()
    assert faceless.startswith(f"{wall}\tno face\t")
    assert "--aligned" in faceless
    assert unread.startswith(f"{broken}\tnot read\t{broken} cannot be read as a picture")


def test_one_picture_that_was_read_is_enough(network, wall, capsys) -> None:
    broken = wall.with_name("broken.jpg")
    broken.write_bytes(b"no picture")
    main(["predict", str(broken), str(wall), "--aligned", "--model", str(network)])
    unread, read = capsys.readouterr().out.splitlines()
    assert unread.startswith(f"{broken}\tnot read")
    assert read.startswith(f"{wall}\t")


def test_what_would_change_nothing_is_refused(network, wall) -> None:
    chosen = ("--aligned", "--choice.min-face", 80)
    assert "leave one of the two out" in said("predict", wall, *chosen, "--model", network)
    for given in (("--seed", 5), ("--variants", "block-10"), ("--real",)):
        assert f"so {given[0]} would change nothing" in said("occlude", "--check", *given)


def test_an_empty_name_is_not_the_folder_one_stands_in(network) -> None:
    assert "its name is empty; write ." in said("predict", "", "--model", network)


@pytest.mark.parametrize("command", [("predict", "wall.png"), ("evaluate",)])
def test_a_device_that_is_not_here_is_one_sentence(network, command) -> None:
    told = said(*command, "--model", network, "--device", "toaster")
    assert told.startswith("occfer: device should be cpu, or an accelerator that is here")
    assert "\n" not in told


def test_a_run_is_named_after_its_folder(tmp_path, monkeypatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    assert run_name(Path(".")) == run_name(Path("")) == run_name(Path("../mine")) == "mine"
    for command in ("pretrain", "finetune"):
        assert "--out should be a folder with a name, got /;" in said(command, "--out", "/")


def test_pictures_of_several_sizes_are_brought_to_one(tmp_path) -> None:
    for name, side in (("happy/a.png", 20), ("sad/b.png", 30)):
        (tmp_path / "faces" / name).parent.mkdir(parents=True)
        Image.fromarray(np.full((side, side), 90, np.uint8)).save(tmp_path / "faces" / name)
    faces = Faces(data=str(tmp_path / "faces"), size=24).load("train")
    assert faces.images.shape[2:] == (24, 24)
    with pytest.raises(ValueError, match="should be at least 1 pixel, got 0"):
        Faces(data=str(tmp_path / "faces"), size=0).load("train")
    saved = FaceSet(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.zeros(1).long(), ["a"])
    saved.save(tmp_path / "saved")
    for data in ("synthfer", str(tmp_path / "saved")):
        with pytest.raises(ValueError, match=f"the faces of {data} have one size already"):
            Faces(data=data, size=24).load("train")


def test_an_answer_reaches_a_pipe_at_once() -> None:
    """Whoever says it then waits for an answer, as one who stands before a camera does."""
    code = "import sys; from occfer.cli.common import say; say('happiness'); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        patience = Timer(300, process.kill)
        patience.start()
        line = process.stdout.readline()
        patience.cancel()
        process.kill()
    assert line == "happiness\n"
