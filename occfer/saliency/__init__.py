"""Looking inside (§3.6, Figure 4): where a network looks, and measures of what that is worth."""

from occfer.saliency.maps import attention_map, bring_back, coarse_random_map, grad_cam
from occfer.saliency.measures import (
    area,
    centred_map,
    deletion,
    insertion,
    occluder_ratio,
    random_map,
    rank_correlation,
)
from occfer.saliency.parts import PARTS, part_masks, part_shares
from occfer.saliency.pictures import on_pictures
from occfer.saliency.sanity import cascade

__all__ = [
    "PARTS",
    "area",
    "attention_map",
    "bring_back",
    "cascade",
    "centred_map",
    "coarse_random_map",
    "deletion",
    "grad_cam",
    "insertion",
    "occluder_ratio",
    "on_pictures",
    "part_masks",
    "part_shares",
    "random_map",
    "rank_correlation",
]
