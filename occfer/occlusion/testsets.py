"""Occluded test sets as recipes (§3.5): a manifest of hashes from which the pixels come back.

A manifest names the faces by their SHA-256, a seed, and variants: blocks over 0, 5, ... 30 % of
each face, and each item of :func:`occfer.occlusion.wear`. All chance of a variant is drawn for the
whole set at once, on the CPU, so that neither the batch size nor the device changes a face.

What may differ between machines: sines, exponentials and sums may be rounded differently in
their last bit. Items are therefore drawn in float64 and stored as bytes; for a byte to change, a
value would have to lie within some 1e-13 of half a level. Should that happen, or should a later
version draw an item otherwise, the hash says so; it never passes in silence.

Kinds are kept apart by name: ``block`` and ``item`` are synthetic, ``real`` are faces that were
covered when they were photographed (:mod:`occfer.data.ran`).
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from tqdm.auto import tqdm

from occfer.data.faceset import FaceSet, tensor_sha256
from occfer.files import write_atomically
from occfer.occlusion.blocks import block_mask, draw_blocks
from occfer.occlusion.wear import ITEMS, draw_variation, wear
from occfer.randomness import generator_for

PERCENTAGES = (0, 5, 10, 15, 20, 25, 30)
BLOCKS = tuple(f"block-{percent}" for percent in PERCENTAGES)
SYNTHETIC = (*BLOCKS, *ITEMS)
REAL = "real"
REAL_SPLIT = "occlusion"
"""What ``load_faces("ferplus", ...)`` calls its really occluded faces."""
SEED = 2022
SEEDS = 2**32
"""How many seeds there are."""
BATCH = 32
FORMAT = "occfer occluded test sets 1"

Only = Int64[Tensor, " some"] | None
"""Numbers of the faces that are wanted; all where None."""


@dataclass(frozen=True)
class Variant:
    """One occluded test set: its kind, and what its pixels and masks must hash to."""

    kind: str
    """block, item or real."""
    share: float
    """Mean covered share of a face; for real occluders nobody has measured it (-1)."""
    images_sha256: str
    masks_sha256: str
    """Of the uint8 pixels and of the masks, as :func:`occfer.data.faceset.tensor_sha256`."""


@dataclass(frozen=True)
class Manifest:
    """What ``occfer occlude`` writes: the faces, the seed, and every variant by name."""

    data: dict
    """:meth:`FaceSet.describe` of the uncovered faces."""
    seed: int
    variants: dict[str, Variant]
    format: str = FORMAT

    def save(self, path: str | Path) -> Path:
        """Write the manifest as JSON, whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, (json.dumps(asdict(self), indent=1) + "\n").encode())
        return path

    @staticmethod
    def load(path: str | Path) -> "Manifest":
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: the file is no such manifest, or of another format.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            variants = {name: Variant(**each) for name, each in content.pop("variants").items()}
            manifest = Manifest(**content, variants=variants)
            if "format" not in content or not _is_sound(manifest):
                manifest = None
        except (FileNotFoundError, IsADirectoryError) as missing:
            found = "is a folder" if Path(path).is_dir() else "is not there"
            raise type(missing)(
                f"{path} should be a manifest, but {found}; write one with occfer occlude."
            ) from missing
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
            manifest = None
        if manifest is None or manifest.format != FORMAT:
            raise ValueError(
                f"{path} must be a manifest of format {FORMAT!r}, but it is not; write one with "
                f"occfer occlude."
            )
        return manifest


def occluded(
    faces: FaceSet,
    variant: str,
    seed: int = SEED,
    only: Only = None,
) -> FaceSet:
    """The same faces covered in one way; labels, ids and landmarks stay.

    Args:
        faces: on the CPU or another device; items need landmarks.
        variant: a name of ``SYNTHETIC``: ``block-0`` to ``block-30`` (per cent), or an item.
        seed: with the variant's name it decides about every pixel.
        only: numbers of faces. These alone are painted and returned, covered as among all.

    Returns:
        The covered set; its ``extras["covered"]`` is the mask, bool [N, H, W].

    Raises:
        ValueError: no such variant or seed, or landmarks are missing for an item.
    """
    _check_variant(variant, faces, faces.landmarks is not None)
    _check_seed(seed)
    if variant in ITEMS:
        faces, images, masks = _with_item(faces, variant, seed, only)
    else:
        percent = int(variant.removeprefix("block-"))
        faces, images, masks = _with_blocks(faces, percent, seed, only)
    split = ", ".join(part for part in (faces.split, variant) if part)
    extras = {**faces.extras, "covered": masks}
    return replace(faces, images=images, split=split, extras=extras)


