"""Maps of faces that were found on a picture, brought back to the picture's own pixels."""

import torch
from jaxtyping import Float
from torch import Tensor

from occfer.engine.predict import Prediction
from occfer.fgw import FGW
from occfer.saliency.maps import bring_back, cut_of


def on_pictures(
    model: FGW, found: Prediction, height: int, width: int
) -> Float[Tensor, "faces height width"]:
    """The attention (6) of each face, fused over its regions, where the face lies; 0 around it.

    Args:
        model: the network that was asked.
        found: what :func:`occfer.predict` gave for a picture, or for several of one size.
        height, width: of the picture in pixels.
    """
    if found.attention is None or found.faces is None:
        raise ValueError(
            "maps on a picture need an FGW's prediction on a picture that was searched for faces; "
            "for faces cut out already take occfer.saliency.attention_map."
        )
    side = found.faces.images.shape[-1]
    maps = bring_back(found.attention, side, side, **cut_of(model))
    return laid_on(maps, torch.from_numpy(found.faces.matrices), height, width)


def laid_on(
    maps: Float[Tensor, "faces side side"],
    matrices: Float[Tensor, "faces 2 3"],
    height: int,
    width: int,
) -> Float[Tensor, "faces height width"]:
    """Each map where its face lies: bilinear, and 0 where a pixel's centre lies outside of it.

    Args:
        matrices: from points of the picture to points of the map; the centre of the first pixel
            of either is (0, 0).
    """
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float64),
        torch.arange(width, dtype=torch.float64),
        indexing="ij",
    )
    pixels = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1)
    places = torch.einsum("yxi,fji->fyxj", pixels, matrices.double())
    shares = (2 * places + 1) / maps.shape[-1] - 1  # in [-1, 1], grid_sample's units
    laid = torch.nn.functional.grid_sample(
        maps[:, None].double(), shares, padding_mode="border", align_corners=False
    )[:, 0]
    return laid.where((shares.abs() <= 1).all(dim=-1), 0.0).to(maps.dtype)
