"""The colour of the skin, a value per vertex: Monk shade, blood, lips, brows, stubble, freckles."""

from __future__ import annotations

import numpy as np

from .anatomy import BROWS, EYE, EYES, MOUTH, NOSE, SKIN, Regions, brow_field, noise
from .identity import Identity

# The ten shades of the Monk Skin Tone scale (Monk, 2019; skintone.google), sRGB.
MONK = (
    "f6ede4", "f3e7db", "f7ead0", "eadaba", "d7bd96",
    "a07e56", "825c43", "604134", "3a312a", "292420",
)  # fmt: skip


def linear(colour: str) -> np.ndarray:
    """A hexadecimal sRGB colour as linear RGB [3]."""
    value = np.array([int(colour[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def paint(region: Regions, person: Identity) -> tuple[np.ndarray, np.ndarray]:
    """Albedo [V, 3] in linear RGB and roughness [V] of one person's skin."""
    p, rng = region.position, np.random.default_rng(person.texture_seed)
    # The swatches are a scale to match skin against: greyer than skin at both of its ends, since
    # blood shows through light skin and melanin is brown.
    depth = person.shade / 9
    warmth = [np.interp(person.shade, [0, 4, 7, 8, 9], knots) for knots in (
        (0.84, 0.84, 0.95, 1.7, 2.1), (0.66, 0.70, 0.85, 1.3, 1.45), (0.55, 0.68, 0.8, 1.1, 1.25)
    )]  # fmt: skip
    base = linear(MONK[person.shade]) * warmth * person.tint
    colour = np.tile(base, (len(p), 1))

    mottle = 0.02 * noise(p, 1.5, rng.integers(2**31)) + 0.015 * noise(p, 0.25, rng.integers(2**31))
    colour *= (1 + mottle)[:, None]
    blood = 0.35 * region.blob((4.2, 69.2, 13.2), 2.0) + 0.5 * region.blob((0, 69.3, 16.5), 1.3)
    blood += 0.35 * region.ears + 0.2 * region.blob((0, 63.3, 15), 1.3)
    blood = person.blood * blood * (1 + 0.15 * noise(p, 0.8, rng.integers(2**31)))
    colour *= np.stack([1 + 0.05 * blood, 1 - 0.32 * blood, 1 - 0.30 * blood], 1)
    hollow = region.blob((3.1, 71.4, 13.9), 0.9)
    colour *= 1 - person.eye_shadow * hollow[:, None] * np.array([0.25, 0.3, 0.22])
    colour *= 1 - 0.25 * region.lids[:, None] * np.array([0.6, 1, 1])
    if person.freckles > 0:
        spots = np.clip(noise(p, 0.16, rng.integers(2**31)) - 1.3, 0, 1) * region.face
        spots *= np.clip(noise(p, 1.5, rng.integers(2**31)) + 0.8, 0, 1)
        colour *= 1 - person.freckles * spots[:, None] * np.array([0.35, 0.55, 0.6])

    roughness = 0.5 - 0.08 * region.blob((0, 76, 15), 3.0) - 0.1 * region.blob((0, 69.3, 16.7), 1)
    roughness = np.clip(roughness + 0.04 * noise(p, 0.4, rng.integers(2**31)), 0.25, 0.8)

    lips = np.clip(region.lips * 1.2, 0, 1)[:, None]
    lip = base * np.array([0.92, 0.5, 0.52]) * (1 - 0.15 * depth)
    lip = lip * (1 - person.lipstick[3]) + person.lipstick[:3] * person.lipstick[3]
    crease = (1 + 0.08 * noise(p, (0.12, 0.8, 0.8), rng.integers(2**31)))[:, None]
    colour = colour * (1 - lips) + lip * crease * lips
    roughness = roughness * (1 - lips[:, 0]) + (0.36 - 0.1 * person.lipstick[3]) * lips[:, 0]

    hairs = noise(p, (0.10, 0.35, 0.35), rng.integers(2**31))
    if person.beard > 0:
        x, y = np.abs(p[:, 0]), p[:, 1]
        grow = np.interp(region.azimuth, [0, 40, 62, 80], [68.0, 66.8, 68.5, 72.5])
        chin = np.clip((grow - y) / 0.9, 0, 1) * np.clip((y - 59.0) / 2.5, 0, 1)
        chin *= np.clip((86 - region.azimuth) / 8, 0, 1)
        chin *= 1 - 0.9 * np.exp(-((x / 1.0) ** 2)) * ((y > 63.6) & (y < 65.0))
        chin *= np.clip(1 - region.lips * 3, 0, 1) * (p[:, 2] > 2)
        cover = chin * person.beard * np.clip(0.8 + 0.2 * hairs, 0, 1)
        colour = colour * (1 - cover[:, None]) + 0.8 * person.hair_colour * cover[:, None]
        roughness = np.maximum(roughness, 0.6 * cover)
    scalp = np.clip(region.scalp / 1.2 + 0.4, 0, 1) * (1 - region.ears)
    scalp = scalp * person.scalp * np.clip(0.85 + 0.2 * hairs, 0, 1)
    colour = colour * (1 - scalp[:, None]) + person.hair_colour * scalp[:, None]

    brows = brow_field(p, *person.brow)
    cover = np.clip(brows * (1.15 + 0.25 * noise(p, (0.12, 0.3, 0.3), person.texture_seed)), 0, 1)
    cover = (0.93 * cover)[:, None]
    colour = colour * (1 - cover) + person.brow_colour * cover
    roughness = np.maximum(roughness, 0.75 * brows)
    # Lashes, as the dark line that they are at this size: strong above, faint below.
    edge = np.clip((region.lids - 0.72) / 0.2, 0, 1)
    strength = np.where(p[:, 1] > EYE[1], 0.75 + 0.2 * person.eyeliner, 0.2 + 0.6 * person.eyeliner)
    colour = colour * (1 - edge * strength)[:, None]

    gum = np.array([0.09, 0.022, 0.022])
    inside = np.clip(region.inside * 1.5, 0, 1)[:, None] * (region.lips < 0.5)[:, None]
    colour = colour * (1 - inside) + gum * inside
    socket = region.cavity[:, None]
    colour = colour * (1 - socket) + np.array([0.2, 0.07, 0.06]) * socket
    return np.clip(colour, 0.004, 0.95), roughness


def part_of_vertices(region: Regions, person: Identity) -> np.ndarray:
    """Part code uint8 [V] of the skin's vertices (see ``anatomy.PARTS``)."""
    out = np.full(len(region.position), SKIN, np.uint8)
    out[region.nose > 0.5] = NOSE
    out[brow_field(region.position, *person.brow) > 0.4] = BROWS
    out[region.cavity > 0.5] = EYES
    out[np.maximum(region.lips, region.inside) > 0.4] = MOUTH
    return out
