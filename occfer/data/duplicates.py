"""Faces that occur more than once: the way a test split leaks into training (§3.1).

Two faces are the same exactly if all their pixels agree, and *perceptually* if their 64-bit
perceptual hashes (imagehash's pHash) differ in few bits: the signs of a picture's coarse waves
outlast another compression, brightness or small shift. How few is a choice, made here by looking
at pairs of FER2013's faces that are not the same exactly: with more bits than ``DISTANCE``,
different people in one pose come among the copies of one photograph. Mirror images are not looked
for.
"""

import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import imagehash
import numpy as np
import torch
from jaxtyping import Int, UInt64
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from occfer.data.faceset import FaceSet
from occfer.emotions import EMOTIONS, UNLABELLED

DISTANCE = 4
"""Bits of 64 in which the perceptual hashes of one photograph may differ."""
MAX_DISTANCE = 15


class Member(NamedTuple):
    """A face of a group: its split (or the name of a set without one), id and label."""

    split: str
    id: str
    label: int


@dataclass(frozen=True)
class Duplicates:
    """The faces of some sets that occur more than once.

    splits: faces per set, duplicates or not.
    groups: the members of each group of two or more, in the order of the sets.
    distance: ``None`` where all pixels agree, else the bits by which perceptual hashes may differ.
    """

    splits: dict[str, int]
    groups: tuple[tuple[Member, ...], ...]
    distance: int | None = None

    @property
    def spare(self) -> int:
        """Faces that could go if one of each group stayed."""
        return sum(len(group) - 1 for group in self.groups)

    @property
    def across(self) -> int:
        """Groups with faces of more than one split."""
        return sum(len({member.split for member in group}) > 1 for group in self.groups)

    @property
    def contradictory(self) -> int:
        """Groups whose faces carry different labels; unlabelled ones contradict nobody."""
        labels = ({member.label for member in group} - {UNLABELLED} for group in self.groups)
        return sum(len(each) > 1 for each in labels)

    def shared(self, of: str, within: str) -> int:
        """How many faces of one split have another face of their group in ``within``."""
        return sum(
            count[of]
            for count in (Counter(member.split for member in group) for group in self.groups)
            if count[within] > (of == within)
        )

    def counts(self) -> dict:
        """Everything above as plain JSON types."""
        return {
            "distance": self.distance,
            "faces": self.splits,
            "groups": len(self.groups),
            "members": sum(map(len, self.groups)),
            "spare": self.spare,
            "across": self.across,
            "contradictory": self.contradictory,
            "shared": {
                of: {within: self.shared(of, within) for within in self.splits}
                for of in self.splits
            },
        }

    def lines(self) -> Iterator[str]:
        """The members one by one, tab-separated: number of the group, split, expression, id."""
        yield "group\tsplit\texpression\tid"
        for number, group in enumerate(self.groups):
            for split, identifier, label in group:
                expression = "" if label == UNLABELLED else EMOTIONS[label]
                yield f"{number}\t{split}\t{expression}\t{identifier}"


def pixel_hashes(faces: FaceSet) -> list[bytes]:
    """SHA-256 of each face's pixels."""
    return [hashlib.sha256(image.tobytes()).digest() for image in faces.images.cpu().numpy()]


