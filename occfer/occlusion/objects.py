"""Things held to a face or worn beside it: phone, microphone, headset; sizes are the real ones.

Units are eye distances, 63 mm on average.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from occfer.occlusion.drawing import constant, ellipse, rounded_box, smooth
from occfer.occlusion.hand import HandFrame, creases, nail
from occfer.occlusion.scene import Scene
from occfer.occlusion.solids import solid

EAR_Z = -0.88


def phone(scene: Scene) -> None:
    """A phone held up in front of half the face, its cameras towards the viewer."""
    side = torch.where(scene.variation[:, 0] < 0.5, -1.0, 1.0)
    lean = scene.draw(1, -4, 14).deg2rad() * side
    centre = torch.stack([side * scene.draw(2, 0.25, 0.45), scene.draw(3, 1.15, 1.45)], 1)
    frame = HandFrame(scene, centre, lean, side, torch.ones_like(lean))
    body = scene.choose(4, [[0.09, 0.09, 0.10], [0.85, 0.85, 0.86], [0.16, 0.22, 0.34],
                            [0.70, 0.20, 0.22], [0.30, 0.36, 0.30]])  # fmt: skip
    skin = scene.light.skin_albedo
    half = (0.58, 1.20)
    outline = frame(rounded_box(half, 0.17))
    cover = scene.inside(outline)
    # Thumb and ball of the hand come from behind the near edge.
    palm = frame(constant([(0.62, 1.9), (0.70, 1.0), (0.66, 0.55)]))
    solid(scene, palm, (0.34, 0.26, 0.15), skin)
    wrist = frame(constant([(0.45, 1.6), (0.55, 4.5)]))
    solid(scene, wrist, (0.40, 0.50), skin)
    scene.cast(cover, radius=0.14, strength=0.5)
    flat = torch.ones_like(cover)
    sheen = (0.92 + 0.10 * (scene.place[:, 0] - scene.place[:, 1] + 1)).clamp(0.7, 1.2)
    scene.add(cover, body, sheen)
    scene.tone(scene.line(outline, 0.06, closed=True) * cover, 0.28)
    scene.tone(scene.line(outline, 0.02, closed=True), -0.5)
    island = frame(rounded_box((0.24, 0.25), 0.09) + torch.tensor([-0.26, -0.87]))
    scene.add(scene.inside(island), (body * 0.75 + 0.07), flat)
    scene.tone(scene.line(island, 0.025, closed=True), 0.25)
    for x, y in ((-0.36, -0.98), (-0.36, -0.76), (-0.16, -0.87)):
        for radius, grey in ((0.092, 0.55), (0.078, 0.04), (0.045, 0.13), (0.02, 0.35)):
            ring = scene.inside(frame(ellipse((x, y), (radius, radius), 20)))
            scene.add(ring, torch.full_like(body, grey), flat)
    lamp = scene.inside(frame(ellipse((-0.15, -1.03), (0.03, 0.03), 12)))
    scene.add(lamp, torch.full_like(body, 0.95), flat)
    for y, reach, radius in (
        (0.05, 0.02, 0.125), (0.33, -0.06, 0.13), (0.61, -0.02, 0.125), (0.87, 0.10, 0.11)
    ):  # fmt: skip
        points = constant([(0.72, y + 0.14), (0.48, y + 0.03), (reach, y - 0.02)])
        solid(scene, frame(points), (radius * 1.1, radius, radius * 0.82), skin)
        nail(scene, frame, points[1], points[2], radius * 0.82, skin)
        creases(scene, frame, points[1], points[2], radius * 0.7)


def microphone(scene: Scene) -> None:
    """A stage microphone in front of mouth and chin, held from below."""
    side = torch.where(scene.variation[:, 0] < 0.5, -1.0, 1.0)
    lean = scene.draw(1, 18, 48).deg2rad()
    centre = torch.stack([side * scene.draw(2, -0.06, 0.22), scene.draw(3, 1.22, 1.42)], 1)
    frame = HandFrame(scene, centre, -lean * side, side, scene.draw(4, 0.92, 1.1))
    body = scene.choose(5, [[0.07, 0.07, 0.08], [0.12, 0.12, 0.14], [0.45, 0.38, 0.16]])
    mesh = scene.choose(6, [[0.55, 0.56, 0.58], [0.30, 0.30, 0.32], [0.68, 0.60, 0.36]])
    solid(scene, frame(constant([(0.0, 0.42), (0.0, 3.0)])), (0.235, 0.15), body, gloss=0.5)
    skin = scene.light.skin_albedo
    ball = frame(constant([(0.0, -0.04), (0.0, 0.06)]))
    cover, normals = solid(scene, ball, (0.40, 0.40), mesh, gloss=0.55)
    # Wires of the basket: a grid on the sphere, seen while it is wider than a pixel.
    x, y, z = normals.unbind(dim=1)
    around, down = torch.atan2(x, z.clamp(min=1e-3)), y.clamp(-1, 1).asin()
    fine = (scene.pose.scale / 18 - 0.6).clamp(0, 1)[:, None, None]
    grid = (14 * (around + down)).sin() * (14 * (around - down)).sin()
    scene.tone(cover * fine * (0.5 + 1.5 * grid).clamp(0, 1), -0.45)
    band = frame(constant([(-0.40, 0.05), (-0.2, 0.13), (0.2, 0.13), (0.40, 0.05)]))
    scene.add(scene.line(smooth(band), 0.10), torch.full_like(body, 0.62))
    scene.tone(scene.line(smooth(band), 0.03), 0.6)
    collar = frame(constant([(-0.21, 0.44), (0.0, 0.49), (0.21, 0.44)]))
    scene.add(scene.line(smooth(collar), 0.07), torch.full_like(body, 0.45))
    for y0 in (1.05, 1.32, 1.59, 1.84):
        points = constant([(0.40, y0 + 0.10), (0.12, y0), (-0.20, y0 + 0.02)])
        solid(scene, frame(points), (0.15, 0.14, 0.115), skin)
        nail(scene, frame, points[1], points[2], 0.11, skin)


def headset(scene: Scene) -> None:
    """Headphones over the ears, with a band over the head and a microphone at the mouth."""
    pose = scene.pose
    body = scene.choose(0, [[0.08, 0.08, 0.09], [0.80, 0.80, 0.82], [0.25, 0.26, 0.28]])
    accent = scene.choose(1, [[0.75, 0.10, 0.10], [0.10, 0.35, 0.75], [0.15, 0.15, 0.16],
                              [0.50, 0.50, 0.52], [0.15, 0.60, 0.30]])  # fmt: skip
    body = (body * scene.draw(3, 0.75, 1.2)[:, None]).clamp(max=1)
    accent = (accent * scene.draw(4, 0.75, 1.2)[:, None]).clamp(max=1)
    # The head hides what lies on the side that has turned away.
    head = scene.inside(pose.outline())
    over = [(1.22 * math.sin(a), 0.1 - 2.15 * math.cos(a) ** 0.9, EAR_Z - 0.12) for a in
            [step * math.pi / 2 / 8 for step in range(8)]]  # fmt: skip
    over.append((1.24, -0.1, EAR_Z - 0.06))
    arch = smooth(constant([(-x, y, z) for x, y, z in over[:0:-1]] + over), steps=2)
    solid(scene, pose.project(arch), (0.10,) * len(arch), body, gloss=0.4)
    for side in (-1, 1):
        far = (side * pose.yaw * 8).clamp(0, 1)[:, None, None]
        seen = 1 - far * head
        pad, shell, rim, plate, badge = (
            pose.project(_ring(side * x, radius))
            for x, radius in ((1.04, 0.44), (1.16, 0.47), (1.30, 0.43), (1.36, 0.33), (1.37, 0.17))
        )
        cushion = scene.inside(_swept(pad, shell)) * seen
        scene.cast(cushion, radius=0.12)
        scene.add(cushion, 0.5 * body)
        scene.add(scene.inside(_swept(shell, rim)) * seen, body)
        scene.tone(scene.line(shell, 0.03, closed=True) * seen, 0.25)
        scene.add(scene.inside(_swept(rim, plate)) * seen, accent)
        # From inside, the head hides the plate.
        outer = seen * (1 - far)
        scene.add(scene.inside(plate) * outer, body, scene.light.shade * 1.15)
        scene.add(scene.inside(badge) * outer, accent)
    side = torch.where(scene.variation[:, 2] < 0.5, -1.0, 1.0)[:, None]
    boom = smooth(constant([(1.26, 0.45, EAR_Z + 0.18), (1.22, 0.85, -0.5), (0.95, 1.15, 0.1),
                            (0.55, 1.28, 0.42)])).to(scene.images)  # fmt: skip
    boom = boom.expand(len(side), -1, 3).clone()
    boom[..., 0] *= side
    # The arm is bent to where its wearer likes it.
    bent = torch.linspace(0, 1, boom.shape[1]).to(boom) * scene.draw(5, -0.15, 0.15)[:, None]
    boom[..., 1] += bent
    # The boom starts at an ear that may be hidden.
    hidden = 1 - ((side[:, 0] * pose.yaw * 8).clamp(0, 1)[:, None, None]
                  * head * (scene.place[:, 1:2].squeeze(1) < 0.9))  # fmt: skip
    line = pose.project(boom)
    scene.cast(scene.line(line, 0.09) * hidden, radius=0.06)
    scene.add(scene.line(line, 0.085) * hidden, body)
    scene.tone(scene.line(line - 0.015 * pose.scale[:, None, None], 0.03) * hidden, 0.3)
    tip = boom[:, -2:].clone()
    tip[:, 1] += torch.tensor([-0.16, 0.02, 0.03]).to(tip) * torch.cat(
        [side, torch.ones_like(side), torch.ones_like(side)], 1)  # fmt: skip
    solid(scene, pose.project(tip), (0.15, 0.13), torch.full_like(body, 0.06), gloss=0.15)


def _ring(x: float, radius: float) -> Float[Tensor, "32 3"]:
    """A circle around the axis through both ears, a little higher than deep."""
    disc = ellipse((EAR_Z, 0.22), (radius * 0.85, radius * 1.08), 32)
    return torch.cat([torch.full_like(disc[:, :1], x), disc[:, 1:], disc[:, :1]], dim=1)


def _swept(one: Tensor, other: Tensor) -> Tensor:
    """The outline of what a convex ring covers on its way to another, both in pixels."""
    along = one.roll(-1, dims=1) - one.roll(1, dims=1)
    outward = torch.stack([along[..., 1], -along[..., 0]], dim=2)
    inner = ((one - one.mean(dim=1, keepdim=True)) * outward).sum(dim=(1, 2), keepdim=True)
    ahead = (outward * inner.sign() * (other - one)).sum(dim=2, keepdim=True) > 0
    return torch.where(ahead, other, one)


OBJECTS = {each.__name__: each for each in (phone, microphone, headset)}
