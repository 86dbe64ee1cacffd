"""A folder of pictures becomes one set of faces, however often the work is stopped."""

import json
import multiprocessing
import os
import signal
from collections import Counter
from functools import partial
from pathlib import Path
from random import Random
from time import monotonic, sleep

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from occfer.cli import main
from occfer.data import extract as module
from occfer.data import load_faces
from occfer.data.align import TEMPLATE
from occfer.data.detect import Detections
from occfer.data.extract import Choice, extract
from occfer.data.faceset import FaceSet
from occfer.data.shards import find_sources
from occfer.data.synthfer import synthfer
from occfer.emotions import EMOTIONS


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Twelve pictures: photographs, rendered faces, two in one, none, and a broken file."""
    folder = tmp_path_factory.mktemp("pictures")
    photograph = Image.fromarray(astronaut())
    (folder / "deep" / "er").mkdir(parents=True)
    for number, degrees in enumerate((0, 25, -25)):
        photograph.resize((200, 200)).rotate(degrees).save(folder / f"photo{number}.png")
    faces = synthfer("val").images[:6].permute(0, 2, 3, 1).numpy()
    for number, pixels in enumerate(faces):
        Image.fromarray(pixels).resize((150, 150)).save(folder / "deep" / f"{number}.jpg")
    two = Image.new("RGB", (400, 200), (90, 120, 90))
    two.paste(photograph.resize((200, 200)), (200, 0))
    two.paste(photograph.resize((170, 170)), (10, 20))
    two.save(folder / "deep" / "er" / "two.png")
    Image.new("RGB", (99, 80)).save(folder / "black.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="module", autouse=True)
def small_parts():
    """Two pictures a part, so that there is something between the parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PART", 2)
        yield


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    return extract(folder, out, Choice(min_face=25), progress=False), out


def rejected(out: Path) -> dict[str, str]:
    lines = (out / "rejected.tsv").read_text().splitlines()
    return dict(line.split("\t") for line in lines)


def test_faces_are_aligned_and_say_where_they_come_from(whole) -> None:
    faces, out = whole
    assert faces.images.shape[1:] == (3, 112, 112)
    assert {"deep/er/two.png#0", "deep/er/two.png#1", "photo0.png#0"} <= set(faces.ids)
    assert len(faces) >= 9
    assert (faces.labels == -1).all()
    off = np.linalg.norm(faces.landmarks.numpy() - TEMPLATE, axis=-1)
    assert off.mean() < 6
    assert faces.extras["score"].min() >= 0.95
    boxes = faces.extras["box"]
    assert ((boxes[:, 2:] - boxes[:, :2]).amin(dim=1) >= 25).all()
    left = sorted(path.name for path in out.iterdir())
    assert [name for name in left if name != ".lock"] == ["faces", "plan.json", "rejected.tsv"]


def test_a_turned_face_is_turned_upright(whole) -> None:
    """The same photograph three ways: after alignment they look alike."""
    faces, _ = whole
    images = {name: image.float() for name, image in zip(faces.ids, faces.images, strict=True)}
    here = images["photo0.png#0"][:, 20:100, 20:100]
    for other in ("photo1.png#0", "photo2.png#0"):
        there = images[other][:, 20:100, 20:100]
        assert np.corrcoef(here.flatten(), there.flatten())[0, 1] > 0.9


def test_large_pictures_are_not_all_unfolded_at_once(monkeypatch) -> None:
    """Twelve of 6 megapixels, of which a budget of 20 holds three."""
    monkeypatch.setattr(module, "PIXELS", 20_000_000)
    extractor, unfolded, searched, held = module.Extractor(), [], [], []

    def unfold(number: int) -> np.ndarray:
        unfolded.append(number)
        held.append(len(unfolded) - sum(searched))
        return np.zeros((2000, 3000, 3), np.uint8)

    def search(pictures: list[np.ndarray]) -> list[Detections]:
        searched.append(len(pictures))
        nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        return [Detections(*nothing, np.zeros((0, 5, 2), np.float32)) for _ in pictures]

    extractor.detector = search
    found = extractor([(f"{number}", partial(unfold, number)) for number in range(12)])
    assert searched == [3, 3, 3, 3]
    assert max(held) == 4  # the one that is over the budget is seen when it is unfolded
    assert found.rejected == [(f"{number}", "no face") for number in range(12)]


def test_a_small_budget_finds_the_same_faces(folder, monkeypatch) -> None:
    [source] = find_sources(folder, 64)
    extractor = module.Extractor(Choice(min_face=25))
    whole = extractor(list(source.pictures()))
    monkeypatch.setattr(module, "PIXELS", 1)
    one_by_one = extractor(list(source.pictures()))
    assert one_by_one.ids == whole.ids
    assert sorted(one_by_one.rejected) == sorted(whole.rejected)
    assert np.abs(np.array(one_by_one.boxes) - np.array(whole.boxes)).max() < 0.1


