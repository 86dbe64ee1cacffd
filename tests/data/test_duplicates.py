"""Faces that are the same: by every pixel, or as one photograph in two files."""

from dataclasses import replace
from io import BytesIO
from itertools import combinations

import imagehash
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from occfer.data import FaceSet
from occfer.data.duplicates import (
    DISTANCE,
    drop_duplicates,
    drop_leaks,
    find_duplicates,
    near,
    occurs_in,
    perceptual_hashes,
    pixel_hashes,
)


def grey(values: list[int], split: str, labels: list[int] | None = None) -> FaceSet:
    """Faces of 8 x 8 pixels: the same value, the same pixels."""
    draw = np.random.default_rng(0)
    kinds = draw.integers(0, 256, (1 + max(values, default=0), 1, 8, 8), np.uint8)
    return FaceSet(
        images=torch.from_numpy(kinds[values]),
        labels=torch.tensor([3] * len(values) if labels is None else labels, dtype=torch.int64),
        ids=[f"{split}{number}" for number in range(len(values))],
        split=split,
    )


def again(faces: FaceSet, change, split: str = "again") -> FaceSet:
    """The same faces after ``change`` of each as a Pillow picture."""
    changed = [
        np.asarray(change(Image.fromarray(image.permute(1, 2, 0).numpy())))
        for image in faces.images
    ]
    images = torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2).contiguous()
    return replace(faces, images=images, split=split)


def jpeg(picture: Image.Image) -> Image.Image:
    file = BytesIO()
    picture.save(file, "JPEG", quality=60)
    return Image.open(file)


@pytest.fixture(scope="module")
def people(synthfer_test) -> FaceSet:
    """One face each of the rendered test people."""
    _, first = np.unique(synthfer_test.extras["identity"].numpy(), return_index=True)
    return synthfer_test[first]


def test_groups_splits_and_labels_are_counted() -> None:
    train = grey([0, 1, 2, 2, 0, 3, 5, 5], "train", labels=[0, 1, 2, 2, 0, -1, 6, 6])
    test = grey([2, 4, 3, 0], "test", labels=[2, 2, 6, 5])
    found = find_duplicates(train, test)
    assert [[member.id for member in group] for group in found.groups] == [
        ["train0", "train4", "test3"],
        ["train2", "train3", "test0"],
        ["train5", "test2"],
        ["train6", "train7"],
    ]
    assert found.counts() == {
        "distance": None,
        "faces": {"train": 8, "test": 4},
        "groups": 4,
        "members": 10,
        "spare": 6,
        "across": 3,
        "contradictory": 1,  # the first; an unlabelled face contradicts nobody
        "shared": {"train": {"train": 6, "test": 5}, "test": {"train": 3, "test": 0}},
    }
    assert list(found.lines())[:3] == [
        "group\tsplit\texpression\tid", "0\ttrain\tanger\ttrain0", "0\ttrain\tanger\ttrain4",
    ]  # fmt: skip
    assert "2\ttrain\t\ttrain5" in list(found.lines())


def test_sets_without_duplicates_have_none() -> None:
    found = find_duplicates(grey([0, 1], "train"), grey([2], "test"))
    assert (found.groups, found.spare, found.across) == ((), 0, 0)
    assert find_duplicates(grey([], "train")).groups == ()
    assert find_duplicates(grey([], "train"), distance=4).groups == ()


def test_sets_of_one_name_are_not_told_apart() -> None:
    with pytest.raises(ValueError, match=r"splits of their own, got \['train', 'train'\]"):
        find_duplicates(grey([0], "train"), grey([0], "train"))


def test_sets_without_splits_are_told_apart_by_their_names() -> None:
    one, other = (replace(grey([0], ""), name=name) for name in ("fer2013", "rafdb"))
    found = find_duplicates(one, other)
    assert found.splits == {"fer2013": 1, "rafdb": 1}
    assert found.across == 1


@given(st.lists(st.integers(0, 4), max_size=12), st.lists(st.integers(0, 4), max_size=12))
def test_a_leak_is_a_face_whose_pixels_are_held_out(values, held_out) -> None:
    train, test = grey([*values, 4], "train"), grey([*held_out, 4], "test")
    kept = drop_leaks(train, test)
    assert set(pixel_hashes(kept)).isdisjoint(pixel_hashes(test))
    expected = [f"train{n}" for n, value in enumerate([*values, 4]) if value not in [*held_out, 4]]
    assert list(kept.ids) == expected


