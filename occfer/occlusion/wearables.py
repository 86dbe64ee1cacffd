"""Scarf, glasses, sunglasses and cap, drawn as :mod:`occfer.occlusion.masks` draws."""

import math

import torch
from torch import Tensor

from occfer.occlusion.drawing import constant, ellipse, mirrored, rounded_box, smooth
from occfer.occlusion.masks import WHITE
from occfer.occlusion.scene import Scene

KNIT = [[0.60, 0.12, 0.13], [0.16, 0.25, 0.42], [0.68, 0.60, 0.46], [0.24, 0.36, 0.24],
        [0.35, 0.34, 0.36], [0.72, 0.44, 0.14], [0.42, 0.20, 0.34]]  # fmt: skip
METAL = [[0.12, 0.10, 0.09], [0.35, 0.20, 0.10], [0.55, 0.56, 0.58], [0.62, 0.50, 0.25],
         [0.10, 0.12, 0.22], [0.45, 0.08, 0.10]]  # fmt: skip
PEAKED = [[0.10, 0.14, 0.30], [0.55, 0.08, 0.10], [0.12, 0.12, 0.13], [0.15, 0.32, 0.20],
          [0.75, 0.72, 0.66], [0.20, 0.38, 0.62]]  # fmt: skip


def scarf(scene: Scene) -> None:
    """A knitted scarf wound twice around neck, chin and mouth."""
    pose, colour = scene.pose, scene.choose(0, KNIT)
    stripes = scene.choose(1, KNIT)
    top = scene.draw(2, 0.62, 0.95)
    bands = (
        (1.25, 1.6, 0.80, (0.30, 0.08)),
        (0.58, 1.0, 0.48, (0.28, -0.12)),
        (0.0, 0.85, 0.24, (0.16, 0.12)),
    )
    for number, (start, deep, lift, (sag, tilt)) in enumerate(bands):
        upper, lower = [], []
        for azimuth in range(-84, 85, 21):
            across = azimuth / 90
            bend = sag * math.cos(math.pi * across / 2) ** 2 + tilt * across
            upper.append((azimuth, start + bend, lift - 0.14 * across**4))
            # Wool hangs straight at the sides, where the jaw below grows narrow.
            lower.append((azimuth, start + deep + bend * 1.1, lift + 0.10 + 0.16 * across**4))
        ends = [(side * 100, start + deep / 2 + side * tilt, lift + 0.12) for side in (1, -1)]
        around = [*upper, ends[0], *lower[::-1], ends[1]]
        points = smooth(constant(around), closed=True).to(scene.images)
        points = points.expand(len(top), -1, 3).clone()
        points[..., 1] += top[:, None]
        outline = pose.wrap(points)
        cover = scene.inside(outline)
        scene.cast(cover, radius=0.12, strength=0.5)
        scene.tone(scene.soften(cover, 0.08) * (1 - cover), -0.55)
        y = scene.place[:, 1] - 0.25 * (scene.around**2) * (-1 if number == 1 else 1)
        scene.add(cover, _knitted(scene, colour, stripes, y + 0.31 * number))
        for share in (0.25, 0.55, 0.8):
            fold = constant([(azimuth, start + share * deep + sag * (1 - (azimuth / 90) ** 2)
                              + tilt * azimuth / 90 + 0.10 * (-1) ** round(share * 10)
                              * (azimuth / 60), lift + 0.05)
                             for azimuth in range(-85, 86, 17)]).to(scene.images)  # fmt: skip
            fold = smooth(fold).expand(len(top), -1, 3).clone()
            fold[..., 1] += top[:, None]
            line = scene.soften(scene.line(pose.wrap(fold), 0.09), 0.045)
            scene.tone(line * cover, -0.42)
            fold[..., 1] -= 0.11
            light = scene.soften(scene.line(pose.wrap(fold), 0.07), 0.045)
            scene.tone(light * cover, 0.16)


def glasses(scene: Scene) -> None:
    """Clear glasses, round or angular, thin or thick, with a glint on each lens."""
    colour, heavy = scene.choose(0, METAL), scene.draw(1, 0.055, 0.115)
    lenses = _lenses(scene, number=2)
    _temples(scene, colour, heavy)
    for outline in lenses:
        rim = scene.line(outline, heavy, closed=True)
        scene.cast(rim, radius=0.05, strength=0.45)
        scene.add(rim, colour)
        scene.tone(scene.line(outline - 0.012 * scene.pose.scale[:, None, None], heavy * 0.3,
                              closed=True), 0.35)  # fmt: skip
        # Above the eye, which stays in sight.
        _glint(scene, outline, strength=0.42, size=0.45, aside=(-0.16, -0.2))
    _bridge(scene, colour, heavy)


