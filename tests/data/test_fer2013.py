"""FER2013 in all its forms: a few made faces, and the real ones where they are at hand."""

import csv
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from occfer.data import load_faces
from occfer.data.fer2013 import COUNTS, fer2013
from occfer.emotions import EMOTIONS

module = sys.modules["occfer.data.fer2013"]

KAGGLE = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SPLITS = {"train": "Training", "val": "PublicTest", "test": "PrivateTest"}


@pytest.fixture(scope="session")
def rows():
    """Emotion, usage and pixels of 20 faces, as rows of the challenge's table."""
    draw = np.random.default_rng(0)
    usages = ["Training"] * 12 + ["PublicTest"] * 4 + ["PrivateTest"] * 4
    return [
        (number % 7, usage, draw.integers(0, 256, (48, 48), np.uint8))
        for number, usage in enumerate(usages)
    ]


@pytest.fixture
def kaggle(tmp_path, rows, encode):
    """The faces in Kaggle's folders; PNG, so that every pixel survives."""
    folder = tmp_path / "kaggle"
    for number, (emotion, usage, pixels) in enumerate(rows):
        half = "train" if usage == "Training" else "test"
        path = folder / half / KAGGLE[emotion] / f"{usage}_{1000 - number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(pixels))
    return folder


def test_folders_behind_links_are_read_too(kaggle, tmp_path):
    before = fer2013("train", kaggle, check_counts=False)
    (kaggle / "train" / "happy").rename(tmp_path / "elsewhere")
    (kaggle / "train" / "happy").symlink_to(tmp_path / "elsewhere")
    assert fer2013("train", kaggle, check_counts=False).sha256 == before.sha256


def write_table(path, rows, columns=("emotion", "pixels", "Usage")):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for emotion, usage, pixels in rows:
            text = pixels if isinstance(pixels, str) else " ".join(map(str, pixels.flatten()))
            values = {"emotion": emotion, "Usage": usage, "pixels": text}
            writer.writerow([values[column.strip()] for column in columns])
    return path


def pixels_by_label(faces):
    """What is left when ids, which differ from form to form, are taken away."""
    pairs = zip(faces.labels.tolist(), faces.images, strict=True)
    return sorted((label, image.numpy().tobytes()) for label, image in pairs)


@pytest.mark.parametrize("split", SPLITS)
def test_folders_give_their_faces_sorted_by_id(kaggle, rows, split):
    faces = fer2013(split, kaggle, check_counts=False)
    expected = {
        f"{'train' if split == 'train' else 'test'}/{KAGGLE[emotion]}/{usage}_{1000 - number}": (
            emotion,
            pixels,
        )
        for number, (emotion, usage, pixels) in enumerate(rows)
        if usage == SPLITS[split]
    }
    assert list(faces.ids) == sorted(expected)
    for identifier, label, image in zip(faces.ids, faces.labels, faces.images, strict=True):
        assert label == expected[identifier][0]
        assert np.array_equal(image[0].numpy(), expected[identifier][1])
    assert (faces.name, faces.split) == ("fer2013", split)


@pytest.mark.parametrize("suffix", [".tar.xz", ".tar.gz", ".tar", ".zip"])
@pytest.mark.parametrize("inside", ["", "fer2013/"])
def test_an_archive_gives_the_same_set_as_its_folder(tmp_path, kaggle, suffix, inside):
    archive = tmp_path / f"fer2013{suffix}"
    files = [path for path in kaggle.rglob("*") if path.is_file()]
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as out:
            for path in files:
                out.write(path, inside + str(path.relative_to(kaggle)))
    else:
        with tarfile.open(archive, f"w:{suffix.rpartition('.')[2].replace('tar', '')}") as out:
            for path in files:
                out.add(path, inside + str(path.relative_to(kaggle)))
    for split in SPLITS:
        found = fer2013(split, archive, check_counts=False)
        assert found.sha256 == fer2013(split, kaggle, check_counts=False).sha256


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("fer2013.csv", ("emotion", "pixels", "Usage")),
        ("icml_face_data.csv", ("emotion", " Usage", " pixels")),
    ],
)
def test_tables_give_the_same_faces_as_folders(tmp_path, kaggle, rows, name, columns):
    write_table(tmp_path / name, rows, columns)
    for split in SPLITS:
        found = fer2013(split, tmp_path, check_counts=False)
        assert pixels_by_label(found) == pixels_by_label(fer2013(split, kaggle, check_counts=False))
    # Rows are counted over the whole table from 0, as FER+ counts them.
    assert found.ids == tuple(f"PrivateTest_row000{row}" for row in range(16, 20))


