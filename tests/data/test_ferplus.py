"""FER+: the reference's rule by hand-made votes, and the real votes where they are at hand."""

import csv

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from occfer.data import load_faces
from occfer.data.ferplus import (
    COLUMNS,
    ferplus,
    majority,
    read_votes,
    soft_labels,
)
from occfer.emotions import EMOTIONS, FERPLUS

UNKNOWN, NOT_A_FACE = 8, 9


def votes(**given_votes) -> torch.Tensor:
    return torch.tensor([[given_votes.get(column, 0) for column in COLUMNS]])


@pytest.mark.parametrize(
    ("cast", "winner"),
    [
        ({"happiness": 10}, "happiness"),
        ({"anger": 6, "sadness": 4}, "anger"),
        ({"anger": 5, "sadness": 5}, None),  # half is no majority
        ({"anger": 4, "neutral": 3, "sadness": 3}, None),
        ({"anger": 4, "neutral": 3, "sadness": 1, "fear": 1, "disgust": 1}, "anger"),  # 4 of 7
        ({"fear": 2, **dict.fromkeys(COLUMNS[:6], 1)}, "fear"),  # single votes do not count
        (dict.fromkeys(COLUMNS, 1), None),
        ({"contempt": 8}, "contempt"),
        ({"unknown": 8, "anger": 2}, None),
        ({"NF": 10}, None),
        ({"anger": 5, "unknown": 3, "NF": 2}, None),  # those two count against a majority
        ({}, None),
    ],
)
def test_the_majority_is_the_references(cast, winner):
    expected = -1 if winner is None else FERPLUS.index(winner)
    assert majority(votes(**cast)).tolist() == [expected]


def reference(row: list[int]) -> int:
    """The rule in its authors' order of steps, one face at a time."""
    kept = [0 if count <= 1 else count for count in row]
    top = max(kept)
    if not top > 0.5 * sum(kept):
        return -1
    winner = kept.index(top)
    return winner if winner < 8 else -1


@given(st.lists(st.lists(st.integers(0, 10), min_size=10, max_size=10), min_size=1, max_size=20))
def test_majority_agrees_with_the_rule_spelt_out(rows):
    assert majority(torch.tensor(rows)).tolist() == [reference(row) for row in rows]


@given(st.lists(st.lists(st.integers(0, 10), min_size=10, max_size=10), min_size=1, max_size=20))
def test_soft_labels_are_shares_of_the_seven(rows):
    shares = soft_labels(torch.tensor(rows))
    totals = shares.sum(dim=1)
    has_votes = torch.tensor([max(row[:7]) > 1 for row in rows])
    assert torch.allclose(totals, has_votes.float())


def test_soft_labels_stand_in_the_librarys_order():
    soft = soft_labels(votes(happiness=6, sadness=2, fear=1, contempt=3))
    assert dict(zip(EMOTIONS, soft[0].tolist(), strict=True)) == {
        "anger": 0,
        "disgust": 0,
        "fear": 0,
        "happiness": 0.75,
        "sadness": 0.25,
        "surprise": 0,
        "neutral": 0,
    }


@pytest.fixture
def tables(tmp_path):
    """FER2013's table of five test faces beside FER+'s own file of votes for them."""
    pixels = " ".join(["7"] * 2304)
    lines = [f"{emotion},{pixels},PrivateTest" for emotion in (0, 1, 2, 3, 6)]
    (tmp_path / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *lines]))
    cast = [
        votes(anger=10),
        votes(contempt=10),
        votes(sadness=5, anger=5),
        votes(surprise=9, fear=1),
        votes(NF=10),
    ]
    with (tmp_path / "fer2013new.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Usage", "Image name", *COLUMNS])
        for number, row in enumerate(cast):
            # A face that is none has no name there, and the names skip: rows are what counts.
            name = "" if number == 1 else f"fer{number:07d}.png"
            writer.writerow(["PrivateTest", name, *row[0].tolist()])
    return tmp_path


def test_ferplus_own_file_goes_with_the_table_row_by_row(tables):
    faces = ferplus("test", tables, check_counts=False)
    assert faces.ids == ("PrivateTest_row00000", "PrivateTest_row00003")
    assert [EMOTIONS[label] for label in faces.labels] == ["anger", "surprise"]
    assert faces.extras["votes"].tolist()[1] == votes(surprise=9, fear=1)[0].tolist()
    assert faces.extras["soft"][1].tolist() == [0, 0, 0, 0, 0, 1, 0]


