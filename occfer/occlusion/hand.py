"""A hand, seen from its back, in the colour of the face it covers.

Units are eye distances, 63 mm on average; lengths and radii are those of an adult hand (Greiner,
"Hand anthropometry of U.S. Army personnel", 1991).
"""

import math

import torch
from torch import Tensor

from occfer.occlusion.drawing import constant, ellipse, smooth
from occfer.occlusion.scene import Scene
from occfer.occlusion.solids import solid

# A left hand with its fingers up: x towards the thumb, y down, the origin at the knuckle of the
# middle finger. Each finger: knuckle, direction in degrees, radius, bone lengths.
FINGERS = (
    ((-0.46, 0.16), -10, 0.118, (0.52, 0.32, 0.24)),
    ((-0.17, 0.03), -3, 0.132, (0.64, 0.42, 0.28)),
    ((0.13, 0.00), 2, 0.138, (0.70, 0.46, 0.29)),
    ((0.43, 0.07), 8, 0.136, (0.63, 0.38, 0.27)),
)
WRIST_Y = 1.42
THUMB = ((0.30, 1.15), (0.62, 0.72), (0.80, 0.30), (0.86, -0.02))
THUMB_RADII = (0.22, 0.185, 0.155, 0.125)


def hand(scene: Scene) -> None:
    """The back of a hand over mouth and chin, or over one cheek and eye."""
    side = torch.where(scene.variation[:, 0] < 0.5, -1.0, 1.0)
    high = scene.variation[:, 1] < 0.3
    lean = scene.draw(2, 25, 62).deg2rad()
    lean = torch.where(high, scene.draw(2, -8, 22).deg2rad(), lean)
    x = torch.where(high, side * scene.draw(3, 0.42, 0.62), side * scene.draw(3, 0.30, 0.62))
    y = torch.where(high, scene.draw(4, 0.75, 1.15), scene.draw(4, 1.40, 1.62))
    size = scene.draw(5, 0.92, 1.08)
    paint_hand(scene, HandFrame(scene, torch.stack([x, y], 1), -lean * side, -side, size))


class HandFrame:
    """Where a hand lies: hand coordinates → pixels, mirrored or not, turned by an angle."""

    def __init__(self, scene: Scene, centre: Tensor, angle: Tensor, side: Tensor, size: Tensor):
        cos, sin = angle.cos() * size, angle.sin() * size
        self.matrix = torch.stack(
            [torch.stack([cos * side, -sin], 1), torch.stack([sin * side, cos], 1)], 1
        )
        self.centre, self.scene = centre, scene

    def __call__(self, points: Tensor) -> Tensor:
        placed = points.to(self.matrix) @ self.matrix.mT
        placed = placed + self.centre[:, None]
        pose = self.scene.pose
        return placed @ pose.linear.mT + pose.origin[:, None]


def paint_hand(scene: Scene, frame: HandFrame) -> None:
    """The back of a hand: forearm, palm, four fingers with nails, thumb."""
    skin = scene.light.skin_albedo
    # Lit like the face, whose colour already holds its own mean shade.
    sleeve = scene.choose(9, [[0.15, 0.18, 0.28], [0.45, 0.42, 0.40], [0.30, 0.12, 0.14],
                              [0.80, 0.80, 0.78], [0.12, 0.12, 0.13]])  # fmt: skip
    wrist = frame(constant([(0.0, WRIST_Y - 0.1), (0.0, WRIST_Y + 0.5), (0.0, 5.0)]))
    solid(scene, wrist, (0.40, 0.42, 0.62), skin)
    cuff = frame(constant([(0.0, WRIST_Y + 0.75), (0.0, 5.0)]))
    solid(scene, cuff, (0.56, 0.80), sleeve)
    chains, widths = [], []
    for (x, y), direction, radius, bones in FINGERS:
        # Each finger goes on in the palm, with the bone of the hand that carries it.
        chains.append(
            constant([(x * 0.5, WRIST_Y), (x * 0.62, 1.1), (x * 0.8, 0.6), (x, y + 0.12)])
        )
        widths.append((0.30, 0.30, 0.25, radius * 1.30))
        chains.append(finger((x, y), direction, bones))
        widths.append((radius * 1.16, radius, radius * 0.92, radius * 0.74))
    placed = torch.stack([frame(chain) for chain in chains], dim=1)
    solid(scene, placed, torch.tensor(widths), skin)
    for (x, y), *_ in FINGERS:
        tendon = frame(constant([(x * 0.65, 0.95), (x, y + 0.1)]))
        scene.tone(scene.soften(scene.line(tendon, 0.06), 0.03), 0.06)
        dimple = frame(ellipse((x, y + 0.04), (0.09, 0.07), 16))
        scene.tone(scene.soften(scene.inside(dimple), 0.05), 0.10)
    thumb = frame(smooth(constant(list(THUMB)), steps=3))
    steps = torch.linspace(0, 3, thumb.shape[1])
    radii = torch.tensor(THUMB_RADII)
    low = steps.floor().long().clamp(max=2)
    thumb_radii = radii[low] + (steps - low) * (radii[low + 1] - radii[low])
    for knuckle, direction, radius, bones in FINGERS:
        points = finger(knuckle, direction, bones)
        nail(scene, frame, points[-2], points[-1], radius * 0.80, skin)
        for joint, reach in ((1, 0.8), (2, 0.6)):
            creases(scene, frame, points[joint], points[joint + 1], radius * reach)
    solid(scene, thumb, thumb_radii, skin)
    nail(scene, frame, constant([THUMB[2]])[0], constant([THUMB[3]])[0], 0.115, skin)


def finger(knuckle, direction: float, bones) -> Tensor:
    """Points from the knuckle to the tip."""
    points = [knuckle]
    for bone, turn in zip(bones, (0, 1.5, 2.5), strict=True):
        angle = math.radians(direction + (turn if direction < 0 else -turn))
        x, y = points[-1]
        points.append((x + bone * math.sin(angle), y - bone * math.cos(angle)))
    return constant(points)


def nail(
    scene: Scene, frame: HandFrame, joint: Tensor, tip: Tensor, width: float, skin: Tensor
) -> None:
    """The nail at the end of a finger whose last bone goes from ``joint`` to ``tip``."""
    along = (tip - joint) / (tip - joint).norm()
    across = torch.stack([-along[1], along[0]])
    shape = ellipse((0.0, 0.0), (width * 0.62, width * 0.78), steps=20)
    centre = tip + along * width * 0.25
    plate = frame(centre + shape[:, :1] * across + shape[:, 1:] * along)
    cover = scene.inside(plate)
    pink = (skin * torch.tensor([1.08, 0.95, 0.93]).to(skin) + 0.06).clamp(max=1)
    scene.tone(scene.line(plate, 0.025, closed=True), -0.30)
    scene.add(cover * 0.75, pink, scene.light.shade)
    glint = frame(
        centre + (0.4 * shape[:, :1] - 0.15 * width) * across + 0.45 * shape[:, 1:] * along
    )
    scene.tone(scene.soften(scene.inside(glint), 0.015), 0.30)


def creases(scene: Scene, frame: HandFrame, joint: Tensor, after: Tensor, reach: float) -> None:
    """Three folds of skin across a finger at ``joint``; ``after`` is the next point."""
    along = (after - joint) / (after - joint).norm()
    across = torch.stack([-along[1], along[0]])
    for offset in (-0.035, 0.0, 0.035):
        ends = torch.stack([-across, across * 0.0 + along * 0.15, across]) * reach
        path = frame(smooth(joint + along * offset + ends))
        scene.tone(scene.line(path, 0.016), -0.16)
