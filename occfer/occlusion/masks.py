"""Masks over nose and mouth: surgical, N95 and cloth, drawn in layers on the canonical head.

Points that lie on the head are (azimuth in degrees, y, lift), points in space are (x, y, z), both
in eye distances; see :mod:`occfer.occlusion.fitting`. Each function paints one item on all faces
of a scene; colour, size and cut come from the scene's variation.
"""

import torch
from torch import Tensor

from occfer.occlusion.drawing import constant, ellipse, mirrored, smooth
from occfer.occlusion.scene import Scene

SURGICAL = [[0.50, 0.72, 0.86], [0.47, 0.75, 0.72], [0.93, 0.94, 0.95], [0.90, 0.66, 0.74],
            [0.13, 0.13, 0.15], [0.40, 0.62, 0.85]]  # fmt: skip
CLOTH = [[0.13, 0.16, 0.30], [0.45, 0.10, 0.13], [0.12, 0.28, 0.20], [0.55, 0.47, 0.36],
         [0.20, 0.20, 0.22], [0.62, 0.36, 0.16], [0.30, 0.20, 0.40]]  # fmt: skip
WHITE = [0.95, 0.95, 0.94]


def surgical_mask(scene: Scene) -> None:
    """A pleated mask with ear loops, from the bridge of the nose to below the chin."""
    colour = scene.choose(0, SURGICAL)
    outline = _mask_outline(scene, top=0.36, bottom=2.0)
    _ear_loops(scene, colour=scene.choose(0, [WHITE]), upper=(56, 0.66), lower=(52, 1.52))
    cover = scene.inside(outline)
    scene.cast(cover)
    scene.add(cover, colour)
    for y, sag in ((0.93, 0.10), (1.21, 0.12), (1.49, 0.12)):
        fold = scene.pose.wrap(_across(y, sag, reach=55, lift=0.16))
        below = scene.pose.wrap(_across(y + 0.08, sag, reach=55, lift=0.16))
        scene.tone(scene.soften(scene.line(below, 0.10), 0.05) * cover, -0.30)
        scene.tone(scene.line(fold, 0.045) * cover, -0.28)
        above = scene.pose.wrap(_across(y - 0.06, sag, reach=55, lift=0.16))
        scene.tone(scene.soften(scene.line(above, 0.05), 0.02) * cover, 0.35)
    _hem(scene, cover, outline)
    wire = smooth(constant([(-16, 0.52, 0.2), (-7, 0.46, 0.3), (7, 0.46, 0.3), (16, 0.52, 0.2)]))
    scene.tone(scene.line(scene.pose.wrap(wire), 0.05) * cover, 0.4)


