"""One picture of one face by ray tracing (Mitsuba 3; Jakob et al., 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIZE = 112


@dataclass
class Piece:
    """A mesh to render: ``vertices`` [V, 3] in cm, ``faces`` [F, 3], ``colour`` [V, 3] linear
    RGB, ``part`` [F] part code, and the surface's ``roughness``,
    ``specular`` and ``clearcoat`` as in Disney's principled model, in [0, 1]."""

    vertices: np.ndarray
    faces: np.ndarray
    colour: np.ndarray
    part: np.ndarray
    roughness: np.ndarray | float = 0.5
    specular: float = 0.5
    clearcoat: float = 0.0


@dataclass
class Camera:
    """A pinhole at ``origin`` [3] looking at ``target`` [3] (cm), with a vertical field of view
    in degrees; the picture is ``SIZE`` x ``SIZE``."""

    origin: np.ndarray
    target: np.ndarray
    fov: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixel coordinates [N, 2] (x then y; the centre of the first pixel is 0, 0)."""
        forward = self.target - self.origin
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 1.0, 0.0])
        right /= np.linalg.norm(right)
        up = np.cross(right, forward)
        local = points - self.origin
        depth = local @ forward
        scale = SIZE / (2 * np.tan(np.radians(self.fov) / 2))
        x = SIZE / 2 + scale * (local @ right) / depth - 0.5
        y = SIZE / 2 - scale * (local @ up) / depth - 0.5
        return np.stack([x, y], -1).astype(np.float32)


@dataclass
class Rendering:
    """Linear RGB ``radiance`` [H, W, 3], ``alpha`` [H, W], ``albedo`` [H, W, 3], and the part code
    of the surface seen through each pixel's centre, ``parts`` uint8 [H, W] (0: nothing)."""

    radiance: np.ndarray
    alpha: np.ndarray
    albedo: np.ndarray
    parts: np.ndarray


def render(
    pieces: list[Piece], camera: Camera, light: np.ndarray, samples: int, seed: int
) -> Rendering:
    """Ray-trace ``pieces`` under ``light``, an environment map [H, W, 3] of linear radiance."""
    import mitsuba as mi

    up = [0.0, 1.0, 0.0]
    scene = {
        "type": "scene",
        "light": {
            "type": "envmap",
            "bitmap": mi.Bitmap(np.ascontiguousarray(light, np.float32)),
        },
    }
    for index, piece in enumerate(pieces):
        scene[f"piece{index:02d}"] = _mesh(mi, piece, f"piece{index:02d}")
    scene = mi.load_dict(scene)

    def sensor(count: int, rfilter: str) -> object:
        return mi.load_dict(
            {
                "type": "perspective",
                "fov": camera.fov,
                "fov_axis": "y",
                "near_clip": 1.0,
                "far_clip": 1000.0,
                "to_world": mi.ScalarTransform4f().look_at(
                    camera.origin.tolist(), camera.target.tolist(), up
                ),
                "sampler": {"type": "independent", "sample_count": count},
                "film": {
                    "type": "hdrfilm",
                    "width": SIZE,
                    "height": SIZE,
                    "pixel_format": "rgba",
                    "rfilter": {"type": rfilter},
                },
            }
        )

    # Four looks at the light for each camera ray: at equal time less noise than four times the
    # rays, and the second bounce, which this leaves out, hardly shows on a face.
    shade = {"type": "direct", "emitter_samples": 4, "bsdf_samples": 1, "hide_emitters": True}

    def look(integrator: dict, count: int, rfilter: str) -> np.ndarray:
        # The same seed and count give the same camera rays. The albedo goes by itself because
        # mitsuba's "aov" traces the picture nested in it twice.
        return np.array(
            mi.render(
                scene,
                sensor=sensor(count, rfilter),
                integrator=mi.load_dict(integrator),
                seed=seed,
                spp=count,
            )
        )

    picture = look(shade, samples, "gaussian")
    albedo = look({"type": "aov", "aovs": "albedo:albedo"}, samples, "gaussian")
    index = look({"type": "aov", "aovs": "shape:shape_index,prim:prim_index"}, 1, "box")
    return Rendering(
        radiance=picture[..., :3],
        alpha=np.clip(picture[..., 3], 0, 1),
        albedo=albedo[..., :3],
        parts=_parts(scene, pieces, index),
    )


def _parts(scene: object, pieces: list[Piece], index: np.ndarray) -> np.ndarray:
    shape, prim = index[..., -2].round().astype(int), index[..., -1].round().astype(int)
    order = [int(s.id().removeprefix("piece")) for s in scene.shapes()]
    out = np.zeros(shape.shape, np.uint8)
    # Mitsuba counts shapes from 1 here; 0 is a ray that meets nothing.
    for at, number in enumerate(order, start=1):
        here = shape == at
        out[here] = pieces[number].part[prim[here]]
    return out


def _mesh(mi: object, piece: Piece, name: str) -> object:
    bsdf = {
        "type": "principled",
        "base_color": {"type": "mesh_attribute", "name": "vertex_color"},
        "roughness": {"type": "mesh_attribute", "name": "vertex_rough"},
        "specular": piece.specular,
        "clearcoat": piece.clearcoat,
        "clearcoat_gloss": 0.95,
    }
    bsdf = {"type": "twosided", "surface": bsdf}
    properties = mi.Properties()
    properties["bsdf"] = mi.load_dict(bsdf)
    mesh = mi.Mesh(
        name, len(piece.vertices), len(piece.faces), has_vertex_normals=True, props=properties
    )
    mesh.add_attribute("vertex_color", 3, np.ravel(piece.colour).astype(np.float32))
    rough = np.broadcast_to(piece.roughness, len(piece.vertices))
    mesh.add_attribute("vertex_rough", 1, np.ravel(rough).astype(np.float32))
    parameters = mi.traverse(mesh)
    parameters["vertex_positions"] = np.ravel(piece.vertices).astype(np.float32)
    parameters["faces"] = np.ravel(piece.faces).astype(np.uint32)
    normals = vertex_normals(piece.vertices, piece.faces)
    parameters["vertex_normals"] = np.ravel(normals).astype(np.float32)
    parameters.update()
    mesh.set_id(name)
    return mesh


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals [V, 3]: the area-weighted mean of the triangles around each vertex."""
    corners = vertices[faces]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    out = np.stack(
        [np.bincount(faces.ravel(), np.repeat(face[:, k], 3), len(vertices)) for k in range(3)],
        -1,
    )
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)
