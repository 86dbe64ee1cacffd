"""Light as an environment map: a sky, a floor, and soft boxes."""

from __future__ import annotations

import numpy as np

HEIGHT, WIDTH = 32, 64


def draw_light(rng: np.random.Generator) -> np.ndarray:
    """Linear radiance [32, 64, 3] of one of four settings: window, studio, outdoors, lamp.

    Rows go from straight up to straight down; the middle column lies ahead of the face.
    """
    v, u = np.meshgrid((np.arange(HEIGHT) + 0.5) / HEIGHT, (np.arange(WIDTH) + 0.5) / WIDTH,
                       indexing="ij")  # fmt: skip
    polar, around = v * np.pi, u * 2 * np.pi
    towards = np.stack(
        [np.sin(polar) * np.sin(around), np.cos(polar), -np.sin(polar) * np.cos(around)], -1
    )
    kind = rng.choice(["window", "studio", "outdoors", "lamp"], p=[0.3, 0.25, 0.3, 0.15])
    warm, cool = np.array([1.0, 0.86, 0.7]), np.array([0.84, 0.93, 1.0])
    sky = rng.uniform(0.2, 0.45) * (cool if kind == "outdoors" else np.ones(3))
    floor = rng.uniform(0.08, 0.22) * np.array([1.0, 0.93, 0.86])
    share = np.clip(0.5 + 0.8 * towards[..., 1:2], 0, 1)
    out = floor * (1 - share) + sky * share

    def box(azimuth: float, height: float, width: float, power: float, colour: np.ndarray) -> None:
        a, h = np.radians(azimuth), np.radians(height)
        centre = np.array([np.cos(h) * np.sin(a), np.sin(h), np.cos(h) * np.cos(a)])
        angle = np.arccos(np.clip(towards @ centre, -1, 1))
        out[...] += power * colour * np.exp(-((angle / np.radians(width)) ** 4))[..., None]

    side = rng.choice([-1, 1])
    tone = cool + (warm - cool) * rng.random()
    if kind == "window":
        box(side * rng.uniform(25, 75), rng.uniform(5, 35), rng.uniform(18, 30), 4.5, tone)
        box(-side * 60, 10, 40, rng.uniform(0.2, 0.9), np.ones(3))
    elif kind == "studio":
        box(side * rng.uniform(20, 50), rng.uniform(20, 45), rng.uniform(14, 22), 6, np.ones(3))
        box(-side * rng.uniform(30, 70), 10, 22, rng.uniform(1.0, 3.0), np.ones(3))
        box(side * 150, 30, 15, rng.uniform(0, 4), np.ones(3))
    elif kind == "outdoors":
        out *= rng.uniform(1.5, 2.2)
        box(side * rng.uniform(10, 110), rng.uniform(25, 60), 9, rng.uniform(8, 22), warm)
    else:
        box(side * rng.uniform(0, 80), rng.uniform(15, 55), rng.uniform(10, 16), 10, warm)
    return out.astype(np.float32)
