import functools
import json
import math
from dataclasses import replace

import pytest
import torch

from occfer.cli import main
from occfer.data import FaceSet
from occfer.data.faceset import tensor_sha256
from occfer.occlusion import testsets
from occfer.occlusion.testsets import (
    BLOCKS,
    SYNTHETIC,
    Manifest,
    fitting,
    hashed_noise,
    make_manifest,
    occluded,
    restore,
)  # fmt: skip

FEW = ("block-0", "block-30", "glasses")


@pytest.fixture(scope="module")
def few(synthfer_test) -> FaceSet:
    return synthfer_test[:7]


@pytest.fixture(scope="module")
def manifest(few) -> Manifest:
    return make_manifest(few, FEW)


def test_there_are_seven_shares_and_eleven_items() -> None:
    assert tuple(f"block-{percent}" for percent in range(0, 31, 5)) == BLOCKS
    assert len(SYNTHETIC) == 18


@pytest.mark.parametrize("variant", FEW)
def test_the_batch_size_changes_no_pixel(few, variant, monkeypatch) -> None:
    whole = occluded(few, variant)
    monkeypatch.setattr(testsets, "BATCH", 2)
    pieces = occluded(few, variant)
    assert torch.equal(whole.images, pieces.images)
    assert torch.equal(whole.extras["covered"], pieces.extras["covered"])


def test_outside_of_the_mask_a_block_leaves_everything_and_inside_little(few) -> None:
    made = occluded(few, "block-30")
    mask = made.extras["covered"]
    assert (mask.sum(dim=(1, 2)) == round(0.3 * 48 * 48)).all()
    same = made.images == few.images
    assert same.all(dim=1)[~mask].all()
    assert same.all(dim=1)[mask].float().mean() < 0.01
    assert torch.equal(occluded(few, "block-0").images, few.images)
    assert torch.equal(made.labels, few.labels)


@pytest.mark.parametrize("variant", ["block-20", "surgical_mask"])
def test_a_few_faces_are_covered_as_among_all(few, variant) -> None:
    rows = torch.tensor([5, 0, 3])
    alone, among = occluded(few, variant, only=rows), occluded(few, variant)[rows]
    assert alone.sha256 == among.sha256
    assert alone.ids == among.ids
    assert torch.equal(alone.extras["covered"], among.extras["covered"])


@pytest.mark.parametrize("variant", ["block-20", "cap"])
def test_of_no_faces_none_are_covered(few, variant) -> None:
    nobody = torch.zeros(0, dtype=torch.int64)
    for made in (occluded(few[:0], variant), occluded(few, variant, only=nobody)):
        assert made.images.shape == (0, *few.images.shape[1:])
        assert made.extras["covered"].shape == (0, 48, 48)
    with pytest.raises(ValueError, match="needs at least one face"):
        make_manifest(few[:0], (variant,))


def test_every_share_is_covered_in_places_of_its_own(few) -> None:
    """Else a block would lie where the smaller one lies, and a face be hard or easy throughout."""
    small, large = (occluded(few, f"block-{percent}").extras["covered"] for percent in (15, 30))
    assert (small & ~large).any(dim=(1, 2)).sum() > len(few) / 2


def test_another_seed_is_another_set(few) -> None:
    for variant in FEW[1:]:
        assert not torch.equal(occluded(few, variant, 1).images, occluded(few, variant, 2).images)


def test_pixels_come_back_by_their_hash(few, manifest, tmp_path) -> None:
    stored = Manifest.load(manifest.save(tmp_path / "deep" / "manifest.json"))
    assert stored == manifest
    for name in FEW:
        made = restore(stored, few, name)
        assert made.split.endswith(name)
        assert made.extras["covered"].shape == (7, 48, 48)


def test_another_seed_comes_back_as_well(few) -> None:
    manifest = make_manifest(few, ("block-20", "cap"), seed=7)
    for name in manifest.variants:
        restore(manifest, few, name)


def test_blocks_lie_where_they_lay_and_hold_the_same_noise() -> None:
    """Whoever scored methods on these pixels must be able to have them again."""
    pixels = (torch.arange(3 * 3 * 24 * 20) % 256).byte().view(3, 3, 24, 20)
    faces = FaceSet(pixels, torch.zeros(3, dtype=torch.long), ["a", "b", "c"], name="made-up")
    hashes = {name: tensor_sha256(occluded(faces, name).images) for name in ("block-5", "block-30")}
    assert {name: each[:12] for name, each in hashes.items()} == {
        "block-5": "ff2933ccf914",
        "block-30": "8f3acd16c2e6",
    }