def fitting(faces: FaceSet) -> tuple[str, ...]:
    """The variants that these faces can be covered with: blocks alone where landmarks lack."""
    return SYNTHETIC if _located(faces) else BLOCKS


def make_manifest(
    faces: FaceSet,
    variants: Sequence[str] | None = None,
    seed: int = SEED,
    real: FaceSet | None = None,
    progress: bool = False,
) -> Manifest:
    """Cover the faces in every way asked for, and keep only the hashes.

    Args:
        faces: uncovered.
        variants: names of ``SYNTHETIC``; :func:`fitting` ones where left out.
        seed: with a variant's name it decides about every pixel.
        real: really occluded faces, to stand beside the synthetic ones under the name ``real``.
        progress: show a bar.

    Raises:
        ValueError: no face, no variant, an unknown one, an item for faces without landmarks, or no
            such seed; before any face is covered.
    """
    if not len(faces):
        raise ValueError(f"a manifest needs at least one face, but {faces!r} holds none.")
    variants = fitting(faces) if variants is None else variants
    if not variants and real is None:
        raise ValueError(f"a manifest needs at least one of {', '.join(SYNTHETIC)}; got none.")
    for name in variants:
        _check_variant(name, faces, _located(faces))
    _check_seed(seed)
    found = {}
    for name in tqdm(variants, desc="covering", unit="variant", disable=not progress):
        found[name] = _measure(occluded(faces, name, seed), _kind(name))
    if real is not None:
        found[REAL] = Variant(REAL, -1.0, real.sha256, "")
    return Manifest(faces.describe(), seed, found)


def restore(
    manifest: Manifest, faces: FaceSet, variant: str, real: FaceSet | None = None
) -> FaceSet:
    """The pixels of one variant of a manifest, checked by their hash.

    Args:
        faces: the uncovered faces that the manifest was made of; for the variant ``real`` they
            are not looked at, and ``real`` holds its faces.

    Raises:
        ValueError: the manifest has no such variant, the faces are others, or pixels, masks or the
            covered share came out differently.
    """
    if variant not in manifest.variants:
        known = ", ".join(manifest.variants)
        raise ValueError(f"the manifest has the variants {known}; got {variant!r}.")
    expected = manifest.variants[variant]
    if variant == REAL:
        if real is None or real.sha256 != expected.images_sha256:
            came = "none" if real is None else f"SHA-256 {real.sha256}"
            raise ValueError(
                f"the really occluded faces must have SHA-256 {expected.images_sha256}, got "
                f"{came}; load them with load_faces('ferplus', 'occlusion') from the same files."
            )
        return real
    if faces.sha256 != manifest.data["sha256"]:
        raise ValueError(
            f"the manifest was made of {manifest.data['name']} {manifest.data['split']} with "
            f"SHA-256 {manifest.data['sha256']}, but these are {faces!r} with {faces.sha256}; load "
            f"the same split at the same size, or write a manifest of these."
        )
    made = occluded(faces, variant, manifest.seed)
    found = _measure(made, expected.kind)
    _check_hash(f"the masks of {variant}", expected.masks_sha256, found.masks_sha256)
    _check_hash(f"the pixels of {variant}", expected.images_sha256, found.images_sha256)
    if abs(found.share - expected.share) > 1e-6:
        raise ValueError(
            f"{variant} must cover {expected.share} of a face by the manifest, but its masks, "
            f"whose hash is right, cover {found.share}; write the manifest again."
        )
    return made


def _with_blocks(
    faces: FaceSet, percent: int, seed: int, only: Only
) -> tuple[FaceSet, Tensor, Tensor]:
    height, width = faces.size
    generator = generator_for(seed, percent)
    ratio = torch.full((len(faces),), percent / 100, dtype=torch.float64)
    blocks = draw_blocks(ratio, height, width, generator)
    seeds = torch.randint(2**31, (len(faces), 2), generator=generator).to(faces.device)
    masks = block_mask(blocks.to(faces.device), height, width)
    if only is not None:
        faces, masks, seeds = faces[only], masks[only], seeds[only]
    images = [
        torch.where(mask[:, None], hashed_noise(seed, tuple(pixels.shape[1:])), pixels)
        for pixels, mask, seed in zip(
            faces.images.split(BATCH), masks.split(BATCH), seeds.split(BATCH), strict=True
        )
    ]
    return faces, torch.cat(images), masks


