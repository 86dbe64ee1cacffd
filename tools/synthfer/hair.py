"""Hair, caps and scarves: shells grown from the skin above the hairline, and a curtain for long
hair. Shapes are simple on purpose; at 112 pixels a fringe of light and shade reads as hair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .anatomy import COVERING, SKULL, Regions, noise
from .identity import Identity
from .scene import Piece, vertex_normals

SHELL = {  # thickness in cm on the top and at the sides
    "short": (1.3, 0.6),
    "volume": (2.4, 1.3),
    "afro": (3.0, 2.5),
    "long": (1.5, 1.2),
    "tied": (0.7, 0.6),
    "beanie": (1.3, 1.0),
    "scarf": (1.5, 1.1),
}
CLOTH = ("beanie", "scarf")


@dataclass
class Growth:
    """What grows on one person's head, the same in every face: the skin's triangles that it covers,
    ``corners`` [F, 3] as places in ``used`` [U], the skin's vertices under them; over each vertex
    of the skin its ``length`` [V] in cm and its ``colour`` [V, 3] in linear RGB."""

    corners: np.ndarray
    used: np.ndarray
    length: np.ndarray
    colour: np.ndarray


def grow(region: Regions, faces: np.ndarray, person: Identity) -> Growth | None:
    """Hair, cap or scarf of a person over the skin's triangles ``faces``; None on a bald head."""
    if person.hair not in SHELL:
        return None
    height, cloth = _height(region, person), person.hair in CLOTH
    top, side = SHELL[person.hair]
    rest = region.position
    upward = np.clip((rest[:, 1] - 74) / 9, 0, 1)
    thickness = (side + (top - side) * upward) * (1.0 if cloth else person.hair_length)
    rise = np.clip(height / (0.8 if cloth else 1.6), 0, 1)
    rise = np.sqrt(np.clip(1 - (1 - rise) ** 2, 0, 1))
    if cloth:
        ribs = np.sin(region.azimuth * 1.1) if person.hair == "beanie" else 0
        texture = 0.06 * ribs + 0.08 * noise(rest, 2.0, person.texture_seed + 5)
    elif person.hair == "afro":
        texture = 0.07 * noise(rest, 0.45, person.texture_seed + 5, 60)
    else:
        texture = 0.16 * _strands(rest, person) + 0.10 * noise(rest, 1.5, person.texture_seed + 6)
    kept = faces[(height[faces] > -0.15).all(1)]
    used, corners = np.unique(kept, return_inverse=True)
    return Growth(
        corners=corners.reshape(-1, 3),
        used=used,
        length=thickness * rise * (1 + texture) - 0.05,
        colour=_colour(region, person, cloth),
    )


def covering(
    growth: Growth, region: Regions, vertices: np.ndarray, faces: np.ndarray, person: Identity
) -> list[Piece]:
    """The meshes on the head; ``vertices`` [V, 3] and triangles ``faces`` are the posed skin's."""
    normals = vertex_normals(vertices, faces)
    outward = vertices - _centre(region, vertices)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    direction = normals * 0.4 + outward
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    shell = vertices + direction * growth.length[:, None]
    pieces = [
        Piece(
            shell[growth.used],
            growth.corners,
            growth.colour[growth.used],
            np.full(len(growth.corners), COVERING, np.uint8),
            roughness=0.85 if person.hair in (*CLOTH, "afro") else 0.42,
            specular=0.15,
        )
    ]
    if person.hair == "long":
        pieces.append(_curtain(region, vertices, person))
    return pieces


def _height(region: Regions, person: Identity) -> np.ndarray:
    rest = region.position
    if person.hair == "beanie":
        line = np.interp(region.azimuth, [0, 60, 90, 180], [79.2, 77.3, 74.6, 70.5])
        return rest[:, 1] - line
    if person.hair == "scarf":
        # Everything outside an oval around the face, down to the neck.
        across = np.sqrt(((rest[:, 0]) / 6.6) ** 2 + ((rest[:, 1] - 71.3) / 9.3) ** 2)
        out = np.where(rest[:, 2] > 5.0, (across - 1) * 6.5, 3.0)
        out = np.where(rest[:, 1] < 61.6, 2.0, out)
        return np.where(region.inside + region.cavity > 0.3, -9, out)
    wander = 0.35 * noise(rest, 1.2, person.texture_seed + 3)
    ears = np.where((rest[:, 0] ** 2 > 7.45**2) & (rest[:, 1] < 74.2), 9.0, 0.0)
    covers = person.hair == "long" and person.texture_seed % 2
    return region.scalp + wander - (0 if covers else ears)


