"""RAN's lists in their authors' three formats, over small copies of the two data sets."""

import csv

import numpy as np
import pytest
import torch

from occfer.data import load_faces
from occfer.data.ferplus import rows
from occfer.data.ran import CHALLENGES, FILES, JOINED, NAMES, challenge, read_list
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
    for file, lines in (("fer2013.csv", flat), ("fer2013new.csv", named)):
        with (tmp_path / file).open("w", newline="") as text:
            csv.writer(text).writerows(lines)
    return tmp_path


def test_three_formats_are_read(tmp_path) -> None:
    for text, expected in (
        ("1_fer0034656.png 8 0\r\n1_fer0033878.png 8 3\r\n", {"fer0034656": 1, "fer0033878": 1}),
        ("0/fer0032226.jpg\n7/fer0032934.jpg\n", {"fer0032226": 0, "fer0032934": 7}),
        ("test_0003_aligned 3 4\n6/test_0027_aligned.jpg", {"test_0003": 3, "test_0027": 6}),
        ("test_2464_aligned 6 2\ntest_2464_aligned 6 2\n", {"test_2464": 6}),
    ):
        (tmp_path / "list.txt").write_text(text, newline="")
        assert read_list(tmp_path / "list.txt", 8) == expected


@pytest.mark.parametrize(
    "line",
    [
        "",
        "fer0032226.jpg",
        "train_00001_aligned 3 4",
        "0/../x.jpg",
        "8/fer0032227.jpg",
        "test_0003_aligned 9 1",
    ],
)
def test_another_line_is_named(tmp_path, line) -> None:
    (tmp_path / "list.txt").write_text(f"0/fer0032226.jpg\n{line}\n")
    with pytest.raises(ValueError, match="but line 2 is"):
        read_list(tmp_path / "list.txt", 8)


def test_a_list_in_another_encoding_is_named(tmp_path) -> None:
    (tmp_path / "list.txt").write_text("0/fer0032226.jpg\n", encoding="utf-16")
    with pytest.raises(ValueError, match=r"list\.txt must be a text in UTF-8, but is not"):
        read_list(tmp_path / "list.txt", 8)


def test_a_face_with_two_classes_is_named(tmp_path) -> None:
    (tmp_path / "list.txt").write_text("test_0003_aligned 3 4\ntest_0003_aligned 2 4\n")
    with pytest.raises(ValueError, match="each face with one class from 0 to 7, but line 2"):
        read_list(tmp_path / "list.txt", 8)


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


def test_a_table_joined_to_kaggle_s_pictures_needs_no_names(fer2013, encode) -> None:
    """The authors' own list goes before it."""
    for name in ("fer2013.csv", "fer2013new.csv"):
        (fer2013 / name).unlink()
    for row in (31, 34):
        path = fer2013 / "fer2013" / "test" / "sad" / f"PrivateTest_{row}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(np.full((48, 48), row, np.uint8), "PNG"))
    lines = ["path,ferplus_class", "test/sad/PrivateTest_34.jpg,7", "test/sad/PrivateTest_31.jpg,4"]
    (fer2013 / JOINED).write_text("\n".join(lines))
    given = dict(root=fer2013, check_counts=False)
    faces = load_faces("ferplus", "occlusion", unlabelled=True, **given)
    assert faces.ids == ("test/sad/PrivateTest_34", "test/sad/PrivateTest_31")
    assert faces.images[:, 0, 0, 0].tolist() == [34, 31]
    assert faces.labels.tolist() == [-1, EMOTIONS.index("anger")]
    assert faces.extras["ferplus_class"].tolist() == [7, 4]
    assert load_faces("ferplus", "occlusion", **given).ids == ("test/sad/PrivateTest_31",)
    with pytest.raises(FileNotFoundError, match="holds no pose_30_ferplus_list"):
        load_faces("ferplus", "pose30", **given)

    (fer2013 / JOINED).write_text("\n".join([*lines, "test/sad/PrivateTest_35.jpg,4"]))
    with pytest.raises(
        ValueError, match=r"got 3, of which 1 are not there \(test/sad/PrivateTest_35"
    ):
        load_faces("ferplus", "occlusion", **given)
    (fer2013 / JOINED).write_text("\n".join([*lines, "test/sad/PrivateTest_35.jpg,anger"]))
    with pytest.raises(ValueError, match=r"a number from 0 to 7, got 'anger' for 'test/sad/Priv"):
        load_faces("ferplus", "occlusion", **given)

    (fer2013 / JOINED).write_text("\n".join([*lines, "test/sad/PrivateTest_35.jpg,8"]))
    with pytest.raises(ValueError, match=rf"{JOINED} must .* from 0 to 7, got '8' for 'test/sad"):
        load_faces("ferplus", "occlusion", **given)

    (fer2013 / FILES["ferplus"][0][0]).write_text("0/fer0000031.jpg\n")
    with pytest.raises(FileNotFoundError, match=f"holds no {NAMES}"):
        load_faces("ferplus", "occlusion", **given)