def _with_item(faces: FaceSet, item: str, seed: int, only: Only) -> tuple[FaceSet, Tensor, Tensor]:
    generator = generator_for(seed, zlib.crc32(item.encode()))
    variation = draw_variation(len(faces), generator).to(faces.device)
    if only is not None:
        faces, variation = faces[only], variation[only]
    images = torch.empty_like(faces.images)
    masks = torch.empty((len(faces), *faces.size), dtype=torch.bool, device=faces.device)
    for start in range(0, len(faces), BATCH):
        rows = slice(start, start + BATCH)
        # A memory-mapped set is read piece by piece.
        pixels = faces.images[rows].double() / 255
        worn, masks[rows] = wear(pixels, faces.landmarks[rows], item, variation=variation[rows])
        images[rows] = (worn * 255).round().byte()
    return faces, images, masks


def hashed_noise(
    seeds: Int64[Tensor, "batch 2"], shape: tuple[int, int, int]
) -> UInt8[Tensor, "batch channels height width"]:
    """White noise that is a pure function of a face's seeds and of the pixel's place.

    Integer arithmetic on 32 bits (the mixing steps of Mueller, "Hash function for hash table
    lookup", as in the ``hash32`` family), the same on every machine, device and batch size.
    """
    place = torch.arange(int(np.prod(shape)), device=seeds.device)
    first, second = (seeds[:, number, None] for number in (0, 1))
    noise = _mixed(_mixed(_mixed(place + 1) ^ first) ^ second) & 0xFF
    return noise.byte().view(-1, *shape)


def _mixed(number: Int64[Tensor, "*any"]) -> Int64[Tensor, "*any"]:
    for _ in range(2):
        # At most 32 times 27 bits: nothing overflows.
        number = ((number ^ (number >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    return number ^ (number >> 16)


def _is_sound(manifest: Manifest) -> bool:
    """Whether every entry is there and of its kind."""
    seed, described = manifest.seed, manifest.data
    return (
        bool(manifest.variants)
        and type(seed) is int
        and 0 <= seed < SEEDS
        and all(isinstance(described[key], str) for key in ("name", "split", "sha256"))
        and all(_is_sound_variant(name, each) for name, each in manifest.variants.items())
    )


def _is_sound_variant(name: str, variant: Variant) -> bool:
    if not all(isinstance(each, str) for each in (variant.images_sha256, variant.masks_sha256)):
        return False
    if type(variant.share) not in (int, float):
        return False
    if name == REAL:
        return variant.kind == REAL and variant.share == -1
    return variant.kind == _kind(name) and 0 <= variant.share <= 1


def _check_hash(what: str, wanted: str, came: str) -> None:
    if came != wanted:
        raise ValueError(
            f"{what} must have SHA-256 {wanted}, got {came}: the manifest was changed, or this "
            f"version of occfer or of PyTorch draws them otherwise; take the manifest and the "
            f"versions with which it was written, or write another one and score all methods on it."
        )


def _check_seed(seed: int) -> None:
    if not 0 <= seed < SEEDS:
        raise ValueError(f"seed must lie in [0, 2³²), got {seed}; choose another one.")


def _located(faces: FaceSet) -> bool:
    """Whether all five landmarks of every face are there."""
    return faces.landmarks is not None and bool(faces.landmarks.isfinite().all())


def _check_variant(variant: str, faces: FaceSet, located: bool) -> None:
    if variant not in SYNTHETIC:
        raise ValueError(f"variant must be one of {', '.join(SYNTHETIC)}; got {variant!r}.")
    if variant in ITEMS and not located:
        lacks = "has none" if faces.landmarks is None else "lacks some"
        raise ValueError(
            f"{variant} is fitted by five landmarks, but {faces!r} {lacks}; find them with "
            f"occfer.data.landmarks.add_landmarks and save that set, or ask only for blocks "
            f"({', '.join(BLOCKS)})."
        )


def _kind(variant: str) -> str:
    return "item" if variant in ITEMS else "block"


def _share(faces: FaceSet) -> float:
    return round(float(faces.extras["covered"].double().mean()), 6)


def _measure(faces: FaceSet, kind: str) -> Variant:
    masks = tensor_sha256(faces.extras["covered"])
    return Variant(kind, _share(faces), tensor_sha256(faces.images), masks)
