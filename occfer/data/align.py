"""Faces turned and scaled so that their five points lie where those of every other face lie."""

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from PIL import Image

SIZE = 112
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655],
     [70.7299, 92.2041]]
)  # fmt: skip
"""Where ArcFace (Deng et al. 2019, doi:10.1109/CVPR.2019.00482) and most of its successors put the
points of ``FaceSet`` in a face of 112 x 112 pixels: x and y; the first pixel's centre is (0, 0)."""


def similarity(points: Float32[np.ndarray, "faces 5 2"]) -> Float64[np.ndarray, "faces 2 3"]:
    """The rotation, scale and shift that bring points nearest to ``TEMPLATE`` (least squares).

    As complex numbers p and q around their means a similarity is q = s p, and the best s is
    sum(q p*) / sum(|p|^2): Umeyama's solution (1991, doi:10.1109/34.88573) without reflections.
    """
    p = points[..., 0] + 1j * points[..., 1].astype(np.float64)
    q = TEMPLATE[:, 0] + 1j * TEMPLATE[:, 1]
    centre = p.mean(axis=1, keepdims=True)
    p = p - centre
    scale = (p.conj() * (q - q.mean())).sum(axis=1) / (np.abs(p) ** 2).sum(axis=1)
    shift = q.mean() - scale * centre[:, 0]
    rows = [[scale.real, -scale.imag, shift.real], [scale.imag, scale.real, shift.imag]]
    return np.moveaxis(np.array(rows), 2, 0)


def moved(
    points: Float32[np.ndarray, "5 2"], matrix: Float64[np.ndarray, "2 3"]
) -> Float32[np.ndarray, "5 2"]:
    """Points after a similarity."""
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def warp(
    picture: Image.Image, matrix: Float64[np.ndarray, "2 3"]
) -> UInt8[np.ndarray, "112 112 3"]:
    """The part of a picture that a similarity brings into ``SIZE`` x ``SIZE`` pixels.

    A face that is made smaller is first averaged over whole pixels, so that nothing flickers;
    what lies outside the picture is black.
    """
    factor = max(1, int(1 / np.hypot(*matrix[:, 0])))
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    # Pillow counts from the corner of a pixel, landmarks from its centre.
    corners = np.array([[0, 0], [0, SIZE], [SIZE, 0], [SIZE, SIZE]]) - 0.5
    where = corners @ back[:2, :2].T + back[:2, 2] + 0.5
    low = np.floor(where.min(axis=0)).astype(int) - factor
    high = np.ceil(where.max(axis=0)).astype(int) + factor
    part = picture.crop((*low, *high)).reduce(factor)
    start = (back[:2, 2] + 0.5 - back[:2, :2].sum(axis=1) * 0.5 - low) / factor
    turn = back[:2, :2] / factor
    data = (*turn[0], start[0], *turn[1], start[1])
    fitted = part.transform((SIZE, SIZE), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    return np.asarray(fitted)