def sunglasses(scene: Scene) -> None:
    """Dark lenses in a frame: both eyes are covered."""
    colour, heavy = scene.choose(0, METAL), scene.draw(1, 0.06, 0.10)
    tint = scene.choose(3, [[0.03, 0.03, 0.04], [0.10, 0.06, 0.03], [0.03, 0.07, 0.05]])
    _temples(scene, colour, heavy)
    for outline in _lenses(scene, number=2, larger=1.13):
        lens = scene.inside(outline)
        scene.cast(lens, strength=0.45)
        # Lighter towards the cheek, as gradient lenses are.
        down = ((scene.place[:, 1] + 0.3) / 1.1).clamp(0, 1)[:, None]
        scene.add(lens, tint[:, :, None, None] + 0.10 * down)
        _glint(scene, outline, strength=0.32, size=1.0, aside=(0.0, 0.0))
        scene.add(scene.line(outline, heavy, closed=True), colour)
    _bridge(scene, colour, heavy)


def cap(scene: Scene) -> None:
    """A cap with a peak, drawn down over the forehead; the peak shades the eyes."""
    pose, colour = scene.pose, scene.choose(0, PEAKED)
    low = scene.draw(1, 0.0, 0.22)

    def lowered(points: Tensor) -> Tensor:
        points = points.to(scene.images).expand(len(low), -1, 3).clone()
        points[..., 1] += low[:, None]
        return points

    sides = [(0, -0.78, 0.16), (35, -0.76, 0.16), (65, -0.66, 0.16), (100, -0.50, 0.16),
             (100, -1.2, 0.22), (100, -1.75, 0.24), (80, -2.1, 0.27), (40, -2.35, 0.3),
             (0, -2.45, 0.35)]  # fmt: skip
    crown = scene.inside(pose.wrap(lowered(smooth(constant(mirrored(sides)), closed=True))))
    scene.cast(crown, radius=0.12)
    scene.add(crown, colour)
    for azimuth in (0, 32, -32, 64, -64):
        seam = [(azimuth, -0.75, 0.13), (azimuth, -1.3, 0.18), (azimuth * 0.9, -1.9, 0.24),
                (azimuth * 0.5, -2.3, 0.3)]  # fmt: skip
        line = scene.line(pose.wrap(lowered(smooth(constant(seam)))), 0.035)
        scene.tone(line * crown, -0.35)
    badge = torch.cat([rounded_box((0.30, 0.19), 0.12), torch.full((24, 1), 0.32)], dim=1)
    badge[:, 1] -= 1.14
    scene.add(scene.inside(pose.project(lowered(badge))) * crown, scene.choose(2, [
        WHITE, [0.90, 0.78, 0.25], [0.80, 0.15, 0.15]]))  # fmt: skip
    peak = [(0, -0.36, 1.10), (0.42, -0.36, 1.04), (0.80, -0.40, 0.72), (1.00, -0.54, 0.10),
            (0.92, -0.72, -0.30), (0.60, -0.90, 0.0), (0, -0.98, 0.2)]  # fmt: skip
    outline = pose.project(lowered(smooth(constant(mirrored(peak)), closed=True)))
    cover = scene.inside(outline)
    below = scene.inside(pose.project(lowered(smooth(constant(
        mirrored([(x, y + 0.34, z - 0.4) for x, y, z in peak])), closed=True))))  # fmt: skip
    scene.cast(below, radius=0.10, strength=0.42)
    scene.tone(scene.soften(cover, 0.06) * (1 - cover) * crown, -0.5)
    nearer = ((scene.place[:, 1] - low[:, None, None] + 0.95) / 0.5).clamp(0, 1)
    scene.add(cover, colour * 0.9, scene.light.shade * (0.75 + 0.3 * nearer))
    for inset in (0.12, 0.24):
        half = [(x * (1 - inset), y - inset * 0.4, z * (1 - inset)) for x, y, z in peak[:4]]
        row = [(-x, y, z) for x, y, z in half[:0:-1]] + half
        stitches = pose.project(lowered(smooth(constant(row))))
        scene.tone(scene.line(stitches, 0.022) * cover, -0.35)
    edge = scene.line(outline, 0.05, closed=True)
    scene.tone(edge * cover, -0.35)