def test_a_table_may_begin_with_a_byte_order_mark(tmp_path, rows):
    table = write_table(tmp_path / "fer2013.csv", rows)
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    assert len(fer2013("train", table, check_counts=False)) == 12


def test_a_table_inside_an_archive_is_read(tmp_path, rows):
    write_table(tmp_path / "table", rows)
    with tarfile.open(tmp_path / "fer2013.tar.gz", "w:gz") as out:
        out.add(tmp_path / "table", "fer2013/fer2013.csv")
        out.add(tmp_path / "table", "fer2013/README")
    assert len(fer2013("train", tmp_path, check_counts=False)) == 12


def test_a_folder_holding_one_of_the_forms_will_do(tmp_path, kaggle):
    kaggle.rename(tmp_path / "fer2013")
    assert len(fer2013("train", tmp_path, check_counts=False)) == 12


def test_an_incomplete_copy_is_refused_with_what_is_missing(kaggle):
    with pytest.raises(
        ValueError,
        match=r"train split \(Training\) must hold 28,709 faces, .*kaggle holds 12: "
        r"anger 2 of 3,995, disgust 2 of 436, .*check_counts=False",
    ):
        load_faces("fer2013", root=kaggle)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "train/angry/Training_1.jpg").write_bytes(b"x"), r"Training_1\.jpg cannot"),
        (
            lambda f: (f / "train/angry").rename(f / "train/contempt"),
            r"contempt/Training_\d+\.png lies in a folder of unknown meaning",
        ),
        (
            lambda f: (
                (f / "train/angry/Training_1000.png").rename(f / "train/sad/Training_996.png")
                and (f / "train/sad/Training_996.jpg").write_bytes(
                    (f / "train/sad/Training_996.png").read_bytes()
                )
            ),
            "'train/sad/Training_996' occurs more than once",
        ),
    ],
)
def test_a_bad_picture_is_refused_by_name(kaggle, damage, message):
    damage(kaggle)
    with pytest.raises(ValueError, match=message):
        fer2013("test", kaggle, check_counts=False)


def test_a_picture_of_another_size_is_refused_by_name(kaggle, encode):
    (kaggle / "test/happy/PublicTest_7.png").write_bytes(encode(np.zeros((50, 48), np.uint8)))
    with pytest.raises(ValueError, match=r"PublicTest_7\.png must be 48 x 48"):
        fer2013("test", kaggle, check_counts=False)


def test_pictures_that_do_not_say_their_split_are_refused(tmp_path, encode):
    (tmp_path / "train" / "happy").mkdir(parents=True)
    (tmp_path / "train" / "happy" / "im0.png").write_bytes(encode(np.zeros((48, 48), np.uint8)))
    with pytest.raises(ValueError, match="no picture named as in FER2013"):
        fer2013("train", tmp_path)