def photograph(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(astronaut()).resize((400, 400)).save(path)


def test_faces_may_lie_below_the_pictures_and_are_not_searched(tmp_path) -> None:
    photograph(tmp_path / "a.png")
    command = ["align", str(tmp_path), "--out", str(tmp_path / "out"), "--pictures"]
    main(command)
    first = FaceSet.open(tmp_path / "out" / "faces")
    assert first.ids == ("a.png#0",)
    assert list((tmp_path / "out" / "pictures").iterdir())
    assert extract(tmp_path, tmp_path / "out", progress=False).sha256 == first.sha256
    with pytest.raises(ValueError, match=r"a folder of their own, got .*, where the pictures lie"):
        extract(tmp_path, tmp_path, progress=False)


def test_every_picture_is_taken_or_listed(tmp_path) -> None:
    """Behind a link too, and of a kind that is not read."""
    photograph(tmp_path / "elsewhere" / "linked.png")
    photograph(tmp_path / "in" / "a.jfif")
    photograph(tmp_path / "in" / "b.GIF")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "link" / "back").symlink_to(tmp_path / "in")
    faces = extract(tmp_path / "in", tmp_path / "out", progress=False)
    assert faces.ids == ("a.jfif#0", "link/linked.png#0")
    [(name, why)] = rejected(tmp_path / "out").items()
    assert name == "b.GIF"
    assert "begins like no JPEG, PNG, BMP, WEBP" in why


def test_two_extractions_do_not_write_to_one_folder(tmp_path) -> None:
    """The second is told so while the first is at work, and the first ends as if alone."""
    photograph(tmp_path / "in" / "a.png")
    told = []

    def slow(sources, size, parts, choice, device):
        for source in sources:
            with pytest.raises(BlockingIOError, match="Another extraction is writing to") as busy:
                extract(tmp_path / "in", tmp_path / "out", progress=False)
            told.append(str(busy.value))
            yield from module.one_by_one([source], size, parts, choice, device)

    faces = extract(tmp_path / "in", tmp_path / "out", progress=False, engine=slow)
    assert faces.ids == ("a.png#0",)
    assert len(told) == 1
    assert extract(tmp_path / "in", tmp_path / "out", progress=False).sha256 == faces.sha256


def test_what_is_not_taken_is_listed_with_its_reason(whole, folder, tmp_path) -> None:
    why = rejected(whole[1])
    assert why["black.png"] == "no face"
    assert "broken.jpg cannot be read as a picture" in why["broken.jpg"]
    faces = extract(folder, tmp_path / "few", Choice(every=False, min_face=48), progress=False)
    why = rejected(tmp_path / "few")
    assert "deep/er/two.png#1" in why
    assert len({name.partition("#")[0] for name in faces.ids}) == len(faces)
    assert any("pixels, less than 48" in each for each in why.values())
    extract(folder, tmp_path / "one", Choice(every=False, min_face=25), progress=False)
    assert rejected(tmp_path / "one")["deep/er/two.png#1"] == "not the largest"


def test_a_score_too_low_is_a_reason(folder, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"No face was taken .*rejected\.tsv says why"):
        extract(folder, tmp_path, Choice(min_face=25, min_score=1.0), progress=False)
    assert "less than 1.0" in rejected(tmp_path)["photo0.png#0"]


