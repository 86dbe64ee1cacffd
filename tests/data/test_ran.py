"""RAN's lists in their authors' three formats, over small copies of the two data sets."""

import csv

import numpy as np
import pytest

from occfer.data import load_faces
from occfer.data.ran import CHALLENGES, challenge, read_list
from occfer.emotions import EMOTIONS, FERPLUS

# RAF-DB's own numbers, 1 surprise to 7 neutral; RAN's begin with 0.
RAFDB = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")


@pytest.fixture
def rafdb(tmp_path, encode):
    """Seven test faces, the expressions in RAF-DB's order; face i is flat grey of value i."""
    (tmp_path / "aligned").mkdir()
    lines = ["train_00001.jpg 1"]
    for number in range(7):
        name = "train_00001" if number == 0 else f"test_{number:04d}"
        flat = np.full((100, 100, 3), number, np.uint8)
        (tmp_path / "aligned" / f"{name}_aligned.jpg").write_bytes(encode(flat, "PNG"))
        if number:
            lines.append(f"test_{number:04d}.jpg {number + 1}")
    (tmp_path / "list_patition_label.txt").write_text("\n".join(lines))
    return tmp_path


@pytest.fixture
def fer2013(tmp_path):
    """A table of 40 rows, the last ten PrivateTest; row 33 has no name, so names run behind."""
    flat = [["emotion", "Usage", "pixels"]]
    named = [["Usage", "Image name", *FERPLUS, "unknown", "NF"]]
    names = iter(range(1000))
    for row in range(40):
        usage = "PrivateTest" if row >= 30 else "Training"
        flat.append([row % 7, usage, " ".join([str(row)] * 48 * 48)])
        name = "" if row == 33 else f"fer{next(names):07d}.png"
        named.append([usage, name, *[0] * 10])
    for file, rows in (("fer2013.csv", flat), ("fer2013new.csv", named)):
        with (tmp_path / file).open("w", newline="") as text:
            csv.writer(text).writerows(rows)
    return tmp_path


def test_three_formats_are_read(tmp_path) -> None:
    for text, expected in (
        ("1_fer0034656.png 8 0\r\n1_fer0033878.png 8 3\r\n", {"fer0034656": 1, "fer0033878": 1}),
        ("0/fer0032226.jpg\n7/fer0032934.jpg\n", {"fer0032226": 0, "fer0032934": 7}),
        ("test_0003_aligned 3 4\n6/test_0027_aligned.jpg", {"test_0003": 3, "test_0027": 6}),
        ("test_2464_aligned 6 2\ntest_2464_aligned 6 2\n", {"test_2464": 6}),
    ):
        (tmp_path / "list.txt").write_text(text, newline="")
        assert read_list(tmp_path / "list.txt") == expected


@pytest.mark.parametrize("line", ["", "fer0032226.jpg", "train_00001_aligned 3 4", "0/../x.jpg"])
def test_another_line_is_named(tmp_path, line) -> None:
    (tmp_path / "list.txt").write_text(f"0/fer0032226.jpg\n{line}\n")
    with pytest.raises(ValueError, match="but line 2 is"):
        read_list(tmp_path / "list.txt")


def test_a_face_with_two_classes_is_named(tmp_path) -> None:
    (tmp_path / "list.txt").write_text("test_0003_aligned 3 4\ntest_0003_aligned 2 4\n")
    with pytest.raises(ValueError, match="each face with one class, but line 2"):
        read_list(tmp_path / "list.txt")


def test_rafdb_s_listed_faces_keep_their_pixels_and_get_their_labels(rafdb) -> None:
    (rafdb / "ran").mkdir()
    (rafdb / "ran" / "rafdb_occlusion_list.txt").write_text(
        "test_0005_aligned 5 4\ntest_0002_aligned 2 1\n"
    )
    faces = load_faces("rafdb", "occlusion", rafdb, check_counts=False)
    assert faces.ids == ("test_0005", "test_0002")
    assert faces.images[:, 0, 0, 0].tolist() == [5, 2]
    assert [EMOTIONS[label] for label in faces.labels] == [RAFDB[5], RAFDB[2]]
    everyone = load_faces("rafdb", "test", rafdb, check_counts=False)
    theirs = dict(zip(everyone.ids, everyone.labels.tolist(), strict=True))
    assert [theirs[face] for face in faces.ids] == faces.labels.tolist()
    assert (faces.name, faces.split) == ("rafdb", "occlusion")


def test_ferplus_names_pictures_and_fer2013_counts_rows(fer2013) -> None:
    (fer2013 / "pose_30_ferplus_list.txt").write_text("2/fer0000031.jpg\n0/fer0000033.jpg\n")
    faces = load_faces("ferplus", "pose30", fer2013, check_counts=False)
    # Row 33 has no name, so the name 33 means row 34.
    assert faces.ids == ("PrivateTest_row00031", "PrivateTest_row00034")
    assert faces.images[:, 0, 0, 0].tolist() == [31, 34]
    assert [EMOTIONS[label] for label in faces.labels] == ["surprise", "neutral"]


def test_with_kaggle_s_pictures_the_votes_say_which_row_is_which(fer2013, encode) -> None:
    (fer2013 / "fer2013.csv").unlink()
    for row in (31, 34):
        path = fer2013 / "fer2013" / "test" / "sad" / f"PrivateTest_{row}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(np.full((48, 48), row, np.uint8), "PNG"))
    votes = ["path,usage,row"]
    votes += [f"test/sad/PrivateTest_{row}.jpg,PrivateTest,{row}" for row in (31, 34)]
    (fer2013 / "ferplus_votes.csv").write_text("\n".join(votes))
    (fer2013 / "pose_45_ferplus_list.txt").write_text("7/fer0000033.jpg\n1/fer0000031.jpg\n")
    given = dict(root=fer2013, check_counts=False)
    faces = challenge("ferplus", "pose45", unlabelled=True, **given)
    assert faces.ids == ("test/sad/PrivateTest_34", "test/sad/PrivateTest_31")
    assert faces.labels.tolist() == [-1, EMOTIONS.index("happiness")]
    # Contempt is none of the seven.
    assert challenge("ferplus", "pose45", **given).ids == ("test/sad/PrivateTest_31",)


def test_what_is_missing_is_named_with_where_it_is_to_be_had(rafdb, fer2013) -> None:
    for name in ("rafdb", "ferplus"):
        for split in CHALLENGES:
            with pytest.raises(FileNotFoundError, match=r"holds no \w+\.txt; take it from github"):
                challenge(name, split, rafdb)
    (rafdb / "val_raf_db_list.txt").write_text("3/test_0003_aligned.jpg\n3/test_9999_aligned.jpg")
    with pytest.raises(
        ValueError, match=r"1,247 faces .* got 2, of which 1 are not there \(test_9"
    ):
        challenge("rafdb", "pose30", rafdb, check_counts=False)
    with pytest.raises(ValueError, match="has the splits occlusion, pose30, pose45; got 'test'"):
        challenge("rafdb", "test", rafdb)
    with pytest.raises(ValueError, match="lists for ferplus and rafdb, got 'affectnet'"):
        challenge("affectnet", "occlusion", rafdb)


def test_a_list_of_another_length_is_refused(rafdb, monkeypatch) -> None:
    from occfer.data import rafdb as reader

    monkeypatch.setattr(reader, "expect_counts", lambda *_: None)
    (rafdb / "val_raf_db_list_45.txt").write_text("3/test_0003_aligned.jpg\n")
    with pytest.raises(ValueError, match=r"must list 558 faces .*, got 1, of which 0 are not"):
        challenge("rafdb", "pose45", rafdb)
