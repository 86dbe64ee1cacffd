"""The seven expressions as facial actions: FACS action units, then the rig's ARKit actions.

Prototypes follow EMFACS (Friesen and Ekman, "EMFACS-7: Emotional Facial Action Coding System",
1983; Ekman, Friesen and Hager, "Facial Action Coding System: The Manual", 2002, table 10-1) and
the units that Du, Tao and Martinez observed most often ("Compound facial expressions of emotion",
PNAS 111, 2014, table 1). They describe posed displays, not what a person feels.
"""

from __future__ import annotations

import numpy as np

BOTH = ("Left", "Right")

# Action unit -> {ARKit action, without its side: weight}. FACS names in the comments; the weights
# are how far this rig must move for the unit to read as intensity E on the average head.
ACTION_UNITS: dict[str, dict[str, float]] = {
    "AU1": {"browInnerUp": 1.0},  # inner brow raiser
    "AU2": {"browOuterUp": 1.0},  # outer brow raiser
    # Brow lowerer. It pulls the inner ends down farthest (corrugator, procerus); the rig's brow
    # comes down level, and what draws its inner ends down sits in the sneer.
    "AU4": {"browDown": 1.0, "browOuterUp": 0.3, "noseSneer": 0.25},
    "AU5": {"eyeWide": 1.0},  # upper lid raiser
    "AU6": {"cheekSquint": 1.0, "eyeSquint": 0.35},  # cheek raiser
    "AU7": {"eyeSquint": 1.0},  # lid tightener
    "AU9": {"noseSneer": 1.0, "eyeSquint": 0.2},  # nose wrinkler
    "AU10": {"mouthUpperUp": 1.0},  # upper lip raiser
    "AU12": {"mouthSmile": 1.0},  # lip corner puller
    "AU15": {"mouthFrown": 1.0},  # lip corner depressor
    "AU16": {"mouthLowerDown": 1.0},  # lower lip depressor
    "AU17": {"mouthShrugLower": 1.0},  # chin raiser
    "AU20": {"mouthStretch": 1.0},  # lip stretcher
    "AU23": {"mouthRollUpper": 0.5, "mouthRollLower": 0.5},  # lip tightener
    "AU24": {"mouthPress": 1.0, "mouthRollLower": 0.3},  # lip pressor
    "AU25": {"jawOpen": 0.12, "mouthLowerDown": 0.25},  # lips part
    "AU26": {"jawOpen": 0.40},  # jaw drop
    "AU27": {"jawOpen": 0.85},  # mouth stretch
}

# Class -> its displays at full strength; a face draws one of them. The units named by EMFACS are
# near 1; those that Du et al. saw in a part of their subjects are weaker.
PROTOTYPES: dict[str, list[dict[str, float]]] = {
    "anger": [
        {"AU4": 1.0, "AU5": 0.45, "AU7": 0.5, "AU23": 0.8, "AU24": 0.8},
        {"AU4": 1.0, "AU7": 0.7, "AU24": 1.0, "AU17": 0.5},
        {"AU4": 1.0, "AU5": 0.5, "AU7": 0.4, "AU10": 0.55, "AU16": 0.7, "AU25": 0.9},
    ],
    "disgust": [
        {"AU9": 1.0, "AU10": 0.7, "AU17": 0.5, "AU4": 0.35},
        {"AU9": 1.0, "AU10": 1.0, "AU25": 0.7, "AU4": 0.4, "AU7": 0.4},
        {"AU9": 1.0, "AU10": 0.8, "AU15": 0.4, "AU16": 0.5, "AU25": 0.6, "AU7": 0.3},
    ],
    "fear": [
        {"AU1": 1.0, "AU2": 0.5, "AU4": 0.6, "AU5": 1.0, "AU20": 1.0, "AU25": 1.0},
        {"AU1": 1.0, "AU2": 0.4, "AU4": 0.7, "AU5": 1.0, "AU20": 0.9, "AU25": 0.6, "AU26": 0.45},
    ],
    "happiness": [
        {"AU6": 0.8, "AU12": 1.0},
        {"AU6": 1.0, "AU12": 1.0, "AU25": 1.0, "AU10": 0.35},
        {"AU6": 1.0, "AU12": 1.0, "AU25": 1.0, "AU26": 0.5, "AU10": 0.35},
    ],
    "sadness": [
        {"AU1": 1.0, "AU4": 0.5, "AU15": 1.0},
        {"AU1": 1.0, "AU4": 0.5, "AU15": 1.0, "AU17": 0.8},
        {"AU1": 1.0, "AU4": 0.4, "AU15": 0.9, "AU6": 0.3, "AU25": 0.3},
    ],
    "surprise": [
        {"AU1": 1.0, "AU2": 1.0, "AU5": 0.8, "AU26": 1.0},
        {"AU1": 1.0, "AU2": 1.0, "AU5": 1.0, "AU27": 0.9},
    ],
    "neutral": [{}],
}


# How far the rig is driven for an action of 1. Its blend shapes are those of a mild speaker; at the
# strength that FACS calls E the brows and the lip corners travel farther.
RIG_GAIN = {
    "browInnerUp": 2.0, "browDown": 2.3, "browOuterUp": 1.6, "mouthSmile": 1.55,
    "mouthFrown": 1.8, "mouthStretch": 1.7, "noseSneer": 2.1, "mouthUpperUp": 1.7,
    "cheekSquint": 1.3, "mouthPress": 1.6, "eyeWide": 1.7, "eyeSquint": 1.15,
    "mouthShrugLower": 1.3, "mouthLowerDown": 1.5,
}  # fmt: skip


def rig_gain(names: list[str]) -> np.ndarray:
    """``RIG_GAIN`` as float32 [len(names)], 1 where an action is not listed."""
    bare = [name.removesuffix("Left").removesuffix("Right") for name in names]
    return np.array([RIG_GAIN.get(name, 1.0) for name in bare], np.float32)


def actions_of(units: dict[str, float], names: list[str]) -> np.ndarray:
    """ARKit action vector, float32 [len(names)] in [0, 1], of symmetric action units."""
    out = np.zeros(len(names), np.float32)
    for unit, strength in units.items():
        for action, weight in ACTION_UNITS[unit].items():
            for name in [action] if action in names else [action + side for side in BOTH]:
                out[names.index(name)] += strength * weight
    return np.clip(out, 0, 1)
