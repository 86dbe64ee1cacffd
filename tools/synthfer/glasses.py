"""Glasses: two rims, a bridge and two temples, as thin tubes placed from the eyes and ears."""

from __future__ import annotations

import numpy as np

from .anatomy import COVERING
from .scene import Piece


def tube(path: np.ndarray, radius: float, closed: bool = False, sides: int = 8):
    """Vertices and triangles of a round tube along ``path`` [N, 3]."""
    ahead = np.roll(path, -1, 0) - np.roll(path, 1, 0)
    if not closed:
        ahead[0], ahead[-1] = path[1] - path[0], path[-1] - path[-2]
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    guide = np.array([0.13, 0.31, 0.94]) if np.abs(ahead[:, 2]).mean() < 0.7 else np.eye(3)[1]
    across = np.cross(ahead, guide)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    other = np.cross(ahead, across)
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = across[:, None] * np.cos(turn)[:, None] + other[:, None] * np.sin(turn)[:, None]
    vertices = (path[:, None] + radius * ring).reshape(-1, 3)
    links = np.arange(len(path) if closed else len(path) - 1)
    i, j = np.meshgrid(links, np.arange(sides), indexing="ij")
    a, b = i * sides + j, i * sides + (j + 1) % sides
    c, d = (((i + 1) % len(path)) * sides + (j + 1) % sides), ((i + 1) % len(path)) * sides + j
    return vertices, np.stack([a, b, c, a, c, d], -1).reshape(-1, 3)


def glasses(
    right_eye: np.ndarray,
    left_eye: np.ndarray,
    front: float,
    ear: np.ndarray,
    colour: np.ndarray,
    width: float,
    height: float,
    squareness: float,
    thickness: float,
) -> Piece:
    """Spectacles of a head in its own frame (z ahead). ``front`` is the z of the rims (cm), ``ear``
    [3] the top of the left ear, ``width`` and ``height`` half axes of a rim (cm), ``squareness``
    the superellipse exponent (2: round), ``thickness`` the tube radius (cm)."""
    turn = np.linspace(0, 2 * np.pi, 56, endpoint=False)
    cos, sin = np.cos(turn), np.sin(turn)
    power = 2 / squareness
    x = width * np.sign(cos) * np.abs(cos) ** power
    y = height * np.sign(sin) * np.abs(sin) ** power
    meshes = []
    for eye in (right_eye, left_eye):
        wrap = -0.05 * (np.sign(eye[0]) * x + width) ** 1.2
        rim = np.stack([eye[0] * 1.02 + x, eye[1] - 0.25 + y, front + wrap], -1)
        meshes.append(tube(rim, thickness, closed=True))
    inner = left_eye[0] * 1.02 - width
    arc = np.linspace(-1, 1, 9)
    bridge = np.stack([inner * arc, left_eye[1] + 0.35 - 0.3 * arc**2, np.full(9, front) + 0.1], -1)
    meshes.append(tube(bridge, thickness))
    outer = left_eye[0] * 1.02 + width
    for side in (-1, 1):
        start = np.array([side * outer, left_eye[1] + 0.35, front - 0.6])
        bend = np.array([side * (abs(ear[0]) - 0.3), ear[1], ear[2]])
        share = np.linspace(0, 1, 10)[:, None]
        meshes.append(tube(start + (bend - start) * share, thickness * 0.9))
    starts = np.cumsum([0] + [len(v) for v, _ in meshes[:-1]])
    vertices = np.concatenate([v for v, _ in meshes])
    faces = np.concatenate([f + s for (_, f), s in zip(meshes, starts, strict=True)])
    return Piece(
        vertices,
        faces,
        np.broadcast_to(colour, vertices.shape),
        np.full(len(faces), COVERING, np.uint8),
        roughness=0.25,
    )