def test_one_of_each_group_stays() -> None:
    faces = grey([5, 1, 5, 2, 1, 1, 0], "")
    assert drop_duplicates(faces).ids == ("0", "1", "3", "6")
    assert len(drop_duplicates(drop_duplicates(faces))) == 4


def test_hashes_are_imagehashs(people) -> None:
    for faces in (people[:5], replace(people[:5], images=people.images[:5, :1])):
        for number, image in zip(perceptual_hashes(faces), faces.images, strict=True):
            pixels = image.permute(1, 2, 0).squeeze(2).numpy()
            assert f"{number:016x}" == str(imagehash.phash(Image.fromarray(pixels)))


def bits(number: int) -> int:
    return int(number).bit_count()


@given(
    st.lists(st.integers(0, 2**64 - 1), max_size=8),
    st.lists(st.lists(st.integers(0, 63), max_size=8), max_size=8),
    st.integers(0, 8),
)
def test_all_near_pairs_are_found_and_no_others(numbers, flips, distance) -> None:
    for number, places in zip(numbers.copy(), flips, strict=False):
        for place in places:
            number ^= 1 << place
            numbers.append(number)
    hashes = np.unique(np.array(numbers, np.uint64))
    expected = [
        [i, j] for i, j in combinations(range(len(hashes)), 2)
        if bits(hashes[i] ^ hashes[j]) <= distance
    ]  # fmt: skip
    assert near(hashes, distance).tolist() == expected


@pytest.mark.parametrize(
    "change",
    [
        jpeg,
        lambda picture: ImageEnhance.Brightness(picture).enhance(0.8),
        lambda picture: picture.resize((96, 96), Image.Resampling.BICUBIC),
        lambda picture: picture.convert("L").convert("RGB"),
    ],
    ids=["compressed", "darker", "larger", "grey"],
)
def test_a_photograph_is_known_again_and_people_are_told_apart(people, change) -> None:
    copies = again(people, change)
    assert not occurs_in(people, copies).any()
    assert occurs_in(people, copies, distance=DISTANCE).float().mean() >= 0.95
    found = find_duplicates(people, copies, distance=DISTANCE)
    assert {len({member.id for member in group}) for group in found.groups} == {1}
    assert len(drop_leaks(people, copies, distance=DISTANCE)) <= 0.05 * len(people)


def test_the_first_copy_of_a_photograph_stays_in_its_place(people) -> None:
    copies = again(people, jpeg)
    renamed = replace(copies, ids=[f"{identifier} again" for identifier in copies.ids])
    kept = drop_duplicates(FaceSet.concat([people, renamed]), distance=DISTANCE)
    assert kept.ids[: len(people)] == people.ids
    assert len(kept) <= 1.05 * len(people)


def test_a_leak_is_near_a_held_out_face_itself_not_near_a_leak(monkeypatch) -> None:
    """Train 0 is near the test face, and train 1 near train 0: only train 0 leaks."""
    train, test = grey([0, 1], "train"), grey([2], "test")
    hashes = {train: [0, 0b1111_0000], test: [0b0000_1111]}
    monkeypatch.setattr(
        "occfer.data.duplicates.perceptual_hashes", lambda faces: np.array(hashes[faces], np.uint64)
    )
    assert occurs_in(train, test, distance=4).tolist() == [True, False]
    [group] = find_duplicates(train, test, distance=4).groups
    assert len(group) == 3


def test_even_faces_are_all_near() -> None:
    flat = torch.tensor([0, 7, 255], dtype=torch.uint8)[:, None, None, None].expand(3, 1, 48, 48)
    faces = FaceSet(flat.contiguous(), torch.tensor([0, 0, 0]), ["a", "b", "c"])
    assert drop_duplicates(faces, distance=1).ids == ("a",)
    assert len(drop_duplicates(faces)) == 3


@pytest.mark.parametrize("distance", [-1, 16, 64])
def test_a_distance_out_of_range_is_refused(distance) -> None:
    with pytest.raises(ValueError, match=f"from 0 to 15 bits, got {distance}; 4 finds"):
        find_duplicates(grey([0], "train"), distance=distance)