def test_another_hash_other_faces_and_other_names_are_refused(few, manifest) -> None:
    wrong = replace(manifest.variants["glasses"], images_sha256="0" * 64)
    changed = replace(manifest, variants={**manifest.variants, "glasses": wrong})
    with pytest.raises(
        ValueError, match=r"the pixels of glasses must have SHA-256 000.*, got [^0]"
    ):
        restore(changed, few, "glasses")
    with pytest.raises(ValueError, match=r"the manifest was made of synthfer test with SHA-256"):
        restore(manifest, few[:6], "glasses")
    with pytest.raises(ValueError, match=r"has the variants block-0, .*; got 'cap'"):
        restore(manifest, few, "cap")
    with pytest.raises(ValueError, match=r"variant must be one of block-0, .*; got 'block-7'"):
        occluded(few, "block-7")


def test_items_need_landmarks_and_blocks_do_not(few) -> None:
    bare = replace(few, landmarks=None)
    assert occluded(bare, "block-10").extras["covered"].any()
    with pytest.raises(ValueError, match=r"fitted by five landmarks, but .* has none; find them"):
        occluded(bare, "scarf")


def test_an_item_without_landmarks_is_refused_before_anything_is_covered(few, monkeypatch) -> None:
    def never(*_) -> None:
        raise AssertionError("a face was covered")

    monkeypatch.setattr(testsets, "_with_blocks", never)
    monkeypatch.setattr(testsets, "_with_item", never)
    gaps = few.landmarks.clone()
    gaps[3, 1, 0] = torch.nan
    for landmarks, lack in ((None, "has none"), (gaps, "lacks some")):
        with pytest.raises(ValueError, match=rf"cap is fitted by five landmarks, but .* {lack}"):
            make_manifest(replace(few, landmarks=landmarks), ("block-5", "cap"))
    with pytest.raises(ValueError, match=r"variant must be one of block-0, .*; got 'beard'"):
        make_manifest(few, ("block-5", "beard"))


def test_where_nothing_is_asked_for_faces_without_landmarks_get_blocks(few) -> None:
    gaps = few.landmarks.clone()
    gaps[3, 1, 0] = torch.nan
    assert fitting(replace(few, landmarks=gaps)) == BLOCKS
    made = make_manifest(replace(few[:1], landmarks=None))
    assert tuple(made.variants) == BLOCKS
    assert tuple(make_manifest(few[:1]).variants) == SYNTHETIC


def test_real_occluders_stand_beside_the_synthetic_ones_by_name(few, synthfer_test) -> None:
    real = synthfer_test[20:23]
    both = make_manifest(few, ("block-5",), real=real)
    assert [each.kind for each in both.variants.values()] == ["block", "real"]
    assert restore(both, few, "real", real) is real
    for wrong in (None, few):
        with pytest.raises(ValueError, match="really occluded faces must have SHA-256"):
            restore(both, few, "real", wrong)


def spoil(content: dict, *path: str, to: object = None) -> dict:
    """The same content with one entry changed, or left away."""
    changed = json.loads(json.dumps(content))
    *way, last = path
    place = functools.reduce(dict.__getitem__, way, changed)
    place.pop(last) if to is None else place.update({last: to})
    return changed


SPOILT = {
    "format": ("other",),
    "seed": ("1", True, 1.0, -1, 2**32),
    "data": ({}, []),
    "data/sha256": (5,),
    "data/name": (),
    "variants": ({}, []),
    "variants/glasses/kind": ("block", "real"),
    "variants/block-30/kind": ("item",),
    "variants/block-30/share": ("0.3", True, -1, math.nan, math.inf, 1.5),
    "variants/block-30/images_sha256": (5,),
    "variants/block-30/masks_sha256": (5,),
    "variants/block-30/more": ("x",),
    "more": ("x",),
}
"""What may be wrong with an entry, beside that it is missing."""


@pytest.mark.parametrize("entry", SPOILT)
def test_a_manifest_of_which_one_entry_is_spoilt_is_refused(manifest, tmp_path, entry) -> None:
    path = manifest.save(tmp_path / "manifest.json")
    content = json.loads(path.read_text())
    assert Manifest.load(path) == manifest
    ways = list(SPOILT[entry]) + [None] * (not entry.endswith("more"))
    for to in ways:
        path.write_text(json.dumps(spoil(content, *entry.split("/"), to=to)))
        with pytest.raises(ValueError, match="must be a manifest of format"):
            Manifest.load(path)


