"""Figure 4 (§3.6): where a network looks as more and more of the face is covered.

The paper shows pictures of it. Here every test face is measured, under the covered pixels of Figure
3: how much of the saliency lies on the occluder, of which the exact mask is known, and how much on
each part of the face; and, by deletion and insertion, whether the network needs what the map marks.
Three maps that know nothing of what the network learnt stand beside its own; and, laid on the same
mask, its own map of the uncovered face, which knows nothing of the occluder.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Generator, Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate
from tqdm.auto import tqdm

from occfer.data import FaceSet
from occfer.data.landmarks import add_landmarks
from occfer.emotions import EMOTIONS
from occfer.engine.measurements import Measurements
from occfer.engine.records import Record
from occfer.engine.training import evaluating
from occfer.experiments import methods
from occfer.experiments.comparison import Difference, difference
from occfer.experiments.figure3 import COVER_SEED, MASK, covered_sets, masked
from occfer.experiments.study import Study
from occfer.fgw import FGW
from occfer.occlusion.testsets import Only
from occfer.randomness import generator_for
from occfer.saliency import (
    PARTS,
    area,
    attention_map,
    centred_map,
    coarse_random_map,
    deletion,
    grad_cam,
    insertion,
    occluder_ratio,
    part_masks,
    part_shares,
    random_map,
)
from occfer.views import as_float

EXPERIMENT = "figure4"
METHODS = (
    "OCL+Res18+FGW+LGDS",
    "OCL+Res18+FGW",
    "OCL+Res18+FGW+LGDS-unattended",
    "OCL+Res18",
    "Res18-scratch",
)
"""The whole method, without LGDS, without attention, without regions, and without anything."""
OWN = ("attention", "Grad-CAM")
"""What a network shows of itself."""
MAPS = (*OWN, "chance", "middle", "coarse chance")
"""Beside that the controls: by chance from pixel to pixel, a Gaussian in the middle, and by chance
from cell to cell of the network's grid. Early records lack the last."""
CURVED = ("0", "30", MASK)
"""The conditions under which deletion and insertion are measured: they cost most of the time."""
CURVED_FACES = 30
"""Of each expression, the first ones of the test split; their curves are measured."""
SHOWN_SIDE = 28
"""Side in pixels of the maps that are kept to be shown, of one face of each expression."""
BATCH = 50


def covered_faces(faces: FaceSet, only: Only = None) -> dict[str, FaceSet]:
    """The conditions of Figure 3, each with its exact mask in ``extras["covered"]``.

    Points that a set lacks are found by MTCNN. ``only``: numbers of the faces that are wanted;
    they are covered as among all.
    """
    located = faces if faces.landmarks is not None else add_landmarks(faces)
    nothing = torch.zeros(len(faces), *faces.size, dtype=torch.bool, device=faces.device)
    whole = replace(located, extras={**located.extras, "covered": nothing})
    blocks = covered_sets(whole)
    if only is not None:
        blocks = {condition: each[only] for condition, each in blocks.items()}
    return {**blocks, MASK: masked(whole, only)}


def look_inside(model: nn.Module, conditions: dict[str, FaceSet]) -> Measurements:
    """Everything that is measured of each face, by condition; see :func:`measure`.

    The first condition is the faces as they are.

    The pictures that are kept are, by ``condition map``, the maps of one face of each
    expression, uint8 [7, 28, 28] and each stretched to its own largest value; ``shown``, the
    numbers of those faces; and by ``map deletion`` and ``map insertion`` the curves of the
    uncovered faces that have some.
    """
    first = next(iter(conditions.values()))
    uncovered = own_maps(model, first)
    shown, curved = one_of_each(first.labels), first_of_each(first.labels, CURVED_FACES)
    values, pictures = {}, {"shown": shown.numpy()}
    bar = tqdm(total=len(first) * len(conditions), desc="looking inside", unit="face")
    for place, (condition, faces) in enumerate(conditions.items()):
        values[condition], curves, maps = measure(
            model,
            faces,
            place,
            uncovered,
            curved if condition in CURVED else curved[:0],
            shown,
            bar,
        )
        pictures |= {f"{condition} {name}": each for name, each in maps.items()}
        if condition == "0":
            pictures |= curves
    bar.close()
    return Measurements(tuple(first.ids), first.labels.cpu().numpy(), values, pictures)


