"""From five landmarks to a head: where a thing worn on a face appears in the picture.

Everything that :func:`occfer.occlusion.wear` draws is described once, on one canonical head, in
units of the distance between the eyes. The five landmarks tell how a head is turned and where it
lies in the picture, in closed form: yaw from the nose leaving the middle line, pitch from the
nose's height between eyes and mouth, everything else from a least-squares affine map.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

# x to the right of the picture, y down, z towards the viewer; the eyes are 1 apart and the origin
# lies between them. Fitted once to the rendered people of SynthFER, whose poses are known.
NOSE_Y, NOSE_Z = 0.61, 0.54
MOUTH_Y, MOUTH_Z = 1.12, 0.08
# The head as an upright elliptic cylinder that narrows towards crown and chin.
HALF_WIDTH, HALF_DEPTH, AXIS_Z = 1.02, 1.22, -1.12
PROFILE_Y = (-2.4, -2.1, -1.7, -1.2, -0.6, 0.0, 0.5, 1.0, 1.4, 1.7, 1.95, 2.2)
PROFILE = (0.20, 0.55, 0.83, 0.98, 1.03, 1.03, 1.00, 0.93, 0.82, 0.67, 0.48, 0.40)

MOST_YAW, MOST_PITCH = math.radians(60), math.radians(35)
PITCH_TRUST = 0.4
"""Noses differ in length as much as heads nod: the slope of SynthFER's true pitch on that
of the formula."""
LEAST_EYE_DISTANCE = 2.0
"""Pixels; nothing can be fitted to a face whose eyes are closer together."""
FURTHEST = 1e9
"""Pixels; products of larger coordinates do not fit into single precision."""
FLATTEST = 1e-4
"""Share of a head's area in the square of its extent; of points on one line it is zero."""


@dataclass(frozen=True)
class HeadPose:
    """How each head of a batch is turned, and the affine map from its frame to the picture.

    ``yaw`` is positive where the nose moves to the right of the picture, ``pitch`` where it moves
    up, in radians. A point of the turned head, seen along z, lies at ``linear @ (x, y) + origin``
    in pixels, the centre of the first pixel being (0, 0). Roll is part of ``linear``.
    """

    yaw: Float[Tensor, " batch"]
    pitch: Float[Tensor, " batch"]
    linear: Float[Tensor, "batch 2 2"]
    origin: Float[Tensor, "batch 2"]

    @property
    def scale(self) -> Float[Tensor, " batch"]:
        """Pixels per eye distance, the geometric mean over all directions."""
        return torch.linalg.det(self.linear).abs().sqrt()

    def project(self, points: Float[Tensor, "*batch points 3"]) -> Float[Tensor, "batch points 2"]:
        """Points of the canonical frame, the same for all heads or each its own, to pixels."""
        return self._flat(turned(points, self.yaw, self.pitch))

    def wrap(self, points: Float[Tensor, "*batch points 3"]) -> Float[Tensor, "batch points 2"]:
        """Points on the surface of the head to pixels.

        ``points``: azimuth in degrees (0 at the nose, positive to the right), y, and the lift off
        the surface, both in eye distances. What has turned away stops at the head's outline, so
        that a band ends where the head hides it.
        """
        azimuth, y, lift = points.to(self.yaw).expand(len(self.yaw), -1, 3).unbind(dim=2)
        low, high = self.horizon
        azimuth = azimuth.deg2rad().maximum(low[:, None]).minimum(high[:, None])
        return self.project(surface(azimuth, y, lift))

    @property
    def horizon(self) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        """The azimuths, in radians, at which each head turns away from the viewer."""
        high = torch.atan2(self.yaw.cos() * HALF_WIDTH, self.yaw.sin() * HALF_DEPTH)
        return high - math.pi, high

    def outline(self, steps: int = 24) -> Float[Tensor, "batch points 2"]:
        """The silhouette of the head without hair, in pixels."""
        y = torch.linspace(PROFILE_Y[0], PROFILE_Y[-1], steps).to(self.yaw)
        left, right = (
            self.project(surface(side[:, None].expand(-1, steps), y.expand(len(side), -1), 0.0))
            for side in self.horizon
        )
        return torch.cat([right, left.flip(1)], dim=1)

    def unproject(self, height: int, width: int) -> Float[Tensor, "batch 2 height width"]:
        """For every pixel the (x, y) of the turned head's frame that it shows."""
        rows = torch.arange(height).to(self.origin)
        columns = torch.arange(width).to(self.origin)
        down, across = torch.meshgrid(rows, columns, indexing="ij")
        pixels = torch.stack([across, down]).flatten(1) - self.origin[:, :, None]
        return (torch.linalg.inv(self.linear) @ pixels).unflatten(2, (height, width))

    def _flat(self, points: Tensor) -> Tensor:
        return points[..., :2] @ self.linear.mT + self.origin[:, None]


