"""Covering faces: what stands between the camera and the expression (§2.2, §3.5)."""

from occfer.occlusion.blocks import block
from occfer.occlusion.wear import ITEMS, draw_variation, wear

__all__ = ["ITEMS", "block", "draw_variation", "wear"]