def test_what_a_mac_leaves_beside_a_picture_is_passed_by(kaggle):
    (kaggle / "train" / "angry" / "._Training_1.png").write_bytes(b"x")
    (kaggle / ".DS_Store").write_bytes(b"x")
    assert len(fer2013("train", kaggle, check_counts=False)) == 12


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((7, "Training", np.zeros((48, 48), int)), "from 0 to 6, got 7"),
        (("x", "Training", np.zeros((48, 48), int)), "invalid literal"),
        ((0, "Test", np.zeros((48, 48), int)), "its Usage is 'Test'"),
        ((0, "Training", np.zeros((48, 47), int)), "reshape"),
        ((0, "Training", np.full((48, 48), 256)), r"range\(0, 256\)"),
        ((0, "Training", np.full((48, 48), -1)), r"range\(0, 256\)"),
        ((0, "Training", "1.5 " * 2304), "invalid literal"),
        ((0, "Training", "1" * 200_000), "larger than field limit"),
    ],
)
def test_a_damaged_row_is_named(tmp_path, rows, row, message):
    table = write_table(tmp_path / "fer2013.csv", [*rows[:3], row, *rows[4:]])
    with pytest.raises(ValueError, match=rf"fer2013\.csv must .* at row [23] .*{message}"):
        fer2013("train", table, check_counts=False)


@pytest.mark.parametrize("content", [b"", b"emotion,pixels\n0,1\n", b"\xff\xfe\x00", b"a,b\n"])
def test_a_table_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "fer2013.csv").write_bytes(content)
    with pytest.raises(ValueError, match="must have the columns emotion, pixels and Usage"):
        fer2013("train", tmp_path)


def test_a_line_cut_short_is_refused(tmp_path, rows):
    table = write_table(tmp_path / "fer2013.csv", rows)
    table.write_text(table.read_text().rstrip().rpartition(",")[0])
    with pytest.raises(ValueError, match="row 19 it has 2 columns instead of 3"):
        fer2013("train", tmp_path)


def test_another_split_is_refused_with_the_known_ones(kaggle):
    with pytest.raises(ValueError, match="train, val, test; got 'PrivateTest'"):
        fer2013("PrivateTest", kaggle)


def test_the_known_counts_add_up():
    totals = {split: sum(counts.values()) for split, counts in COUNTS.items()}
    assert totals == {"train": 28_709, "val": 3_589, "test": 3_589}


REAL_SHA256 = {
    "train": "5d02e3182373dd0291e1e3a7503d1edd25624fc6977e47f57acdd5349ee106ac",
    "val": "3043ffebdc5ffd36d2d50e532eeffc01992a8021f41e9bc3fb20b97d0db8c591",
    "test": "0ff9ef2d14330f48c531cb01d1e0671e996cf02d6ff92ae351c308e84f318cd4",
}


@pytest.mark.parametrize("split", SPLITS)
def test_the_real_faces_are_the_known_ones(shared_data, real_cache, monkeypatch, split):
    monkeypatch.setenv("OCCFER_CACHE", str(real_cache))
    faces = load_faces("fer2013", split, shared_data)
    assert faces.counts() == COUNTS[split]
    assert faces.images.shape[1:] == (1, 48, 48)
    assert list(faces.ids) == sorted(faces.ids)
    assert faces.sha256 == REAL_SHA256[split]


def test_the_second_load_decodes_nothing(shared_data, real_cache, monkeypatch):
    def decode_again(source):
        raise AssertionError("decoded again")

    monkeypatch.setenv("OCCFER_CACHE", str(real_cache))
    monkeypatch.setattr(module, "read", decode_again)
    assert len(fer2013("test", shared_data)) == 3_589


def test_one_real_face_is_where_it_should_be(shared_data, real_cache, monkeypatch):
    monkeypatch.setenv("OCCFER_CACHE", str(real_cache))
    faces = fer2013("test", shared_data)
    row = faces.ids.index("test/angry/PrivateTest_10131363")
    assert EMOTIONS[faces.labels[row]] == "anger"
    assert faces.images[row].float().std() > 10


def test_a_file_name_stands_for_two_real_pictures_so_ids_hold_the_folder(
    shared_data, real_cache, monkeypatch
):
    monkeypatch.setenv("OCCFER_CACHE", str(real_cache))
    faces = fer2013("train", shared_data)
    one, other = (
        faces.ids.index(f"train/{emotion}/Training_8475486") for emotion in ("angry", "surprise")
    )
    assert not torch.equal(faces.images[one], faces.images[other])