def test_faces_without_a_label_are_kept_on_request(tables):
    faces = ferplus("test", tables, check_counts=False, unlabelled=True)
    assert faces.labels.tolist() == [0, -1, -1, 5, -1]
    assert faces.extras["ferplus_class"].tolist() == [4, 7, -1, 2, -1]


def test_votes_for_other_faces_are_refused(tables):
    header, *rows = (tables / "fer2013new.csv").read_text().splitlines()
    (tables / "fer2013new.csv").write_text("\n".join([header, *rows[:1]]))
    (tables / "fer2013.csv").rename(tables / "all.csv")
    with pytest.raises(FileNotFoundError, match="FER2013 was not found"):
        ferplus("test", tables)
    (tables / "all.csv").rename(tables / "fer2013.csv")
    faces = ferplus("test", tables, check_counts=False, unlabelled=True)
    assert (faces.extras["votes"].sum(dim=1) > 0).tolist() == [True, False, False, False, False]


def test_a_table_without_a_column_is_refused(tables):
    content = (tables / "fer2013new.csv").read_text()
    (tables / "fer2013new.csv").write_text(content.replace("contempt,", "scorn,", 1))
    with pytest.raises(ValueError, match=r"fer2013new\.csv lacks the columns contempt"):
        ferplus("test", tables, check_counts=False)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Training,a.png,11" + ",0" * 9, "must have the votes of 10 people"),
        ("Training,a.png,-1" + ",0" * 9, "must have the votes of 10 people"),
        ("Training,a.png,many" + ",0" * 9, "must have the votes of 10 people"),
        ("Training,a.png,1", "columns in each line, but line 2 has not"),
    ],
)
def test_votes_that_nobody_can_have_cast_are_refused(tmp_path, line, message):
    table = tmp_path / "fer2013new.csv"
    table.write_text(f"Usage,Image name,{','.join(COLUMNS)}\n{line}\n")
    with pytest.raises(ValueError, match=message):
        read_votes(table)


def test_missing_votes_say_how_to_obtain_them(tables):
    (tables / "fer2013new.csv").unlink()
    with pytest.raises(FileNotFoundError, match="microsoft/FERPlus"):
        ferplus("test", tables, check_counts=False)


def test_a_picture_with_two_rows_of_different_votes_has_none(tmp_path):
    table = tmp_path / "ferplus_votes.csv"
    rows = [
        ("train/sad/Training_1.jpg", 0, votes(sadness=10)),
        ("train/sad/Training_1.jpg", 1, votes(anger=10)),
        ("train/sad/Training_2.jpg", 2, votes(sadness=8)),
        ("train/sad/Training_2.jpg", 3, votes(sadness=8)),
    ]
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "usage", "row", *COLUMNS])
        for path, number, cast in rows:
            writer.writerow([path, "Training", number, *cast[0].tolist()])
    found = read_votes(table)
    assert "train/sad/Training_1" not in found
    assert found["train/sad/Training_2"][3] == 8
    assert found["Training_row00001"][4] == 10


@pytest.fixture
def real(shared_data, real_cache, monkeypatch):
    monkeypatch.setenv("OCCFER_CACHE", str(real_cache))
    return shared_data


REAL_COUNTS = {
    "train": (2099, 119, 532, 7287, 3013, 3149, 8739),
    "val": (287, 24, 62, 865, 351, 415, 1182),
    "test": (273, 18, 83, 893, 384, 396, 1089),
}


@pytest.mark.parametrize("split", REAL_COUNTS)
def test_real_votes_give_known_counts(real, split):
    faces = load_faces("ferplus", split, real)
    assert tuple(faces.counts().values()) == REAL_COUNTS[split]
    agree = faces.extras["soft"].argmax(dim=1) == faces.labels
    assert bool(agree.all())


def test_one_real_row_of_votes_reaches_its_face(real):
    faces = load_faces("ferplus", "test", real, unlabelled=True)
    row = faces.ids.index("test/angry/PrivateTest_10304478")
    assert faces.extras["votes"][row].tolist() == [1, 0, 0, 0, 9, 0, 0, 0, 0, 0]
    assert EMOTIONS[faces.labels[row]] == "anger"