def test_a_large_picture_is_searched_small_and_cut_from_itself(tmp_path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(astronaut()).resize((768, 768)).save(tmp_path / "in" / "a.png")
    large, small = (
        extract(tmp_path / "in", tmp_path / str(side), Choice(max_side=side), progress=False)
        for side in (768, 256)
    )
    assert np.abs(large.extras["box"][0].numpy() - small.extras["box"][0].numpy()).max() < 25
    a, b = (each.images[0].float().flatten().numpy() for each in (large, small))
    assert np.corrcoef(a, b)[0, 1] > 0.95


def _run(folder: Path, out: Path) -> None:
    module.PART = 2
    extract(folder, out, Choice(min_face=25), progress=False)


def finished_parts(out: Path) -> int:
    return len(list(out.glob("parts/*.safetensors")))


@pytest.mark.slow
def test_killed_at_twenty_random_moments(folder, whole, tmp_path, keep_record) -> None:
    """A forked process is killed as any other; its finished parts are not made again."""
    start = monotonic()
    extract(folder, tmp_path / "timed", Choice(min_face=25), progress=False)
    seconds = monotonic() - start
    fork, random, out = multiprocessing.get_context("fork"), Random(4), tmp_path / "out"
    kills, before = [], {}
    for number in range(20):
        moment = random.uniform(0.0, seconds / 4)
        process = fork.Process(target=_run, args=(folder, out))
        process.start()
        # Every fourth waits for another part, so that the work goes on however slow the machine.
        while number % 4 == 3 and process.is_alive() and finished_parts(out) == len(before):
            sleep(0.001)
        sleep(moment)
        process.kill()  # SIGKILL
        process.join()
        killed = process.exitcode == -signal.SIGKILL
        parts = {p.name: p.stat().st_mtime_ns for p in out.glob("parts/*.safetensors")}
        if not (out / "faces").exists():
            assert before.items() <= parts.items(), "a finished part is lost or made again"
        before = parts
        finished = {"parts": len(parts), "whole": (out / "faces").exists()}
        kills.append({"seconds": round(moment, 3), "killed": killed, **finished})
    assert sum(kill["killed"] for kill in kills) >= 10
    assert len({kill["parts"] for kill in kills}) >= 4, "the kills met no work"
    faces = extract(folder, out, Choice(min_face=25), progress=False)
    assert faces.sha256 == whole[0].sha256
    assert rejected(out) == rejected(whole[1])
    expected, found = Counter(whole[0].ids), Counter(faces.ids)
    keep_record(
        "kills-align",
        kills=kills,
        pictures=len([path for path in folder.rglob("*") if path.suffix in (".png", ".jpg")]),
        faces=len(faces),
        lost=(expected - found).total(),
        doubled=(found - expected).total(),
        same_sha256=faces.sha256 == whole[0].sha256,
    )


@pytest.mark.parametrize(
    ("owner", "name"),
    [(os, "replace"), (FaceSet, "save"), (module, "rmtree"), (Path, "unlink")],
    ids=["os.replace", "FaceSet.save", "rmtree", "Path.unlink"],
)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_beside_each_thing_it_writes(folder, whole, tmp_path, owner, name, after) -> None:
    def dies() -> None:
        real = getattr(owner, name)

        def deadly(*arguments, **options):
            if after:
                real(*arguments, **options)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(owner, name, deadly)
        _run(folder, tmp_path / "out")

    process = multiprocessing.get_context("fork").Process(target=dies)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    faces = extract(folder, tmp_path / "out", Choice(min_face=25), progress=False)
    assert faces.sha256 == whole[0].sha256
    assert not (tmp_path / "out" / "parts").exists()


def test_a_finished_extraction_is_opened_and_another_one_refused(folder, whole) -> None:
    faces, out = whole
    assert extract(folder, out, Choice(min_face=25), progress=False).sha256 == faces.sha256
    with pytest.raises(ValueError, match="holds an extraction of other pictures or with another"):
        extract(folder, out, Choice(min_face=26), progress=False)
    with pytest.raises(ValueError, match=r"should hold pictures \(\.jpg, .*holds none"):
        extract(out, out / "again", progress=False)
    with pytest.raises(ValueError, match="A choice needs min_face from 12"):
        Choice(min_face=3)


def test_photographs_in_class_folders_become_a_data_set(tmp_path, capsys):
    """What somebody sorted by hand in between is kept."""
    faces = synthfer("val")[:4]
    for number, emotion in enumerate(("happy", "happy", "sad", "fear")):
        place = tmp_path / "photographs" / emotion
        place.mkdir(parents=True, exist_ok=True)
        pixels = faces.images[number].permute(1, 2, 0).numpy()
        Image.fromarray(pixels).resize((150, 150)).save(place / f"{number}.jpg")
    command = ["align", str(tmp_path / "photographs"), "--out", str(tmp_path / "out"), "--pictures"]
    main(command)
    cut = tmp_path / "out" / "pictures"
    assert capsys.readouterr().out.endswith(f"pictures: {cut}\n")
    read = load_faces(cut)
    assert read.ids == ("fear/3.jpg#0.png", "happy/0.jpg#0.png", "happy/1.jpg#0.png",
                        "sad/2.jpg#0.png")  # fmt: skip
    assert torch.equal(read.images, FaceSet.open(tmp_path / "out" / "faces").images)
    assert [EMOTIONS[label] for label in read.labels] == ["fear", *["happiness"] * 2, "sadness"]
    (cut / "fear" / "3.jpg#0.png").rename(cut / "sad" / "3.jpg#0.png")
    main(command)
    assert len(load_faces(cut)) == 4
    assert not (cut / "fear" / "3.jpg#0.png").exists()


def test_the_command_aligns(folder, whole, tmp_path, capsys) -> None:
    main(["align", str(folder), "--out", str(tmp_path / "out"), "--choice.min-face", "25"])
    count = len(whole[0])
    out = capsys.readouterr().out
    assert f"{count} faces: {tmp_path}/out/faces" in out
    assert json.loads((tmp_path / "out" / "plan.json").read_text())["pictures"] == 12
    with pytest.raises(SystemExit, match="should hold pictures"):
        main(["align", str(tmp_path / "out" / "faces"), "--out", str(tmp_path / "none")])
