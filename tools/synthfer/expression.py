"""What one face does: class, intensity, actions, gaze and pose, from (seed, identity, face)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .facs import PROTOTYPES, actions_of
from .identity import Identity

# occfer.emotions.EMOTIONS; repeated because the renderer runs where occfer is not installed.
EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
MAX_POSE = np.array([35.0, 20.0, 15.0])  # yaw, pitch, roll in degrees
INTENSITY = (0.3, 1.0)

# Small movements that mean nothing here, and how far each may go.
IDLE = {
    "jawLeft": 0.2, "jawRight": 0.2, "mouthLeft": 0.15, "mouthRight": 0.15, "mouthPucker": 0.12,
    "mouthDimpleLeft": 0.15, "mouthDimpleRight": 0.15, "browInnerUp": 0.1, "browDownLeft": 0.1,
    "browDownRight": 0.1, "browOuterUpLeft": 0.12, "browOuterUpRight": 0.12, "jawOpen": 0.06,
    "eyeSquintLeft": 0.15, "eyeSquintRight": 0.15, "cheekPuff": 0.08, "mouthShrugUpper": 0.1,
    "eyeBlinkLeft": 0.12, "eyeBlinkRight": 0.12, "mouthClose": 0.03, "mouthFunnel": 0.08,
}  # fmt: skip


@dataclass
class Expression:
    """One face's ``label`` (index in EMOTIONS), ``intensity`` (0 for neutral), ``actions``
    float32 [52], ``pose`` (yaw, pitch, roll; degrees; yaw > 0 turns to the subject's left,
    pitch > 0 looks up, roll > 0 tilts the head to the subject's left shoulder)."""

    label: int
    intensity: float
    actions: np.ndarray
    pose: np.ndarray


def draw_expression(
    rng: np.random.Generator, person: Identity, face: int, names: list[str]
) -> Expression:
    """Draw face ``face`` of ``person``. The first seven hold every class; from then on the classes
    take turns from person to person, so that all stay equally frequent."""
    classes = len(EMOTIONS)
    label = face if face < classes else (face - classes + 3 * person.index) % classes
    emotion = EMOTIONS[label]
    intensity = 0.0 if emotion == "neutral" else float(rng.uniform(*INTENSITY))
    options = PROTOTYPES[emotion]
    actions = intensity * actions_of(options[rng.integers(len(options))], names)
    if emotion != "neutral" and rng.random() < 0.2:
        other = EMOTIONS[rng.integers(len(EMOTIONS) - 1)]
        blend = 0.25 * intensity * rng.random()
        actions = actions * (1 - blend) + blend * actions_of(PROTOTYPES[other][0], names)
    actions = actions * person.asymmetry * rng.normal(1, 0.06, len(names))
    for name in rng.choice(list(IDLE), 4, replace=False):
        actions[names.index(name)] += IDLE[name] * rng.random()
    gaze = rng.normal(0, [0.16, 0.10]).clip(-0.4, 0.3)
    for side, outward in (("Left", 1), ("Right", -1)):
        actions[names.index(f"eyeLookOut{side}")] += max(outward * gaze[0], 0)
        actions[names.index(f"eyeLookIn{side}")] += max(-outward * gaze[0], 0)
        actions[names.index(f"eyeLookUp{side}")] += max(gaze[1], 0)
        actions[names.index(f"eyeLookDown{side}")] += max(-gaze[1], 0)
    pose = np.clip(rng.normal(0, MAX_POSE / 2.4), -MAX_POSE, MAX_POSE)
    return Expression(
        label, intensity, np.clip(actions, 0, 1).astype(np.float32), pose.astype(np.float32)
    )
