"""What a ``FaceSet`` keeps together, refuses, and says about itself."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from occfer.data import FaceSet
from occfer.data.faceset import pieces


def plain_parts(count=3, **changes) -> dict:
    parts = {
        "images": torch.zeros(count, 1, 4, 4, dtype=torch.uint8),
        "labels": torch.zeros(count, dtype=torch.int64),
        "ids": [str(number) for number in range(count)],
    }
    return parts | changes


def plain(count=3, **changes) -> FaceSet:
    return FaceSet(**plain_parts(count, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": torch.zeros(3, 1, 4, 4)}, r"images .* got float32 \[3, 1, 4, 4\]"),
        ({"images": torch.zeros(3, 4, 4, dtype=torch.uint8)}, "images"),
        ({"images": torch.zeros(3, 2, 4, 4, dtype=torch.uint8)}, "1 or 3 channels"),
        ({"images": torch.zeros(3, 1, 0, 4, dtype=torch.uint8)}, "images"),
        ({"images": np.zeros((3, 1, 4, 4), np.uint8)}, "images .* got ndarray"),
        ({"labels": torch.zeros(2, dtype=torch.int64)}, r"labels .*\[3\], got int64 \[2\]"),
        ({"labels": torch.zeros(3, dtype=torch.int32)}, "labels .* got int32"),
        ({"labels": torch.tensor([0, 7, 0])}, "labels must lie in 0..6, .* got 7"),
        ({"labels": torch.tensor([0, -2, 0])}, "got -2"),
        ({"ids": ["a", "b"]}, "ids must be 3 strings"),
        ({"ids": ["a", "b", 3]}, "ids must be 3 strings"),
        ({"ids": ["a", "b", "a"]}, "'a' occurs more than once"),
        ({"landmarks": torch.zeros(3, 5, 3)}, "landmarks"),
        ({"landmarks": torch.zeros(3, 5, 2).double()}, "landmarks .* got float64"),
        ({"extras": {"age": torch.zeros(2)}}, r"extras\['age'\] must be a tensor with 3 rows"),
        ({"extras": {"age": [1, 2, 3]}}, r"extras\['age'\] .* got list"),
        ({"split": 5}, "split must be a string, got int"),
        ({"name": {"a": 1}}, "name must be a string, got dict"),
    ],
)
def test_a_part_that_does_not_fit_is_named(unchecked, changes, message):
    with pytest.raises(ValueError, match=message):
        unchecked(FaceSet.__init__)(object.__new__(FaceSet), **plain_parts(**changes))


def test_parts_on_two_devices_are_refused():
    with pytest.raises(ValueError, match="one device, got cpu and meta"):
        plain(extras={"age": torch.zeros(3, device="meta")})


def test_it_never_changes(make_faces):
    faces = make_faces()
    with pytest.raises(dataclasses.FrozenInstanceError):
        faces.labels = torch.zeros(6, dtype=torch.int64)
    extras = {"age": torch.zeros(3)}
    kept = plain(extras=extras)
    extras["age"] = None
    assert kept.extras["age"] is not None


@given(st.data())
def test_any_slice_takes_the_rows_that_a_list_would(make_faces, same, data):
    count = data.draw(st.integers(0, 8))
    faces = make_faces(count)
    index = data.draw(st.slices(count))
    rows = list(range(count))[index]
    assert faces[index].ids == tuple(faces.ids[row] for row in rows)
    assert same(faces[index], faces[torch.tensor(rows, dtype=torch.int64)])


@given(st.lists(st.booleans(), max_size=8))
def test_a_mask_takes_the_rows_that_are_true(make_faces, same, mask):
    faces = make_faces(len(mask))
    rows = [row for row, chosen in enumerate(mask) if chosen]
    chosen = faces[torch.tensor(mask, dtype=torch.bool)]
    assert chosen.ids == tuple(faces.ids[row] for row in rows)
    assert same(chosen, faces[rows])


@given(st.permutations(range(6)), st.integers(0, 6))
def test_an_index_tensor_takes_all_parts_in_its_order(make_faces, order, count):
    faces, order = make_faces(6), order[:count]
    chosen = faces[torch.tensor(order, dtype=torch.int64)]
    assert chosen.ids == tuple(faces.ids[row] for row in order)
    for number, row in enumerate(order):
        assert torch.equal(chosen.images[number], faces.images[row])
        assert chosen.labels[number] == faces.labels[row]
        assert torch.equal(chosen.landmarks[number], faces.landmarks[row])
        assert chosen.extras["age"][number] == row


def test_negative_indices_and_numpy_arrays_are_indices_too(make_faces):
    assert make_faces(6)[[-1, 0]].ids == ("face5", "face0")
    assert make_faces(6)[np.array([2, 1])].ids == ("face2", "face1")


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int32])
def test_an_index_of_any_whole_numbers_takes_the_same_faces(make_faces, kind):
    """PyTorch itself takes bytes for a mask."""
    index = np.array([1, 0, 1, 1, 0, 5], kind)[[5, 0, 1]]
    assert make_faces(6)[index].ids == ("face5", "face1", "face0")


def test_fractions_are_no_index(make_faces):
    with pytest.raises(TypeError, match=r"booleans or whole numbers, got float64 \[2\]"):
        make_faces(6)[np.array([1.0, 0.0])]
    assert len(make_faces(6)[[]]) == 0


def test_a_slice_shares_the_pixels(make_faces):
    faces = make_faces(6)
    assert faces[2:].images.data_ptr() == faces.images[2].data_ptr()


def test_an_index_outside_or_of_another_length_is_an_error(make_faces, unchecked):
    faces = make_faces(6)
    with pytest.raises(IndexError):
        faces[[6]]
    with pytest.raises(IndexError):
        faces[torch.ones(5, dtype=torch.bool)]
    with pytest.raises(TypeError, match=r"faces\[i:i\+1\]"):
        unchecked(FaceSet.__getitem__)(faces, 0)
    with pytest.raises(ValueError, match="'face1' occurs more than once"):
        faces[[1, 1]]


def test_size_is_height_and_width():
    assert plain(images=torch.zeros(3, 1, 4, 9, dtype=torch.uint8)).size == (4, 9)


def test_counts_hold_all_seven_and_leave_out_the_unlabelled():
    faces = plain(4, labels=torch.tensor([3, 3, 6, -1]))
    assert faces.counts() == {
        "anger": 0,
        "disgust": 0,
        "fear": 0,
        "happiness": 2,
        "sadness": 0,
        "surprise": 0,
        "neutral": 1,
    }
    assert faces.describe()["unlabelled"] == 1


def test_the_description_survives_json(make_faces):
    faces = make_faces(6)
    described = json.loads(json.dumps(faces.describe()))
    assert described == faces.describe()
    assert described["count"] == 6
    assert described["size"] == [4, 5]
    assert described["sha256"] == faces.sha256


def test_the_hash_of_one_known_set_never_changes():
    # Recorded runs name their data by this; a change here cuts them off from it.
    assert plain(2, ids=["a", "b"]).sha256 == (
        "8abddc3698ba036eda9f6da53613506bd8fb782a1b52a30a94c773befb0f955c"
    )


@pytest.mark.parametrize("part", ["pixel", "label", "id", "landmark", "landmarks", "shape"])
def test_the_hash_changes_with_every_part_of_the_content(make_faces, part):
    faces = make_faces(6)
    images, labels = faces.images.clone(), faces.labels.clone()
    landmarks = faces.landmarks.clone()
    images[5, 0, 3, 4] ^= 1
    labels[5] = (labels[5] + 1) % 7
    landmarks[5, 4, 1] += 1
    other = {
        "pixel": {"images": images},
        "label": {"labels": labels},
        "id": {"ids": [*faces.ids[:5], "else"]},
        "landmark": {"landmarks": landmarks},
        "landmarks": {"landmarks": None},
        "shape": {"images": faces.images.reshape(6, 1, 5, 4)},
    }[part]
    assert dataclasses.replace(faces, **other).sha256 != faces.sha256


def test_the_hash_does_not_see_layout_name_split_or_extras(make_faces):
    faces = make_faces(6, channels=3)
    strided = faces.images.contiguous(memory_format=torch.channels_last)
    assert strided.stride() != faces.images.stride()
    other = dataclasses.replace(faces, images=strided, name="x", split="y", extras={})
    assert other.sha256 == faces.sha256


@given(st.integers(0, 9), st.integers(1, 40))
def test_pieces_put_together_are_the_whole(count, size):
    whole = torch.arange(count * 6).reshape(count, 2, 3)
    parts = list(pieces(whole, size))
    assert sum(map(len, parts)) == count
    assert torch.equal(torch.cat([whole[:0], *parts]), whole)


def test_pieces_stay_small():
    whole = torch.zeros(1000, 10, dtype=torch.uint8)
    assert max(piece.numel() for piece in pieces(whole, 100)) == 100


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_concatenation_undoes_slicing(make_faces, same, lengths):
    faces = make_faces(sum(lengths))
    ends = np.cumsum(lengths)
    parts = [faces[end - length : end] for end, length in zip(ends, lengths, strict=True)]
    assert same(FaceSet.concat(parts), faces)


def test_concatenation_joins_names_and_keeps_the_extras_all_have(make_faces):
    one, other = make_faces(2, name="a"), make_faces(3, name="b", prefix="other")
    other = dataclasses.replace(other, split="test", extras={"age": other.extras["age"]})
    both = FaceSet.concat([one, other])
    assert (both.name, both.split, len(both)) == ("a+b", "train+test", 5)
    assert both.extras["age"].tolist() == [0, 1, 0, 1, 2]
    assert "soft" not in both.extras
    assert FaceSet.concat([one, other], name="pool", split="all").name == "pool"


def test_sets_that_do_not_fit_are_not_joined(make_faces):
    with pytest.raises(ValueError, match="at least one"):
        FaceSet.concat([])
    with pytest.raises(ValueError, match="one shape"):
        FaceSet.concat([make_faces(2), make_faces(2, channels=3, prefix="other")])
    with pytest.raises(ValueError, match="landmarks or none"):
        FaceSet.concat([make_faces(2), make_faces(2, landmarks=False, prefix="other")])
    with pytest.raises(ValueError, match="more than once"):
        FaceSet.concat([make_faces(2), make_faces(2)])
    one, other = plain(2, extras={"a": torch.zeros(2, 3)}), make_faces(1, size=(4, 4))
    other = dataclasses.replace(other, landmarks=None, extras={"a": torch.zeros(1, 4)})
    with pytest.raises(
        ValueError, match=r"extras\['a'\] must have one shape .* \[\(3,\), \(4,\)\]"
    ):
        FaceSet.concat([one, other])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_set_on_a_gpu_is_the_same_set(make_faces, same):
    faces = make_faces(50)
    moved = faces.to("cuda")
    assert moved.device.type == "cuda"
    assert moved.extras["soft"].is_cuda
    assert moved.sha256 == faces.sha256
    assert same(moved[torch.tensor([3, 1], device="cuda")].to("cpu"), faces[[3, 1]])
    with pytest.raises(IndexError):
        moved[[50]]
