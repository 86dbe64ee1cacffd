"""One face from its three numbers (seed, identity, face): meshes, pose, camera, picture, truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .anatomy import EYE, LID_MARGINS, MOUTH, NOSE_TIP, Regions, regions
from .expression import Expression, draw_expression
from .eyes import eyeball, fit_sphere, rotation_between
from .facs import rig_gain
from .glasses import glasses
from .hair import Growth, covering, grow
from .head import Head
from .identity import Identity, draw_identity
from .light import draw_light
from .photo import develop
from .scene import SIZE, Camera, Piece, Rendering, render
from .skin import paint, part_of_vertices
from .subdivision import triangles

NECK = np.array([0.0, 63.0, 1.0])  # the head turns about this point, cm on the average head


@dataclass
class Face:
    """A finished face: ``image`` uint8 [112, 112, 3], ``parts`` uint8 [112, 112] (codes of
    ``anatomy.PARTS``), ``landmarks`` float32 [5, 2] in pixels (x, y) in MTCNN's order (the eye on
    the picture's left first), and what was drawn."""

    image: np.ndarray
    parts: np.ndarray
    landmarks: np.ndarray
    person: Identity
    expression: Expression
    glasses: bool
    interocular: float


class Studio:
    """Holds the head and its regions, and the person last drawn (faces of one person share it)."""

    def __init__(self, head: Head, seed: int, identities: int, samples: int = 40) -> None:
        self.head, self.seed, self.identities, self.samples = head, seed, identities, samples
        self.region: Regions = regions(head.surfaces["skin"])
        self.gain = rig_gain(head.actions)
        self.corners = _corners(self.region)
        self.lids = {side: _lid_edges(self.region, side) for side in head.eyes}
        # No pose shows the back of the head; leaving it out makes the scene quicker to build.
        faces = triangles(head.surfaces["skin"].faces)
        self.front = faces[(self.region.position[faces][..., 2] > -0.5).all(1)]
        self._person: tuple | None = None

    def person(
        self, index: int
    ) -> tuple[Identity, np.ndarray, np.ndarray, np.ndarray, Growth | None]:
        """(identity, vertices at rest, skin albedo, skin roughness, hair) of identity ``index``."""
        if self._person is None or self._person[0].index != index:
            person = draw_identity(self.seed, index, self.identities)
            shape = self.head.shape(person.phenotype, person.local)
            hair = grow(self.region, self.front, person)
            self._person = (person, shape, *paint(self.region, person), hair)
        return self._person

    def face(self, index: int, face: int) -> Face:
        """Render face ``face`` of identity ``index``."""
        person, shape, albedo, roughness, hair = self.person(index)
        rng = np.random.default_rng([self.seed, index, face + 1])
        expression = draw_expression(rng, person, face, self.head.actions)
        posed = self.head.act(shape, expression.actions * self.gain)
        worn = person.glasses is not None
        pieces, points = self._assemble(person, shape, posed, albedo, roughness, hair, worn)
        turn = _rotation_vector(expression.pose)
        pivot = NECK + (shape.mean(0) - self.head.template.mean(0))
        for piece in pieces:
            piece.vertices = _turn_head(piece.vertices, turn, pivot)
        points = {name: _turn_head(value, turn, pivot) for name, value in points.items()}
        camera = _aim(points["face"], rng)
        light = draw_light(rng)
        picture = render(pieces, camera, light, self.samples, int(rng.integers(2**31)))
        image = develop(picture, person.shade, rng)
        landmarks = camera.project(points["landmarks"])
        return Face(
            image,
            picture.parts,
            landmarks,
            person,
            expression,
            worn,
            float(np.linalg.norm(landmarks[0] - landmarks[1])),
        )

    def _assemble(
        self,
        person: Identity,
        shape: np.ndarray,
        posed: np.ndarray,
        albedo: np.ndarray,
        roughness: np.ndarray,
        hair: Growth | None,
        worn: bool,
    ) -> tuple[list[Piece], dict[str, np.ndarray]]:
        surfaces = self.head.surfaces
        skin = surfaces["skin"].refine @ posed
        faces = self.front
        codes = part_of_vertices(self.region, person)[faces]
        pieces = [Piece(skin, faces, albedo, np.median(codes, 1).astype(np.uint8), roughness,
                        specular=0.13)]  # fmt: skip

        landmarks = []
        for side in ("right", "left"):
            at = self.head.eyes[side]
            centre, radius = fit_sphere(posed[at])
            # A little small and deep, or strong squints push the ball through the lower lid.
            centre, radius = centre - [0, 0, 0.08], 0.965 * radius
            turn = rotation_between(shape[at], posed[at])
            pieces.append(
                eyeball(centre, radius, turn, person.iris, person.pupil,
                        np.array([0.68, 0.65, 0.62]), person.texture_seed)
            )  # fmt: skip
            landmarks.append(np.mean([skin[edge].mean(0) for edge in self.lids[side]], 0))
        pieces += self._mouth(person, posed)
        if hair:
            pieces += covering(hair, self.region, skin, faces, person)
        if worn:
            front = skin[self.region.blob((4.0, 74.6, 14.0), 0.8) > 0.6][:, 2].max() + 0.45
            ear = skin[(self.region.ears > 0.5) & (self.region.position[:, 0] > 0)]
            top = ear[ear[:, 1].argmax()]
            pieces.append(glasses(landmarks[0], landmarks[1], front, top, **person.glasses))
        landmarks.append(skin[np.argmin(((self.region.position - NOSE_TIP) ** 2).sum(1))])
        landmarks += [skin[corner].mean(0) for corner in self.corners]
        rest = self.region.position
        frame = (self.region.face > 0.5) & (rest[:, 1] < 77.5) & (rest[:, 2] > 8)
        return pieces, {"landmarks": np.array(landmarks), "face": skin[frame]}

    def _mouth(self, person: Identity, posed: np.ndarray) -> list[Piece]:
        out = []
        for name in ("upper_teeth", "lower_teeth", "tongue"):
            surface = self.head.surfaces[name]
            points = surface.refine @ posed
            if name == "tongue":
                # The rig's tongue lies high and would fill the open mouth.
                points = points - [0, 0.45, 0.5]
                colour, rough = np.array([0.34, 0.10, 0.10]), 0.35
            else:
                # Upper teeth show when the lip lifts; the rig's stand too high and too deep.
                points = points + ([0, -0.45, 0.1] if name == "upper_teeth" else [0, 0.0, -0.3])
                colour, rough = person.teeth, 0.25
                gap = np.abs(np.sin(np.pi * surface.rest[:, 0] / 0.8))
                colour = colour * (0.72 + 0.28 * np.clip(gap * 3, 0, 1))[:, None]
            colour = np.broadcast_to(colour, points.shape)
            codes = np.full(2 * len(surface.faces), MOUTH, np.uint8)
            out.append(Piece(points, triangles(surface.faces), colour, codes, rough))
        return out


