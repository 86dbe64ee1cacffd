"""RAF-DB's layout, made small: a few flat pictures under the official names."""

import numpy as np
import pytest

from occfer.data import FaceSet, load_faces
from occfer.data.rafdb import COUNTS, Entry, rafdb, read_list, validation
from occfer.emotions import EMOTIONS

# RAF-DB's own numbers, 1 surprise to 7 neutral.
NAMES = (None, "surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")


@pytest.fixture(params=[("", "aligned"), ("basic/EmoLabel", "basic/Image/aligned")])
def official(tmp_path, encode, request):
    """70 training and 7 test faces; face i of a split is flat grey of value i."""
    labels, pictures = (tmp_path / "raf" / part for part in request.param)
    labels.mkdir(parents=True, exist_ok=True)
    pictures.mkdir(parents=True, exist_ok=True)
    lines = []
    for split, count in (("train", 70), ("test", 7)):
        for number in range(1, count + 1):
            lines.append(f"{split}_{number:05d}.jpg {(number - 1) % 7 + 1}")
            pixels = np.full((100, 100, 3), number, np.uint8)
            path = pictures / f"{split}_{number:05d}_aligned.jpg"
            path.write_bytes(encode(pixels, "PNG"))
    (labels / "list_patition_label.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "raf"


def find(folder, name):
    return next(folder.rglob(name))


def test_every_face_has_the_label_of_its_line(official):
    faces = rafdb("test", official, check_counts=False)
    assert faces.ids == tuple(f"test_{number:05d}" for number in range(1, 8))
    assert [EMOTIONS[label] for label in faces.labels] == list(NAMES[1:])
    assert faces.images.shape == (7, 3, 100, 100)
    assert faces.images[:, 0, 50, 50].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert (faces.name, faces.split) == ("rafdb", "test")


def test_train_and_val_are_the_official_training_split(official):
    train, val = (rafdb(split, official, check_counts=False) for split in ("train", "val"))
    assert (len(train), len(val)) == (63, 7)
    assert set(val.counts().values()) == {1}
    both = FaceSet.concat([train, val])
    assert sorted(both.ids) == [f"train_{number:05d}" for number in range(1, 71)]
    assert both.images[:, 0, 0, 0].tolist() == [int(name.split("_")[1]) for name in both.ids]


def test_validation_takes_the_same_tenth_of_every_expression():
    counts = dict(zip(EMOTIONS, COUNTS["train"].values(), strict=True))
    entries = [
        Entry(f"train_{label}_{number}", label)
        for label, count in enumerate(counts.values())
        for number in range(count)
    ]
    chosen = validation(entries)
    for label, count in enumerate(counts.values()):
        assert sum(entry.label == label for entry in chosen) == round(count / 10)
    assert len(chosen) == 1_226
    assert validation(list(reversed(entries))) == chosen
    assert validation(entries, seed=1) != chosen


def test_validation_never_changes():
    entries = [Entry(f"train_{number:05d}", 3) for number in range(1, 31)]
    assert sorted(entry.id for entry in validation(entries)) == [
        "train_00005",
        "train_00006",
        "train_00019",
    ]


def test_the_known_counts_add_up():
    assert {split: sum(counts.values()) for split, counts in COUNTS.items()} == {
        "train": 12_271,
        "test": 3_068,
    }


def test_an_incomplete_list_is_refused_with_what_is_missing(official):
    with pytest.raises(ValueError, match=r"must hold 12,271 faces, .* holds 70: anger 10 of 705"):
        load_faces("rafdb", "test", official)


def test_a_missing_picture_is_named(official):
    find(official, "train_00003_aligned.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks 1 of 77 .* train_00003_aligned\.jpg"):
        rafdb("test", official, check_counts=False)


def test_a_broken_picture_is_named(official):
    find(official, "train_00003_aligned.jpg").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"train_00003_aligned\.jpg cannot be read"):
        rafdb("test", official, check_counts=False)


def test_a_picture_of_another_size_is_named(official, encode):
    path = find(official, "train_00003_aligned.jpg")
    path.write_bytes(encode(np.zeros((100, 90), np.uint8)))
    with pytest.raises(ValueError, match=r"train_00003_aligned\.jpg must be 100 x 100"):
        rafdb("test", official, check_counts=False)


@pytest.mark.parametrize(
    "line",
    [
        "train_00001.jpg 0",
        "train_00001.jpg 8",
        "train_00001.jpg",
        "train_00001.jpg happy",
        "train_../../../etc/passwd.jpg 1",
        "train_1/../train_00001.jpg 1",
        "train_00001.png 1",
        "valid_00001.jpg 1",
        "",
    ],
)
def test_a_line_of_another_form_is_named(tmp_path, line):
    labels = tmp_path / "list_patition_label.txt"
    labels.write_text(f"train_00002.jpg 5\n{line}\n")
    with pytest.raises(ValueError, match="but line 2 is"):
        read_list(labels)


def test_a_list_in_another_encoding_is_named(tmp_path):
    labels = tmp_path / "list_patition_label.txt"
    labels.write_text("train_00002.jpg 5\n", encoding="utf-16")
    with pytest.raises(ValueError, match=r"label\.txt must be a text in UTF-8, but is not"):
        read_list(labels)


def test_a_face_listed_twice_is_refused(tmp_path):
    labels = tmp_path / "list_patition_label.txt"
    labels.write_text("train_00002.jpg 5\ntrain_00002.jpg 6\n")
    with pytest.raises(ValueError, match="got train_00002 again"):
        read_list(labels)


def test_a_list_without_pictures_says_how_to_obtain_them(tmp_path):
    (tmp_path / "list_patition_label.txt").touch()
    with pytest.raises(FileNotFoundError, match=r"aligned.*whdeng.*aligned\.zip"):
        rafdb("train", tmp_path)
