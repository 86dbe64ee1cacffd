"""Eyeballs: a sphere in the rig's place with sclera, iris and pupil, turned by the gaze."""

from __future__ import annotations

import numpy as np

from .anatomy import EYES
from .scene import Piece

# Horizontal visible iris diameter 11.7 mm on a globe of 24 mm (Bekerman, Gottlieb and Vaiman,
# J. Ophthalmol. 2014): an angle of about 29 degrees to either side of the axis.
IRIS_ANGLE = np.radians(29.5)
RINGS = np.radians(
    np.concatenate([np.arange(0, 40, 0.75), np.arange(40, 100, 4.0), np.arange(100, 181, 10.0)])
)
SPOKES = 72


def fit_sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre [3] and radius of the least-squares sphere through ``points`` [N, 3]."""
    system = np.concatenate([2 * points, np.ones((len(points), 1))], 1)
    solution, *_ = np.linalg.lstsq(system, (points**2).sum(1), rcond=None)
    return solution[:3], float(np.sqrt(solution[3] + (solution[:3] ** 2).sum()))


def rotation_between(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The rotation [3, 3] that best turns points [N, 3] about their means (Kabsch, 1976)."""
    u, _, vt = np.linalg.svd((before - before.mean(0)).T @ (after - after.mean(0)))
    flip = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    return (u @ flip @ vt).T


def eyeball(
    centre: np.ndarray,
    radius: float,
    turn: np.ndarray,
    iris: np.ndarray,
    pupil: float,
    sclera: np.ndarray,
    seed: int,
) -> Piece:
    """One eye. ``turn`` [3, 3] turns the straight-ahead gaze; ``iris`` and ``sclera`` are linear
    RGB; ``pupil`` is the pupil's radius as a share of the iris's."""
    angle, spoke = np.meshgrid(
        RINGS, np.linspace(0, 2 * np.pi, SPOKES, endpoint=False), indexing="ij"
    )
    unit = np.stack(
        [np.sin(angle) * np.cos(spoke), np.sin(angle) * np.sin(spoke), np.cos(angle)], -1
    ).reshape(-1, 3)
    first = np.arange((len(RINGS) - 1) * SPOKES).reshape(-1, SPOKES)
    right = np.roll(first, -1, 1)
    quads = np.stack([first, first + SPOKES, right + SPOKES, right], -1).reshape(-1, 4)
    faces = quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)

    rng = np.random.default_rng(seed)
    share = (angle / IRIS_ANGLE).ravel()
    fibres = 1 + 0.18 * np.cos(
        rng.integers(9, 30, 6)[:, None] * spoke.ravel() + rng.uniform(0, 6.3, (6, 1))
    ).mean(0)
    inner = np.clip((share - pupil) / (1 - pupil), 0, 1)
    limbus = np.clip((1 - share) / 0.16, 0.18, 1)
    colour = iris * (fibres * (0.75 + 0.5 * inner) * limbus)[:, None]
    pinkness = np.clip((angle.ravel() - np.radians(40)) / np.radians(40), 0, 1)[:, None]
    white = sclera * (1 - pinkness * np.array([0.12, 0.38, 0.4]))
    edge = np.clip((share - 0.97) / 0.08, 0, 1)[:, None]
    colour = colour * (1 - edge) + white * edge
    colour = np.where((share < pupil)[:, None], 0.004, colour)
    vertices = centre + radius * unit @ turn.T
    return Piece(
        vertices,
        faces,
        colour,
        np.full(len(faces), EYES, np.uint8),
        roughness=0.14,
        specular=0.3,
        clearcoat=0.12,
    )