run_method = partial(
    methods.run, EXPERIMENT, methods.trained_network, covered_faces, COVER_SEED, look_inside
)
"""``run_method(row, splits, study, seed)`` looks into a network of :data:`METHODS` and records
that."""


def measure(
    model: nn.Module,
    faces: FaceSet,
    place: int,
    uncovered: Mapping[str, Float[Tensor, "batch height width"]],
    curved: Int64[Tensor, " some"],
    shown: Int64[Tensor, " few"],
    bar: tqdm,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What one network makes of the faces of one condition.

    Args:
        place: of the condition among all; chance is drawn from it.
        uncovered: :func:`own_maps` of the same faces as they are.
        curved, shown: numbers of the faces whose curves are measured, and whose maps are kept.

    Returns:
        Values [N] by name: ``covered``, the occluder's share of the picture; ``correct``; and of
        each map ``on occluder`` (share of its sum), ``ratio`` (that divided by ``covered``), the
        share on each of ``PARTS``, and the areas under ``deletion`` and ``insertion``. Of each map
        of :data:`OWN` also ``uncovered ratio``: what the network's map of the face as it is has on
        the very same mask. Early records lack it.
        Curves [some, points] by name, and maps [few, 28, 28] by name.
    """
    device = next(model.parameters()).device
    values, curves, kept = defaultdict(list), defaultdict(list), defaultdict(list)
    for start in range(0, len(faces), BATCH):
        some = faces[start : start + BATCH].to(device)
        here, few = (
            each[(each >= start) & (each < start + BATCH)] - start for each in (curved, shown)
        )
        images, covered = as_float(some.images), some.extras["covered"]
        generator = generator_for(COVER_SEED, place, start)
        classes = _said(model, images)
        values["covered"].append(covered.float().mean(dim=(1, 2)))
        values["correct"].append((classes == some.labels).float())
        parts = part_masks(some.landmarks, *some.size)
        for name, saliency in saliency_maps(model, images, classes, generator).items():
            for measure_name, each in lies(saliency, covered, parts).items():
                values[f"{name} {measure_name}"].append(each)
            if name in uncovered:
                as_it_is = uncovered[name][start : start + BATCH].to(device).float()
                values[f"{name} uncovered ratio"].append(occluder_ratio(as_it_is, covered))
            for way in (deletion, insertion):
                areas = torch.full((len(some),), torch.nan)
                if len(here):
                    found = way(model, images[here], saliency[here], classes[here], generator)
                    areas[here] = area(found).cpu()
                    curves[f"{name} {way.__name__}"].append(found)
                values[f"{name} {way.__name__}"].append(areas)
            kept[name].append(as_bytes(saliency[few]))
        bar.update(len(some))
    return tuple(_joined(each) for each in (values, curves, kept))


def own_maps(model: nn.Module, faces: FaceSet) -> dict[str, Float[Tensor, "batch height width"]]:
    """The maps of :data:`OWN` of every face, of the class that the network says, in half precision
    on the CPU."""
    found = defaultdict(list)
    for start in range(0, len(faces), BATCH):
        images = as_float(faces[start : start + BATCH].to(next(model.parameters()).device).images)
        for name, each in _own(model, images, _said(model, images)).items():
            # Of a map's values only their proportion counts, so the largest may be 1.
            peak = each.amax(dim=(1, 2), keepdim=True)
            found[name].append((each / peak.where(peak > 0, 1)).half().cpu())
    return {name: torch.cat(each) for name, each in found.items()}


def saliency_maps(
    model: nn.Module,
    images: Float[Tensor, "batch colours height width"],
    classes: Int64[Tensor, " batch"],
    generator: Generator,
) -> dict[str, Float[Tensor, "batch height width"]]:
    """Every map of :data:`MAPS` that the network has; attention is FGW's alone, where it learns."""
    like = images[:, 0]
    chance = random_map(like, generator)
    return _own(model, images, classes) | {
        "chance": chance,
        "middle": centred_map(like),
        # Last, and by a copy of the generator: all else is drawn as in records without this map.
        "coarse chance": coarse_random_map(model, images, generator.clone_state()),
    }


def _own(model: nn.Module, images: Tensor, classes: Tensor) -> dict[str, Tensor]:
    found = {}
    if isinstance(model, FGW) and any(True for _ in model.attention.parameters()):
        found["attention"] = attention_map(model, images)
    return found | {"Grad-CAM": grad_cam(model, images, classes)}


def lies(
    saliency: Float[Tensor, "batch height width"],
    covered: Bool[Tensor, "batch height width"],
    parts: Bool[Tensor, "batch parts height width"],
) -> dict[str, Float[Tensor, " batch"]]:
    """Where the saliency of each face lies: on the occluder, and on each part of the face."""
    ratio = occluder_ratio(saliency, covered)
    shares = part_shares(saliency, parts)
    return {
        "ratio": ratio,
        "on occluder": ratio * covered.float().mean(dim=(1, 2)),
        **dict(zip(PARTS, shares.unbind(dim=1), strict=True)),
    }


def first_of_each(labels: Int64[Tensor, " faces"], count: int) -> Int64[Tensor, " chosen"]:
    """The numbers of the first ``count`` faces of each expression, rising."""
    each = [(labels.cpu() == label).nonzero()[:count, 0] for label in range(len(EMOTIONS))]
    return torch.cat(each).sort().values


def one_of_each(labels: Int64[Tensor, " faces"]) -> Int64[Tensor, " expressions"]:
    """A face of each expression, rising: a later one each time, for a person's stand together."""
    each = [(labels.cpu() == label).nonzero()[:, 0] for label in range(len(EMOTIONS))]
    chosen = [rows[7 * n % len(rows)] for n, rows in enumerate(each) if len(rows)]
    return torch.stack(chosen).sort().values


def as_bytes(saliency: Float[Tensor, "batch height width"]) -> Tensor:
    """Maps small enough to be kept: averaged over squares, the largest value of each 255."""
    small = adaptive_avg_pool2d(saliency, SHOWN_SIDE)
    peak = small.amax(dim=(1, 2), keepdim=True)
    return (small / peak.clamp(min=torch.finfo(small.dtype).tiny) * 255).round().byte()


@torch.no_grad()
def _said(model: nn.Module, images: Tensor) -> Tensor:
    with evaluating(model):
        return model(images).logits.argmax(dim=1)


def _joined(by_name: dict[str, list[Tensor]]) -> dict[str, np.ndarray]:
    joined = {name: torch.cat(each).cpu() for name, each in by_name.items()}
    return {
        name: each.half().numpy() if each.is_floating_point() else each.numpy()
        for name, each in joined.items()
    }


def recorded(study: Study) -> dict[str, tuple[Record, ...]]:
    """Every recorded seed of every method, in the order of :data:`METHODS`; empty where not run."""
    return {row: study.recorded(row, EXPERIMENT) for row in METHODS}


def values_of(
    records: Iterable[Record], condition: str, measure_name: str
) -> Float[np.ndarray, " faces"] | None:
    """One measure of every test face, averaged over the seeds that have it; None without any."""
    found = [record.predictions.values[condition].get(measure_name) for record in records]
    found = [each.astype(np.float64) for each in found if each is not None]
    return np.mean(found, axis=0) if found else None


def compare(
    found: Mapping[str, tuple[Record, ...]],
    first: str,
    second: str,
    condition: str,
    measure_name: str,
) -> Difference | None:
    """By how much two methods differ in one measure, face by face; None where they share no seed
    that has it, or where it has a meaning for no face, as the ratio on an occluder that is not
    there."""
    ours, theirs = (
        {
            record.values["seed"]: values[measure_name]
            for record in found[row]
            if measure_name in (values := record.predictions.values[condition])
        }
        for row in (first, second)
    )
    return difference(ours, theirs)


def ratio_of_shown(
    records: Iterable[Record], covered: Bool[Tensor, "batch height width"], name: str
) -> float | None:
    """What the mean of the uncovered maps that records keep has on the masks of many faces.

    A stand-in for ``uncovered ratio`` where records lack it: a map of a few faces, so that it
    tells where a network looks in the mean, and not where in each face. None where no record keeps
    the map.

    Args:
        covered: masks of one condition, of all test faces.
        name: of the map, one of :data:`OWN`.
    """
    kept = [each.predictions.pictures.get(f"0 {name}") for each in records]
    kept = [torch.from_numpy(each).float() for each in kept if each is not None]
    if not kept:
        return None
    mean = torch.cat(kept).mean(dim=0)[None, None]
    wide = interpolate(mean, size=covered.shape[1:], mode="bilinear")[:, 0]
    return float(occluder_ratio(wide.expand(covered.shape), covered).nanmean())
