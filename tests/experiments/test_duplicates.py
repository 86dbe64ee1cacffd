"""What is recorded of a data set's duplicates, and the record of FER2013 itself."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from occfer.cli import main
from occfer.data import FaceSet, load_faces
from occfer.data.duplicates import DISTANCE, find_duplicates, perceptual_hashes
from occfer.experiments import duplicates
from occfer.experiments.table1 import Splits

RESULTS = Path(__file__).resolve().parents[2] / "book" / "results"


def faces(split: str, kinds: list[int], labels: list[int]) -> FaceSet:
    """One kind, the same random pixels."""
    draw = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (20, 1, 16, 16), dtype=torch.uint8, generator=draw)
    ids = [f"{split}{number}" for number in range(len(kinds))]
    return FaceSet(pixels[kinds], torch.tensor(labels), ids, name="toy", split=split)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Train 1 and 4 are test faces, one under another label; train 2 stands there twice."""
    root = tmp_path / "toy"
    for each in (
        faces("train", [0, 1, 2, 2, 3], [0, 1, 2, 2, 3]),
        faces("val", [4, 5], [4, 5]),
        faces("test", [1, 3, 6], [1, 4, 6]),
    ):
        each.save(root / each.split)
    return root


def test_the_command_counts_records_and_cleans(folder: Path, tmp_path: Path, capsys) -> None:
    clean = tmp_path / "clean"
    main(["duplicates", str(folder), "--results", str(tmp_path), "--clean", str(clean)])
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines() if "\t" in line]
    said = {(kind, what): count for kind, what, count in lines}
    assert said["exact", "groups"] == said["exact", "spare faces"] == "3"
    assert said["exact", "groups across splits"] == "2"
    assert said["exact", "groups with contradicting labels"] == "1"
    assert said["exact", "train faces also in test"] == "2"
    assert (
        said["exact", "train faces also in val"] == said["exact", "val faces also in test"] == "0"
    )
    assert said["leaks", "training faces that also stand in a held-out split"] == "2"

    values, members = duplicates.recorded(tmp_path, "toy")
    assert values["exact"]["shared"]["train"] == {"train": 2, "val": 0, "test": 2}
    assert members == [
        (0, "train", "disgust", "train1"), (0, "test", "disgust", "test0"),
        (1, "train", "fear", "train2"), (1, "train", "fear", "train3"),
        (2, "train", "happiness", "train4"), (2, "test", "sadness", "test1"),
    ]  # fmt: skip
    assert load_faces(clean, "train").ids == ("train0", "train2", "train3")
    for split in ("val", "test"):
        assert load_faces(clean, split).sha256 == load_faces(folder, split).sha256


def test_a_face_of_the_validation_split_is_cleaned_away_as_well(tmp_path: Path) -> None:
    train, val, test = (
        faces(*each) for each in (("train", [0, 1], [0, 1]), ("val", [1], [1]), ("test", [2], [2]))
    )
    clean = duplicates.save_clean(Splits(train, val, test), tmp_path)
    assert load_faces(clean, "train").ids == ("train0",)


def test_the_distance_decides_what_is_nearly_the_same(tmp_path: Path) -> None:
    """A face and the same face with one corner inverted: their hashes differ by a few bits."""
    face, other = faces("train", [0], [0]), faces("val", [1], [1])
    pixels = face.images.clone()
    pixels[..., :2, :2] = 255 - pixels[..., :2, :2]
    altered = replace(face, images=pixels, ids=["test0"], split="test")
    for each in (face, other, altered):
        each.save(tmp_path / "toy" / each.split)
    [apart] = np.bitwise_count(perceptual_hashes(face) ^ perceptual_hashes(altered)).tolist()
    assert 0 < apart != DISTANCE
    found = [
        duplicates.measure(str(tmp_path / "toy"), distance=distance, results=tmp_path)
        for distance in (apart - 1, apart)
    ]
    assert [len(each.perceptual.groups) for each in found] == [0, 1]


def test_what_was_not_run_is_not_there(tmp_path: Path) -> None:
    assert duplicates.recorded(tmp_path, "fer2013") is None


def test_the_record_of_fer2013_agrees_with_itself() -> None:
    """Every exact count can be had from the list of faces beside it."""
    values, members = duplicates.recorded(RESULTS, "fer2013")
    exact = values["exact"]
    groups = [list(group) for _, group in itertools.groupby(members, key=lambda member: member[0])]
    splits = [{split for _, split, _, _ in group} for group in groups]
    assert exact["groups"] == len(groups)
    assert exact["spare"] == len(members) - len(groups)
    assert exact["across"] == sum(len(each) > 1 for each in splits)
    contradictory = [{expression for _, _, expression, _ in group} for group in groups]
    assert exact["contradictory"] == sum(len(each) > 1 for each in contradictory)
    leaking = [group for group, each in zip(groups, splits, strict=True) if len(each) > 1]
    leaks = [m for group in leaking for m in group if m[1] == "train"]
    assert values["leaks_dropped"] == len(leaks)
    assert len({identifier for *_, identifier in members}) == len(members)
    assert exact["members"] <= values["perceptual"]["members"]


@pytest.mark.slow
def test_the_record_of_fer2013_is_that_of_the_real_one(shared_data: Path) -> None:
    values, members = duplicates.recorded(RESULTS, "fer2013")
    sets = [load_faces("fer2013", split, shared_data) for split in ("train", "val", "test")]
    assert [values["data"][each.split]["sha256"] for each in sets] == [s.sha256 for s in sets]
    found = find_duplicates(*sets)
    assert found.counts() == values["exact"]
    listed = [line.split("\t")[3] for line in found.lines()][1:]
    assert listed == [identifier for *_, identifier in members]
    # About what is known of it: some 1,850 to spare, some of them across the splits.
    assert 1_700 < found.spare < 2_000
    assert found.across > 100


def test_an_unlabelled_copy_contradicts_nobody(folder: Path, tmp_path: Path) -> None:
    train = load_faces(folder, "train")
    blank = replace(train, labels=torch.full((len(train),), -1))
    assert find_duplicates(blank, load_faces(folder, "test")).contradictory == 0