def test_a_file_that_is_no_manifest_is_refused(tmp_path) -> None:
    path = tmp_path / "manifest.json"
    for text in ("", "[]", "{}", "{" * 100_000):
        path.write_text(text)
        with pytest.raises(ValueError, match="must be a manifest of format"):
            Manifest.load(path)
    with pytest.raises(IsADirectoryError, match="should be a manifest, but is a folder"):
        Manifest.load(tmp_path)


def test_a_wrong_mask_and_a_wrong_share_are_told_apart_from_wrong_pixels(few, manifest) -> None:
    right = manifest.variants["block-30"]
    for wrong, refusal in (
        (replace(right, masks_sha256="0" * 64), r"the masks of block-30 must have SHA-256 000"),
        (replace(right, share=right.share + 1e-5), r"block-30 must cover 0\.\d+ of a face by the"),
    ):
        changed = replace(manifest, variants={"block-30": wrong})
        with pytest.raises(ValueError, match=refusal):
            restore(changed, few, "block-30")


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_is_none_is_refused(few, seed) -> None:
    for cover in (lambda: occluded(few, "cap", seed), lambda: make_manifest(few, ("cap",), seed)):
        with pytest.raises(ValueError, match=rf"seed must lie in \[0, 2³²\), got {seed}"):
            cover()


def test_noise_is_a_function_of_seed_and_place_and_evenly_spread() -> None:
    seeds = torch.randint(2**31, (6, 2), generator=torch.Generator().manual_seed(0))
    noise = hashed_noise(seeds, (3, 40, 40))
    assert torch.equal(noise[2:4], hashed_noise(seeds[2:4], (3, 40, 40)))
    counts = torch.bincount(noise.flatten().long(), minlength=256).double()
    expected = counts.mean()
    # Chi-squared of 255 degrees of freedom: mean 255, standard deviation 22.6.
    assert 165 < ((counts - expected) ** 2 / expected).sum() < 350
    values = noise.double().flatten(1)
    assert (torch.corrcoef(values) - torch.eye(6)).abs().max() < 0.06
    assert (
        torch.corrcoef(torch.stack([values[:, 1:].flatten(), values[:, :-1].flatten()]))[0, 1].abs()
        < 0.03
    )


def test_the_command_writes_and_checks(few, tmp_path, monkeypatch, capsys) -> None:
    folder = few.save(tmp_path / "faces" / "test").parent
    monkeypatch.chdir(tmp_path)
    main(["occlude", str(folder), "--variants", "block-20", "cap"])
    printed = capsys.readouterr().out
    assert "block-20\tblock\t0.2001" in printed
    assert "cap\titem" in printed
    main(["occlude", str(folder), "--check"])
    assert capsys.readouterr().out == "block-20\tthe same pixels\ncap\tthe same pixels\n"
    with pytest.raises(SystemExit, match="occfer: variant must be one of"):
        main(["occlude", str(folder), "--variants", "beard"])
    with pytest.raises(SystemExit, match="occfer: only ferplus has a list of really occluded"):
        main(["occlude", str(folder), "--real"])


def test_nobody_knows_how_much_real_occluders_cover(
    shared_data, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["occlude", "ferplus", "--root", str(shared_data), "--real", "--variants", "block-5"])
    assert "\nreal\treal\tunknown\t" in capsys.readouterr().out


def test_the_plain_command_covers_faces_without_landmarks_with_blocks(
    few, tmp_path, monkeypatch, capsys
) -> None:
    folder = replace(few, landmarks=None).save(tmp_path / "faces" / "test").parent
    monkeypatch.chdir(tmp_path)
    main(["occlude", str(folder)])
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("blocks only: FaceSet(")
    assert "occfer.data.landmarks.add_landmarks" in first
    assert [line.partition("\t")[0] for line in lines] == [*BLOCKS, "manifest: occluded.json"]
    main(["occlude", str(folder), "--check"])
    assert capsys.readouterr().out.count("the same pixels") == len(BLOCKS)
    with pytest.raises(SystemExit, match="occfer: cap is fitted by five landmarks"):
        main(["occlude", str(folder), "--variants", "block-5", "cap"])