def _corners(region: Regions) -> list[np.ndarray]:
    """Skin vertices at the two mouth corners, the subject's right one first."""
    lips = np.flatnonzero(region.lips > 0.5)
    order = lips[np.argsort(region.position[lips, 0])]
    return [order[:6], order[-6:]]


def _lid_edges(region: Regions, side: str) -> list[np.ndarray]:
    """Skin vertices on the edge of the lower and of the upper lid, in front of the pupil: the
    middle between them is the centre of the eye's opening."""
    p, sign = region.position, -1 if side == "right" else 1
    front = (region.lids > 0.9) & (np.abs(sign * p[:, 0] - EYE[0]) < 0.5) & (p[:, 2] > 13.85)
    return [np.flatnonzero(front & (np.abs(p[:, 1] - y) < 0.05)) for y in LID_MARGINS]


def _rotation_vector(pose: np.ndarray) -> np.ndarray:
    """Rotation vector of yaw, then pitch, then roll (degrees), all in the head's own axes."""
    from scipy.spatial.transform import Rotation

    yaw, pitch, roll = pose
    return Rotation.from_euler("YXZ", [yaw, -pitch, -roll], degrees=True).as_rotvec()


def _turn_head(points: np.ndarray, turn: np.ndarray, pivot: np.ndarray) -> np.ndarray:
    """Rotate by ``turn`` about ``pivot``, fading out from the jaw to the shoulders."""
    share = np.clip((points[:, 1] - (pivot[1] - 9)) / 9, 0, 1)
    share = share * share * (3 - 2 * share)
    angle = np.linalg.norm(turn)
    if angle < 1e-9:
        return points
    axis, theta = turn / angle, (angle * share)[:, None]
    p = points - pivot
    cross, along = np.cross(axis, p), (p @ axis)[:, None] * axis
    return pivot + p * np.cos(theta) + cross * np.sin(theta) + along * (1 - np.cos(theta))


def _aim(face: np.ndarray, rng: np.random.Generator) -> Camera:
    """Frame the face as a detector's crop would: brows to chin fill the picture."""
    low, high = face.min(0), face.max(0)
    extent = max(high[1] - low[1], 1.05 * (high[0] - low[0]))
    extent *= rng.uniform(1.05, 1.22)
    centre = (low + high) / 2 + [*rng.normal(0, 0.02 * extent, 2), 0]
    centre[1] += 0.02 * extent
    distance = rng.uniform(70, 170)
    tilt = np.radians(rng.normal(0, 3))
    origin = centre + distance * np.array([0, np.sin(tilt), np.cos(tilt)])
    return Camera(origin, centre, float(np.degrees(2 * np.arctan(extent / 2 / distance))))


__all__ = ["SIZE", "Face", "Rendering", "Studio"]