def n95(scene: Scene) -> None:
    """A stiff white cup with two head straps, a nose clip and often a valve."""
    pose = scene.pose
    for path in ([(-46, 0.95, 0.1), (-70, 0.35, 0.03), (-100, -0.35, 0.03)],
                 [(-44, 1.55, 0.1), (-66, 1.42, 0.03), (-100, 1.25, 0.03)]):  # fmt: skip
        for side in (1, -1):
            band = smooth(constant([(side * azimuth, y, lift) for azimuth, y, lift in path]))
            strap = scene.choose(1, [[0.85, 0.70, 0.25], WHITE, [0.25, 0.45, 0.70]])
            scene.cast(scene.line(pose.wrap(band), 0.07), strength=0.3)
            scene.add(scene.line(pose.wrap(band), 0.07), strap)
    bottom = scene.draw(2, 1.88, 1.98)
    half = [(0, 0.26, 0.36), (10, 0.32, 0.26), (22, 0.56, 0.16), (38, 0.82, 0.08), (50, 1.08, 0.06),
            (50, 1.38, 0.06), (40, 1.66, 0.10), (22, 1.88, 0.14), (0, 1.95, 0.18)]  # fmt: skip
    points = constant(mirrored(half)).to(scene.images).expand(len(bottom), -1, 3).clone()
    low = points[..., 1] > 1.5
    points[..., 1] = torch.where(low, points[..., 1] + (bottom - 1.95)[:, None], points[..., 1])
    outline = pose.wrap(smooth(points, closed=True))
    cover = scene.inside(outline)
    scene.cast(cover, strength=0.5)
    # A cup falls off towards its own edge all around, not towards the edge of the head.
    inner = scene.soften(cover, 0.16)
    dome = (0.52 + 0.5 * ((inner - 0.45) / 0.5).clamp(0, 1)) * scene.light.shade.clamp(0.75, 1.3)
    scene.add(cover, scene.choose(0, [WHITE, [0.90, 0.91, 0.93], [0.86, 0.85, 0.80]]), dome)
    _hem(scene, cover, outline, strength=-0.22)
    for y, sag, bulge in ((0.86, -0.16, 0.42), (1.50, 0.16, 0.34)):
        seam = pose.wrap(_across(y, sag, reach=46, lift=bulge, falloff=0.3))
        scene.tone(scene.soften(scene.line(seam, 0.05), 0.02) * cover, -0.30)
        ridge = pose.wrap(_across(y - 0.06, sag, reach=46, lift=bulge, falloff=0.3))
        scene.tone(scene.line(ridge, 0.04) * cover, 0.5)
    clip = constant([(-17, 0.60, 0.22), (-9, 0.44, 0.34), (0, 0.39, 0.42), (9, 0.44, 0.34),
                     (17, 0.60, 0.22)])  # fmt: skip
    scene.add(scene.line(pose.wrap(smooth(clip)), 0.085) * cover, _grey(scene, 0.50))
    scene.tone(scene.line(pose.wrap(smooth(clip)), 0.03) * cover, 0.6)
    valve = (scene.variation[:, 3] < 0.6).to(scene.images)[:, None, None]
    for radius, brightness in ((0.25, 0.55), (0.215, 0.88), (0.14, 0.60), (0.11, 0.80)):
        disc = ellipse((0.0, 1.20), (radius * 1.15, radius))
        disc = torch.cat([disc, torch.full_like(disc[:, :1], 0.60)], dim=1)
        scene.add(scene.inside(pose.project(disc)) * valve, _grey(scene, brightness))


def cloth_mask(scene: Scene) -> None:
    """A sewn mask with a middle seam, plain, striped, dotted or checked."""
    colour = scene.choose(0, CLOTH)
    outline = _mask_outline(scene, top=0.30, bottom=1.98, fitted=True)
    _ear_loops(scene, colour * 0.8, upper=(56, 0.72), lower=(53, 1.40), width=0.07)
    cover = scene.inside(outline)
    scene.cast(cover)
    scene.add(cover, _printed(scene, colour))
    seam = scene.pose.wrap(
        smooth(constant([(0, 0.30, 0.38), (0, 0.8, 0.44), (0, 1.2, 0.36), (0, 1.6, 0.28),
                         (0, 2.0, 0.1)]))
    )  # fmt: skip
    scene.tone(scene.soften(scene.line(seam, 0.12), 0.05) * cover, -0.30)
    scene.tone(scene.line(seam, 0.03) * cover, -0.45)
    for side in (1, -1):
        for y, drop in ((0.85, 0.22), (1.25, 0.10)):
            fold = constant([(side * 12, y + drop, 0.3), (side * 30, y + drop / 3, 0.1),
                             (side * 50, y, 0.03)])  # fmt: skip
            soft = scene.soften(scene.line(scene.pose.wrap(smooth(fold)), 0.07), 0.035)
            scene.tone(soft * cover, -0.28)
    _hem(scene, cover, outline, strength=-0.35)