def _knitted(scene: Scene, colour: Tensor, other: Tensor, y: Tensor) -> Tensor:
    """Ribs of wool along a band, and broad stripes for some scarfs."""
    fine = (scene.pose.scale / 9 / 2 - 0.5).clamp(0, 1)[:, None, None]
    ribs = 1 - 0.22 * fine * (0.5 + 0.5 * (2 * torch.pi * 9 * (scene.around + 0.3 * y)).sin())
    striped = (scene.variation[:, 3] < 0.5).to(y)[:, None, None]
    broad = (3 * (2 * torch.pi * 0.9 * scene.around).sin()).clamp(-0.5, 0.5) + 0.5
    mixed = (broad * striped)[:, None]
    albedo = colour[:, :, None, None] * (1 - mixed) + other[:, :, None, None] * mixed
    return albedo * ribs[:, None]


def _lenses(scene: Scene, number: int, larger: float = 1.0) -> list[Tensor]:
    """The outlines of left and right lens in pixels: round, angular or pilots'."""
    pilot = constant([(-0.36, -0.24), (0.0, -0.30), (0.36, -0.22), (0.40, 0.05), (0.20, 0.36),
                      (-0.10, 0.36), (-0.34, 0.12)])  # fmt: skip
    shapes = [
        ellipse((0.0, 0.03), (0.37, 0.34), steps=42),
        _resampled(rounded_box((0.41, 0.27), 0.12), 42),
        _resampled(smooth(pilot, closed=True), 42),
    ]
    table = torch.stack(shapes).to(scene.images)
    shape = table[(scene.variation[:, number] * 3).long().clamp(max=2)] * larger  # [B, 42, 2]
    outlines = []
    for side in (-1, 1):
        x = shape[..., 0] * side + side * 0.51
        # Frames bow around the face.
        z = 0.30 - 0.22 * x**2
        outlines.append(scene.pose.project(torch.stack([x, shape[..., 1] + 0.04, z], dim=2)))
    return outlines


def _resampled(outline: Tensor, count: int) -> Tensor:
    """The same closed outline with ``count`` points evenly along it."""
    closed = torch.cat([outline, outline[:1]])
    along = torch.cat([torch.zeros(1), (closed[1:] - closed[:-1]).norm(dim=1).cumsum(0)]).double()
    wanted = torch.arange(count, dtype=torch.float64) / count * along[-1]
    place = torch.searchsorted(along, wanted, right=True).clamp(1, len(outline))
    share = (wanted - along[place - 1]) / (along[place] - along[place - 1]).clamp(min=1e-9)
    return closed[place - 1] + share[:, None] * (closed[place] - closed[place - 1])


def _temples(scene: Scene, colour: Tensor, heavy: Tensor) -> None:
    """From the hinges back to the ears; the head hides the one on its far side."""
    head = scene.inside(scene.pose.outline())
    for side in (1, -1):
        path = constant([(side * 0.92, -0.06, 0.11), (side * 1.02, -0.05, -0.3),
                         (side * 1.08, -0.02, -0.7), (side * 1.08, 0.02, -1.1)])  # fmt: skip
        far = (side * scene.pose.yaw * 8).clamp(0, 1)[:, None, None]
        band = scene.line(scene.pose.project(smooth(path)), heavy) * (1 - far * head)
        scene.cast(band, radius=0.05, strength=0.35)
        scene.add(band, colour)


def _bridge(scene: Scene, colour: Tensor, heavy: Tensor) -> None:
    path = constant([(-0.15, 0.0, 0.29), (-0.07, -0.07, 0.34), (0.07, -0.07, 0.34),
                     (0.15, 0.0, 0.29)])  # fmt: skip
    scene.add(scene.line(scene.pose.project(smooth(path)), heavy), colour)


def _glint(
    scene: Scene, outline: Tensor, strength: float, size: float, aside: tuple[float, float]
) -> None:
    """A slanted reflection across a lens, or over a part of it."""
    centre = outline.mean(dim=1, keepdim=True)
    bar = constant([(-0.05, -0.45), (0.12, -0.45), (-0.16, 0.45), (-0.33, 0.45)]).to(outline)
    bar = (bar * size + torch.tensor(aside).to(bar)) * scene.pose.scale[:, None, None]
    cover = scene.inside(centre + bar) * scene.inside(centre + (outline - centre) * 0.86)
    white = torch.ones_like(scene.images[:, :, 0, 0])
    scene.add(cover * strength, white, torch.ones_like(cover))


WEARABLES = {each.__name__: each for each in (scarf, glasses, sunglasses, cap)}
