"""Folders of class folders, as people keep them."""

import resource
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from occfer.data import load_faces
from occfer.data.folder import folder, write_pictures
from occfer.emotions import EMOTIONS


@pytest.fixture
def put(tmp_path, encode):
    """``put("happy/a.png", value)``: a flat grey 6 x 8 picture of that value."""

    def write(name, value=0, size=(6, 8)):
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(np.full(size, value, np.uint8)))
        return tmp_path / "mine"

    return write


def test_class_folders_become_labels_and_paths_become_ids(put):
    put("sad/b.png", 2)
    put("Happy/deep/er/a.png", 1)
    mine = put("anger/c.png", 3)
    faces = folder(mine)
    assert faces.ids == ("Happy/deep/er/a.png", "anger/c.png", "sad/b.png")
    assert [EMOTIONS[label] for label in faces.labels] == ["happiness", "anger", "sadness"]
    assert faces.images.shape == (3, 3, 6, 8)
    assert faces.images[:, :, 0, 0].tolist() == [[1, 1, 1], [3, 3, 3], [2, 2, 2]]
    assert (faces.name, faces.split) == ("mine", "train")


def test_colours_keep_their_channels(put, encode):
    mine = put("happy/a.png")
    (mine / "happy" / "a.png").write_bytes(encode(np.full((6, 8, 3), (10, 20, 30), np.uint8)))
    assert folder(mine).images[0, :, 5, 7].tolist() == [10, 20, 30]
    assert folder(mine, mode="L").images.shape == (1, 1, 6, 8)


def test_split_folders_are_kept_apart(put):
    put("train/happy/a.png", 1)
    put("validation/happy/b.png", 2)
    mine = put("test/happy/c.png", 3)
    found = {split: load_faces(mine, split).ids for split in ("train", "val", "test")}
    assert found == {
        "train": ("train/happy/a.png",),
        "val": ("validation/happy/b.png",),
        "test": ("test/happy/c.png",),
    }


def test_without_split_folders_nothing_can_be_tested_on(put):
    mine = put("happy/a.png")
    assert len(load_faces(mine)) == 1
    for split in ("val", "test"):
        with pytest.raises(FileNotFoundError, match=f"has no {split} split"):
            load_faces(mine, split)
    with pytest.raises(ValueError, match="train, val, test; got 'pretrain'"):
        load_faces(mine, "pretrain")


def test_a_class_folder_of_unknown_meaning_is_named(put):
    put("happy/a.png")
    mine = put("contempt/b.png")
    with pytest.raises(ValueError, match="contempt is named after no expression"):
        folder(mine)
    assert folder(mine, words={"contempt": -1}).labels.tolist() == [-1, 3]


def test_a_broken_picture_is_named(put):
    mine = put("happy/a.png")
    (mine / "happy" / "b.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"happy/b\.jpg cannot be read"):
        folder(mine)


def test_pictures_of_several_sizes_need_a_size(put):
    put("happy/a.png")
    mine = put("happy/b.png", size=(9, 9))
    with pytest.raises(ValueError, match=r"b\.png has 9 x 9 pixels, .* size=\(112, 112\)"):
        folder(mine)
    assert load_faces(mine, size=(5, 7)).images.shape == (2, 3, 5, 7)


def test_what_is_no_picture_is_passed_by(put):
    mine = put("happy/a.png")
    for name in ("._a.png", "Thumbs.db", "notes.txt"):
        (mine / "happy" / name).write_bytes(b"x")
    (mine / "__MACOSX").mkdir()
    (mine / ".git").mkdir()
    (mine / "happy" / "folder.png").mkdir()
    for hidden in (".thumbnails", "__MACOSX", ".cache/deep"):
        put(f"happy/{hidden}/a.png")
    assert folder(mine).ids == ("happy/a.png",)


def test_two_folders_of_one_split_are_refused(put):
    put("train/happy/a.png")
    put("val/happy/a.png")
    mine = put("valid/sad/b.png")
    for split in ("train", "val"):
        with pytest.raises(ValueError, match="one folder for the val split, got valid beside val"):
            folder(mine, split)


def test_a_class_in_another_class_is_refused(put):
    put("happy/happiness/a.png")
    mine = put("happy/anna/b.png")
    assert len(folder(mine)) == 2
    put("happy/sad/c.png")
    with pytest.raises(ValueError, match=r"happy/sad is named after an .* lies in .*/happy, which"):
        folder(mine)


def test_no_picture_is_passed_over_in_silence(put, encode, tmp_path):
    """Other names of JPEG are read, a linked folder too; another format is named."""
    mine = put("happy/a.png")
    jpeg = encode(np.zeros((6, 8), np.uint8), "JPEG")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "d.JPE").write_bytes(jpeg)
    (mine / "happy" / "b.jfif").write_bytes(jpeg)
    (mine / "happy" / "c").symlink_to(tmp_path / "elsewhere")
    assert folder(mine).ids == ("happy/a.png", "happy/b.jfif", "happy/c/d.JPE")
    (mine / "happy" / "e.tif").write_bytes(encode(np.zeros((6, 8), np.uint8), "TIFF"))
    with pytest.raises(ValueError, match=r"e\.tif cannot be read .* begins like no JPEG"):
        folder(mine)