def fit_head(landmarks: Float[Tensor, "batch 5 2"]) -> HeadPose:
    """The pose of each head from its five landmarks.

    Args:
        landmarks: x and y in pixels of left eye, right eye, nose, left and right mouth corner (left
            and right in the picture); they may lie outside of the picture.

    In the roll-free frame of the eyes, let n and m be nose and mouth centre, seen from between the
    eyes. Turning the canonical head by pitch p and yaw ψ gives

        n_y / m_y = (N_y − N_z tan p) / (M_y − M_z tan p),
        (n_x − k m_x) / e = tan ψ cos p (N_z − k M_z)   with k = N_y / M_y and eye distance e,

    which are solved for p and ψ. The affine map is then the least-squares fit of the turned eyes,
    nose and mouth centre to the measured ones; mouth corners move with the expression and count
    as their centre.

    Raises:
        ValueError: a landmark is missing (NaN or infinite) or further away than ``FURTHEST``, the
            eyes lie on top of each other, all points of a face lie on one line, or most faces have
            left and right exchanged.
    """
    _check_landmarks(landmarks)
    left, right, nose, *corners = landmarks.unbind(dim=1)
    mouth, between = (corners[0] + corners[1]) / 2, (left + right) / 2
    eyes = right - left
    distance = eyes.norm(dim=1)
    across = eyes / distance[:, None]
    down = torch.stack([-across[:, 1], across[:, 0]], dim=1)

    def seen(point: Tensor, axis: Tensor) -> Tensor:
        return ((point - between) * axis).sum(dim=1) / distance

    # The mouth of a face that looks at all natural is below the eyes.
    ratio = seen(nose, down) / seen(mouth, down).clamp(min=0.3)
    tangent = (NOSE_Y - ratio * MOUTH_Y) / (NOSE_Z - ratio * MOUTH_Z).clamp(min=0.2)
    pitch = (PITCH_TRUST * tangent.atan()).clamp(-MOST_PITCH, MOST_PITCH)
    share = NOSE_Y / MOUTH_Y
    aside = seen(nose, across) - share * seen(mouth, across)
    yaw = (aside / (NOSE_Z - share * MOUTH_Z) / pitch.cos()).atan().clamp(-MOST_YAW, MOST_YAW)

    model = turned(canonical_landmarks().to(landmarks), yaw, pitch)[..., :2]
    measured = torch.stack([left, right, nose, mouth], dim=1)
    ones = torch.ones_like(model[..., :1])
    design = torch.cat([model, ones], dim=2)
    normal = design.mT @ design
    solution = torch.linalg.solve(normal, design.mT @ measured)
    _check_flatness(solution[:, :2])
    return HeadPose(yaw, pitch, solution[:, :2].mT, solution[:, 2])


def canonical_landmarks() -> Float[Tensor, "4 3"]:
    """Left eye, right eye, nose and mouth centre of the canonical head."""
    return torch.tensor(
        [[-0.5, 0, 0], [0.5, 0, 0], [0, NOSE_Y, NOSE_Z], [0, MOUTH_Y, MOUTH_Z]],
        dtype=torch.float64,
    )