def _centre(region: Regions, vertices: np.ndarray) -> np.ndarray:
    skull = region.scalp > 0
    shift = vertices[skull].mean(0) - region.position[skull].mean(0)
    return SKULL + shift


def _strands(rest: np.ndarray, person: Identity) -> np.ndarray:
    """Noise that runs along the combing direction: from a parting down the sides."""
    rng = np.random.default_rng(person.texture_seed + 7)
    parting = rng.uniform(-3, 3)
    across = np.arctan2(rest[:, 2] - SKULL[2], np.abs(rest[:, 0] - parting) + 4.0)
    along = rest[:, 1]
    flow = np.stack([6 * across, 0.12 * along, 0 * along], 1)
    return 0.7 * noise(flow, 0.18, person.texture_seed + 8, 40) + 0.5 * noise(
        flow, 0.6, person.texture_seed + 9
    )


def _colour(region: Regions, person: Identity, cloth: bool) -> np.ndarray:
    rest = region.position
    if cloth:
        shade = 1 + 0.05 * noise(rest, 0.3, person.texture_seed + 11)
        return np.clip(person.cap_colour * shade[:, None], 0.01, 0.8)
    grain = _strands(rest, person) if person.hair != "afro" else noise(rest, 0.3, 5, 60)
    return np.clip(person.hair_colour * np.exp(0.35 * grain)[:, None], 0.003, 0.7)


def _curtain(region: Regions, vertices: np.ndarray, person: Identity) -> Piece:
    """Hair that hangs from the sides and the back of the head to the shoulders."""
    turn = np.radians(np.linspace(68, 292, 140))
    rest, centre = region.position, _centre(region, vertices)
    shift = centre - SKULL
    levels = np.linspace(0, 1, 40)
    rng = np.random.default_rng(person.texture_seed + 13)
    wave = rng.uniform(0.1, 0.45)
    length = rng.uniform(14, 24)
    scale = np.ptp(vertices[region.scalp > 2][:, 0]) / np.ptp(rest[region.scalp > 2][:, 0])
    grid_turn, grid = np.meshgrid(turn, levels, indexing="ij")
    top = 79.5
    y = top - grid * length
    bulge = np.interp(y, [58, 66, 72, 77, 80], [8.6, 8.8, 8.9, 8.6, 7.6])
    front = np.interp(np.degrees(np.abs(np.pi - grid_turn)), [0, 80, 112], [0, 0, 0.6])
    radius_x = bulge * scale * person.hair_length**0.2 + 0.15 - front
    radius_z = np.interp(y, [58, 66, 72, 77, 80], [5.5, 7.0, 8.6, 8.8, 8.4])
    strand = 0.16 * noise(
        np.stack([40 * grid_turn.ravel() / 6.3, y.ravel() * 0.15, 0 * y.ravel()], 1),
        0.35,
        person.texture_seed + 14,
        40,
    )
    ripple = strand.reshape(y.shape) + wave * np.sin(y * 0.9 + 3 * np.sin(grid_turn * 2))
    x = (radius_x + ripple) * np.sin(grid_turn)
    z = SKULL[2] - 0.5 + (radius_z + ripple) * np.cos(grid_turn)
    points = np.stack([x, y, z], -1).reshape(-1, 3) + shift
    n = len(levels)
    first = (np.arange(len(turn) - 1)[:, None] * n + np.arange(n - 1)).ravel()
    quads = np.stack([first, first + 1, first + n + 1, first + n], 1)
    grain = strand / 0.16
    colour = np.clip(person.hair_colour * np.exp(0.35 * grain)[:, None], 0.003, 0.7)
    faces = quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
    return Piece(points, faces, colour, np.full(len(faces), COVERING, np.uint8), roughness=0.42,
                 specular=0.15)  # fmt: skip