def perceptual_hashes(faces: FaceSet) -> UInt64[np.ndarray, " faces"]:
    """pHash of each face: imagehash's 64 bits as one number, the first bit the highest.

    Faces of one even colour have no waves, and so hashes that differ in one bit at most.
    """
    bits = np.zeros((len(faces), 64), bool)
    for row, pixels in zip(bits, faces.images.permute(0, 2, 3, 1).cpu().numpy(), strict=True):
        picture = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
        row[:] = imagehash.phash(picture).hash.flatten()
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def near(hashes: UInt64[np.ndarray, " different"], distance: int) -> Int[np.ndarray, "pairs 2"]:
    """All pairs of places whose hashes differ in at most ``distance`` bits, without duplicates.

    Cut into ``distance + 1`` bands, two such hashes agree in at least one, so only those that do
    are compared (multi-index hashing; Norouzi, Punjani and Fleet 2012,
    doi:10.1109/CVPR.2012.6248043). Nothing is missed.

    Args:
        hashes: each only once.
        distance: up to ``MAX_DISTANCE``; each bit more takes about twice as long.
    """
    edges = np.linspace(0, 64, distance + 2).astype(int)
    found = [np.zeros((0, 2), np.int64)]
    for low, high in itertools.pairwise(edges):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(band, kind="stable")
        band, sorted_hashes = band[order], hashes[order]
        # Those of one band stand side by side: compare each with the next, the one after, ...
        here, step = np.arange(len(hashes)), 1
        while len(here):
            here = here[here + step < len(hashes)]
            here = here[band[here] == band[here + step]]
            apart = np.bitwise_count(sorted_hashes[here] ^ sorted_hashes[here + step])
            close = here[apart <= distance]
            found.append(np.stack([order[close], order[close + step]], axis=1))
            step += 1
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def find_duplicates(*sets: FaceSet, distance: int | None = None) -> Duplicates:
    """The groups of faces that are the same, within each set and across them.

    Args:
        sets: such as the splits of a data set, with a split (or a name) of its own each.
        distance: ``None`` for exact duplicates; else perceptual ones, up to this many bits of 64
            apart (``DISTANCE`` is a good choice). Near is not transitive, groups are: with a
            large distance, a chain of small steps can join different faces.

    Raises:
        ValueError: two sets of one split, or a distance that is not from 0 to 15.
    """
    names = [faces.split or faces.name for faces in sets]
    if len(set(names)) < len(names):
        raise ValueError(f"Sets to be compared must have splits of their own, got {names}.")
    members = [
        Member(name, identifier, label)
        for name, faces in zip(names, sets, strict=True)
        for identifier, label in zip(faces.ids, faces.labels.tolist(), strict=True)
    ]
    by_group = defaultdict(list)
    for member, group in zip(members, _groups(sets, distance).tolist(), strict=True):
        by_group[group].append(member)
    groups = tuple(tuple(group) for group in by_group.values() if len(group) > 1)
    splits = {name: len(faces) for name, faces in zip(names, sets, strict=True)}
    return Duplicates(splits, groups, distance)


def occurs_in(faces: FaceSet, *others: FaceSet, distance: int | None = None) -> Tensor:
    """For each face, whether it stands in one of ``others``; bool [N].

    Args:
        faces: to be looked for.
        others: where to look.
        distance: ``None`` for the very same pixels; else perceptual hashes may differ by so many
            bits of 64.
    """
    places, count, (one, other) = _codes((faces, *others), distance)
    known = np.zeros(count, bool)
    known[places[len(faces) :]] = True
    found = known.copy()
    found[one[known[other]]] = True
    found[other[known[one]]] = True
    return torch.from_numpy(found[places[: len(faces)]])


def drop_leaks(faces: FaceSet, *held_out: FaceSet, distance: int | None = None) -> FaceSet:
    """The faces that stand in no held-out split: by exact pixels, or see ``occurs_in``."""
    return faces[~occurs_in(faces, *held_out, distance=distance)]


def drop_duplicates(faces: FaceSet, distance: int | None = None) -> FaceSet:
    """The first face of each group, and all that stand alone; ``distance`` as by
    ``find_duplicates``."""
    _, first = np.unique(_groups([faces], distance), return_index=True)
    return faces[np.sort(first)]


def _codes(
    sets: Sequence[FaceSet], distance: int | None
) -> tuple[Int[np.ndarray, " faces"], int, Int[np.ndarray, "2 pairs"]]:
    """Each face's place among the different hashes, how many there are, which two are near."""
    if distance is None:
        seen: dict[bytes, int] = {}
        hashes = (each for faces in sets for each in pixel_hashes(faces))
        places = np.array([seen.setdefault(each, len(seen)) for each in hashes], np.int64)
        return places, len(seen), np.zeros((2, 0), np.int64)
    if not 0 <= distance <= MAX_DISTANCE:
        raise ValueError(
            f"The distance of perceptual hashes must be from 0 to {MAX_DISTANCE} bits, got "
            f"{distance}; {DISTANCE} finds the copies of a photograph."
        )
    hashes = np.concatenate([perceptual_hashes(faces) for faces in sets])
    different, places = np.unique(hashes, return_inverse=True)
    return places, len(different), near(different, distance).T


def _groups(sets: Sequence[FaceSet], distance: int | None) -> Int[np.ndarray, " faces"]:
    """A number for each face, the same within a group."""
    places, count, (one, other) = _codes(sets, distance)
    graph = coo_array((np.ones(len(one)), (one, other)), shape=(count, count))
    return connected_components(graph, directed=False)[1][places]