def turned(
    points: Float[Tensor, "*batch points 3"],
    yaw: Float[Tensor, " batch"],
    pitch: Float[Tensor, " batch"],
) -> Float[Tensor, "batch points 3"]:
    """Nod by the pitch, then turn by the yaw."""
    x, y, z = points.to(yaw).expand(len(yaw), -1, 3).unbind(dim=2)
    (cos_p, sin_p), (cos_y, sin_y) = (
        (angle.cos()[:, None], angle.sin()[:, None]) for angle in (pitch, yaw)
    )
    y, z = cos_p * y - sin_p * z, sin_p * y + cos_p * z
    x, z = cos_y * x + sin_y * z, cos_y * z - sin_y * x
    return torch.stack([x, y, z], dim=2)


def surface(
    azimuth: Float[Tensor, "batch points"], y: Float[Tensor, "batch points"], lift: Tensor | float
) -> Float[Tensor, "batch points 3"]:
    """Points of the canonical head: azimuth in radians, y and lift in eye distances."""
    girth = profile(y)
    x = (HALF_WIDTH * girth + lift) * azimuth.sin()
    # The front of the face narrows less than its sides do.
    z = AXIS_Z + (HALF_DEPTH * (0.5 + 0.5 * girth) + lift) * azimuth.cos()
    return torch.stack([x, y, z], dim=2)


def profile(y: Float[Tensor, "*points"]) -> Float[Tensor, "*points"]:
    """Half the width of the head at height ``y``, relative to its widest, piecewise linear."""
    knots, values = (torch.tensor(each).to(y) for each in (PROFILE_Y, PROFILE))
    place = torch.searchsorted(knots, y.contiguous()).clamp(1, len(knots) - 1)
    share = ((y - knots[place - 1]) / (knots[place] - knots[place - 1])).clamp(0, 1)
    return values[place - 1] + share * (values[place] - values[place - 1])


def _check_landmarks(landmarks: Tensor) -> None:
    lost = ~landmarks.isfinite().flatten(1).all(dim=1)
    if bool(lost.any()):
        raise ValueError(
            f"wear needs all five landmarks of every face, but {int(lost.sum())} of {len(lost)} "
            f"faces lack some (the first is face {int(lost.nonzero()[0])}); detect them, or leave "
            f"these faces out."
        )
    far = (landmarks.abs() > FURTHEST).flatten(1).any(dim=1)
    if bool(far.any()):
        raise ValueError(
            f"landmarks must lie within {FURTHEST:g} pixels of the picture, but those of face "
            f"{int(far.nonzero()[0])} do not; correct them."
        )
    distance = (landmarks[:, 1] - landmarks[:, 0]).norm(dim=1)
    close = distance < LEAST_EYE_DISTANCE
    if bool(close.any()):
        face = int(close.nonzero()[0])
        raise ValueError(
            f"the eyes of a face must lie at least {LEAST_EYE_DISTANCE:g} pixels apart, but those "
            f"of face {face} are {float(distance[face]):.2f} apart; correct its landmarks or "
            f"enlarge the picture."
        )
    _check_sides(landmarks)


def _check_sides(landmarks: Tensor) -> None:
    """However a picture is turned, with left and right exchanged the mouth is above the eyes."""
    left, right, _, *corners = landmarks.unbind(dim=1)
    across, down = right - left, sum(corners) - left - right
    mirrored = across[:, 0] * down[:, 1] < across[:, 1] * down[:, 0]
    # One face of many may be found wrongly; what most of them share is a convention.
    if bool(2 * mirrored.sum() > len(mirrored)):
        raise ValueError(
            f"left eye and left mouth corner must be those to the left in an upright picture, but "
            f"{int(mirrored.sum())} of {len(mirrored)} faces have left and right exchanged (the "
            f"first is face {int(mirrored.nonzero()[0])}); swap points 0 and 1, and 3 and 4."
        )


def _check_flatness(linear: Float[Tensor, "batch 2 2"]) -> None:
    area, extent = torch.linalg.det(linear).abs(), linear.square().sum(dim=(1, 2))
    flat = area < FLATTEST * extent
    if bool(flat.any()):
        raise ValueError(
            f"the five landmarks of a face must not lie on one line, but those of face "
            f"{int(flat.nonzero()[0])} do; correct them."
        )