def _mask_outline(scene: Scene, top: float, bottom: float, fitted: bool = False) -> Tensor:
    """A mask from nose to chin, in pixels; ``fitted`` follows the cheeks more closely."""
    wide = scene.draw(4, 60, 67)
    if fitted:
        half = [(0, top, 0.34), (9, top + 0.04, 0.26), (22, top + 0.25, 0.12), (40, 0.68, 0.05),
                (58, 0.70, 0.02), (58, 0.70, 0.02), (57, 1.05, 0.02), (55, 1.42, 0.03),
                (55, 1.42, 0.03), (36, 1.72, 0.06), (18, bottom - 0.04, 0.10),
                (0, bottom, 0.14)]  # fmt: skip
    else:
        half = [(0, top, 0.30), (10, top + 0.04, 0.22), (24, top + 0.18, 0.10), (42, 0.60, 0.05),
                (58, 0.62, 0.02), (58, 0.62, 0.02), (57, 1.1, 0.02), (54, 1.55, 0.03),
                (54, 1.55, 0.03), (38, 1.82, 0.06), (20, bottom - 0.03, 0.09),
                (0, bottom, 0.12)]  # fmt: skip
    points = smooth(constant(mirrored(half)), closed=True).to(scene.images)
    points = points.expand(len(wide), -1, 3).clone()
    points[..., 0] *= (wide / 58)[:, None]
    points[..., 1] += (scene.draw(5, -0.06, 0.08))[:, None]
    return scene.pose.wrap(points)


def _across(y: float, sag: float, reach: float, lift: float, falloff: float = 0.14) -> Tensor:
    """A line across a mask that hangs by ``sag`` in the middle."""
    points = []
    for step in range(-4, 5):
        share = step / 4
        bend = sag * (1 - share**2)
        points.append((reach * share, y + bend, max(lift - falloff * share**2, 0.02)))
    return smooth(constant(points))


def _ear_loops(
    scene: Scene,
    colour: Tensor,
    upper: tuple[float, float],
    lower: tuple[float, float],
    width: float = 0.05,
) -> None:
    """From the corners of a mask to behind the ears."""
    for side in (1, -1):
        for (azimuth, y), ear in ((upper, 0.05), (lower, 0.62)):
            path = constant([(side * azimuth, y, 0.02), (side * 72, (2 * y + ear) / 3, 0.03),
                             (side * 90, ear, 0.04)])  # fmt: skip
            band = scene.line(scene.pose.wrap(smooth(path)), width)
            scene.cast(band, radius=0.05, strength=0.35)
            scene.add(band, colour)


def _hem(scene: Scene, cover: Tensor, outline: Tensor, strength: float = -0.18) -> None:
    """A seam along the edge."""
    scene.tone(scene.line(outline, 0.13, closed=True) * cover, strength / 2)
    scene.tone(scene.line(outline, 0.05, closed=True) * cover, strength)


def _printed(scene: Scene, colour: Tensor) -> Tensor:
    """Cloth in two colours: plain, stripes, dots or checks, half of a mask each its own."""
    u, v = scene.around * 6, scene.place[:, 1] * 6
    # The pattern fades where its period falls below two pixels.
    fine = (scene.pose.scale / 6 / 2 - 0.5).clamp(0, 1)[:, None, None]
    stripe = (2 * (torch.pi * v).sin()).clamp(-0.5, 0.5) + 0.5
    dots = (6 * ((torch.pi * u).sin() * (torch.pi * v).sin() - 0.55)).clamp(0, 1)
    check = 0.5 * stripe + 0.5 * ((2 * (torch.pi * u).sin()).clamp(-0.5, 0.5) + 0.5)
    kinds = torch.stack([torch.zeros_like(u), stripe, dots, check], dim=1)
    kind = (scene.variation[:, 1] * 4).long().clamp(max=3)
    pattern = kinds[torch.arange(len(kind), device=kind.device), kind] * fine * 0.75
    light = 0.35 + 0.6 * colour
    mixed = pattern[:, None]
    return colour[:, :, None, None] * (1 - mixed) + light[:, :, None, None] * mixed


def _grey(scene: Scene, brightness: float) -> Tensor:
    return torch.full_like(scene.images[:, :, 0, 0], brightness)


MASKS = {each.__name__: each for each in (surgical_mask, n95, cloth_mask)}
