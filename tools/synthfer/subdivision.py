"""Catmull-Clark subdivision of a quad mesh as one sparse matrix, so that a posed head is refined
by a single product (Catmull and Clark, "Recursively generated B-spline surfaces", 1978)."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def catmull_clark(faces: np.ndarray, vertices: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Refine a quad mesh once.

    Args:
        faces: int [F, 4] vertex indices; every index below ``vertices``.
        vertices: number of vertices V of the coarse mesh.

    Returns:
        ``(refine, fine_faces)``: ``refine`` is float [V', V] with rows that sum to one, so that
        ``refine @ positions`` are the fine positions; ``fine_faces`` is int [4 F, 4]. Open edges
        follow the cubic B-spline rule.
    """
    count = len(faces)
    edges = np.sort(np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2), 1)
    edges, edge_of, uses = np.unique(edges, axis=0, return_inverse=True, return_counts=True)
    edge_of = edge_of.reshape(count, 4)
    to_faces = sparse.csr_matrix(
        (np.full(4 * count, 0.25), (np.repeat(np.arange(count), 4), faces.ravel())),
        (count, vertices),
    )
    rows = np.repeat(np.arange(len(edges)), 2)
    to_middles = sparse.csr_matrix(
        (np.full(len(rows), 0.5), (rows, edges.ravel())), (len(edges), vertices)
    )
    edge_face = sparse.csr_matrix(
        (np.full(4 * count, 0.5), (edge_of.ravel(), np.repeat(np.arange(count), 4))),
        (len(edges), count),
    )
    inner = sparse.diags((uses == 2).astype(float))
    border = sparse.diags((uses != 2).astype(float))
    to_edges = inner @ (0.5 * to_middles + 0.5 * edge_face @ to_faces) + border @ to_middles

    valence = np.bincount(edges.ravel(), minlength=vertices).astype(float)
    around = np.bincount(faces.ravel(), minlength=vertices).astype(float)
    vertex_face = sparse.csr_matrix(
        (np.ones(4 * count), (faces.ravel(), np.repeat(np.arange(count), 4))), (vertices, count)
    )
    vertex_edge = sparse.csr_matrix(
        (np.ones(len(rows)), (edges.ravel(), rows)), (vertices, len(edges))
    )
    on_border = np.zeros(vertices, bool)
    on_border[edges[uses != 2].ravel()] = True
    safe = np.maximum(valence, 1)
    smooth = (
        sparse.diags(1 / (safe * np.maximum(around, 1))) @ vertex_face @ to_faces
        + sparse.diags(2 / safe**2) @ vertex_edge @ to_middles
        + sparse.diags((safe - 3) / safe)
    )
    border_edges = vertex_edge @ border
    border_count = np.maximum(np.asarray(border_edges.sum(1)).ravel(), 1)
    open_rule = 0.5 * sparse.identity(vertices) + 0.5 * (
        sparse.diags(1 / border_count) @ border_edges @ to_middles
    )
    keep = (~on_border) & (around > 0)
    stay = around == 0
    to_vertices = (
        sparse.diags(keep.astype(float)) @ smooth
        + sparse.diags(on_border.astype(float)) @ open_rule
        + sparse.diags(stay.astype(float))
    )
    refine = sparse.vstack([to_vertices, to_edges, to_faces]).tocsr()

    corner, right = faces, vertices + edge_of
    left = np.roll(right, 1, 1)
    middle = np.repeat(vertices + len(edges) + np.arange(count), 4).reshape(count, 4)
    fine = np.stack([corner, right, middle, left], -1).reshape(-1, 4)
    return refine, fine


def refine_times(
    faces: np.ndarray, vertices: int, times: int
) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Apply :func:`catmull_clark` ``times`` times; returns the product matrix and the faces."""
    total = sparse.identity(vertices, format="csr")
    for _ in range(times):
        refine, faces = catmull_clark(faces, total.shape[0])
        total = refine @ total
    return total.astype(np.float32), faces


def triangles(faces: np.ndarray) -> np.ndarray:
    """Split quads [F, 4] into triangles [2 F, 3]; triangles 2 f and 2 f + 1 come from quad f."""
    return faces[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