@pytest.fixture
def real(shared_data, real_cache, monkeypatch):
    monkeypatch.setenv("OCCFER_CACHE", str(real_cache))
    return shared_data


def test_605_real_faces_are_really_occluded(real) -> None:
    faces = load_faces("ferplus", "occlusion", real, unlabelled=True)
    assert len(faces) == len(set(faces.ids)) == 605
    assert (faces.extras["ferplus_class"] == 7).sum() == (faces.labels == -1).sum() == 3
    assert all(identifier.split("/")[-1].startswith("PrivateTest_") for identifier in faces.ids)
    row = faces.ids.index("test/fear/PrivateTest_11661249")
    assert EMOTIONS[faces.labels[row]] == "happiness"
    everyone = load_faces("fer2013", "test", real)
    same = everyone.ids.index("test/fear/PrivateTest_11661249")
    assert torch.equal(faces.images[row], everyone.images[same])
    assert len(load_faces("ferplus", "occlusion", real)) == 602


def test_the_authors_form_of_the_real_list_gives_the_same_faces(real, tmp_path) -> None:
    """The 605 faces written as their authors write them: FER+'s name of each picture, which
    counts the rows of FER2013's table."""
    joined = load_faces("ferplus", "occlusion", real, unlabelled=True)
    for name in ("fer2013.tar.xz", "ferplus_votes.csv"):
        (tmp_path / name).symlink_to(real / name)
    votes = list(rows(real / "ferplus_votes.csv", ("path", "usage", "row")))
    row_of = {row["path"].rpartition(".")[0]: int(row["row"]) for row in votes}
    listed = zip(joined.ids, joined.extras["ferplus_class"].tolist(), strict=True)
    lines = [f"{number}/fer{row_of[name]:07d}.jpg" for name, number in listed]
    (tmp_path / FILES["ferplus"][0][0]).write_text("\n".join(lines))
    usage = {int(row["row"]): row["usage"] for row in votes}
    with (tmp_path / NAMES).open("w", newline="") as text:
        table = csv.writer(text)
        table.writerow(["Usage", "Image name"])
        table.writerows(
            [usage.get(n, "Training"), f"fer{n:07d}.png"] for n in range(max(usage) + 1)
        )
    found = load_faces("ferplus", "occlusion", tmp_path, unlabelled=True)
    assert found.sha256 == joined.sha256
    assert torch.equal(found.extras["ferplus_class"], joined.extras["ferplus_class"])


def test_what_is_missing_is_named_with_where_it_is_to_be_had(rafdb, fer2013) -> None:
    for name in ("rafdb", "ferplus"):
        for split in CHALLENGES:
            with pytest.raises(
                FileNotFoundError, match=r"holds no \w+\.txt( or \S+)*; take it from github"
            ):
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


def test_a_class_that_rafdb_does_not_have_is_named(rafdb) -> None:
    """Contempt, which is FER+'s alone, would be the eighth."""
    (rafdb / "val_raf_db_list.txt").write_text("3/test_0003_aligned.jpg\n7/test_0004_aligned.jpg")
    with pytest.raises(ValueError, match=r"val_raf_db_list\.txt must .* to 6, but line 2 is"):
        challenge("rafdb", "pose30", rafdb, check_counts=False)


def test_a_list_of_another_length_is_refused(rafdb, monkeypatch) -> None:
    from occfer.data import rafdb as reader

    monkeypatch.setattr(reader, "expect_counts", lambda *_: None)
    (rafdb / "val_raf_db_list_45.txt").write_text("3/test_0003_aligned.jpg\n")
    with pytest.raises(ValueError, match=r"must list 558 faces .*, got 1, of which 0 are not"):
        challenge("rafdb", "pose45", rafdb)
