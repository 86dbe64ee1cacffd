"""Covering faces: what stands between the camera and the expression (§2.2, §3.5)."""

from occfer.occlusion.blocks import block

__all__ = ["block"]