def test_an_empty_or_missing_folder_says_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no pictures"):
        folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="is no folder"):
        folder(tmp_path / "nowhere")


def test_load_faces_opens_saved_sets(tmp_path, make_faces, same):
    faces = make_faces(4)
    assert same(load_faces(faces.save(tmp_path / "one")), faces)
    with pytest.raises(ValueError, match=r"a saved FaceSet, is read with verify, got size; leave"):
        load_faces(tmp_path / "one", size=(4, 4))
    assert same(load_faces(tmp_path / "one", verify=False), faces)
    with pytest.raises(ValueError, match="holds the train split; 'test' was asked for"):
        load_faces(tmp_path / "one", "test")
    faces.save(tmp_path / "many" / "train")
    assert same(load_faces(tmp_path / "many"), faces)


@pytest.mark.parametrize("name", ["synthfer", "fer2013", "ferplus", "rafdb"])
def test_an_option_that_a_reader_does_not_know_is_named(name):
    with pytest.raises(ValueError, match=rf"^{name} is read with .*, got sise; leave that out"):
        load_faces(name, sise=48)


def test_load_faces_lists_what_there_is(tmp_path):
    with pytest.raises(ValueError, match="synthfer, fer2013, ferplus, rafdb"):
        load_faces("affectnet")


@pytest.mark.parametrize("name", ["fer2013", "ferplus", "rafdb"])
def test_data_that_is_not_there_says_how_to_obtain_it(tmp_path, name):
    kaggle = "occfer get fer2013"
    how = {"fer2013": kaggle, "ferplus": kaggle, "rafdb": "whdeng"}[name]
    for root in (None, tmp_path / "nowhere", tmp_path):
        with pytest.raises(FileNotFoundError, match=rf"{how}.*OCCFER_DATA"):
            load_faces(name, root=root)


def test_the_environment_says_where_data_lies(tmp_path, monkeypatch):
    monkeypatch.setenv("OCCFER_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(FileNotFoundError, match="elsewhere does not exist"):
        load_faces("fer2013")


@pytest.mark.parametrize("channels", [1, 3])
def test_faces_written_as_pictures_are_read_back(make_faces, tmp_path, channels):
    """Ids as those of faces that were cut out of pictures in class folders."""
    faces = make_faces(3, channels=channels, size=(7, 5), landmarks=False)
    ids = ["happy/anna-1.jpg#0", "happy/anna-1.jpg#1", "sad/deep/er/bert.png#0"]
    written = write_pictures(replace(faces, ids=ids), tmp_path / "out" / "pictures")
    back = folder(written, mode="L" if channels == 1 else "RGB")
    assert back.ids == tuple(f"{identifier}.png" for identifier in ids)
    assert torch.equal(back.images, faces.images)
    assert [EMOTIONS[label] for label in back.labels] == ["happiness", "happiness", "sadness"]
    assert not list((tmp_path / "out").glob(".*"))


def test_what_somebody_sorted_is_not_written_over(make_faces, tmp_path):
    faces = make_faces(2)
    written = write_pictures(faces, tmp_path / "pictures")
    (written / "face0.png").rename(written / "moved.png")
    before = sorted(written.iterdir())
    with pytest.raises(FileExistsError, match="exists already; remove it or choose"):
        write_pictures(faces, written)
    assert sorted(written.iterdir()) == before


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (["a/b", "a//b"], "'a/b' and 'a//b' are one file, a/b.png"),
        (["good", "x" * 252], "makes a name of more than 255 bytes"),
        (["good", "脸" * 84 + "/a"], None),
        (["good", "脸" * 86 + "/a"], "makes a name of more than 255 bytes"),
    ],
    ids=["one file", "too long", "just right", "too long for its bytes"],
)
def test_no_face_is_lost_on_the_way_to_its_file(make_faces, tmp_path, ids, said):
    faces = replace(make_faces(2), ids=ids)
    if said is None:
        assert len(list(write_pictures(faces, tmp_path / "pictures").rglob("*.png"))) == 2
        return
    with pytest.raises(ValueError, match=f"{said}; rename that face"):
        write_pictures(faces, tmp_path / "pictures")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "a/../../out", "C:out", "..\\out"])
def test_an_id_leads_nowhere_else(make_faces, tmp_path, name):
    """A saved set comes from somebody else, and so do its ids."""
    faces = replace(make_faces(2), ids=["good", name])
    with pytest.raises(ValueError, match="may lead outside; rename that face"):
        write_pictures(faces, tmp_path / "inner" / "pictures")
    assert not list(tmp_path.rglob("*.png"))


def test_a_full_disk_leaves_no_half_of_the_pictures(make_faces, tmp_path):
    """No file may grow beyond two kilobytes, which is how a full disk feels to the second face."""
    faces = make_faces(2, channels=3, size=(40, 40))
    faces = replace(faces, images=torch.cat([faces.images[:1] * 0, faces.images[1:]]))
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, before[1]))
        with pytest.raises(OSError, match="File too large"):
            write_pictures(faces, tmp_path / "pictures")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert not list(tmp_path.iterdir())
