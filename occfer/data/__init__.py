"""Faces (§3.1): ``FaceSet``, and the readers that make one."""

from occfer.data.faceset import FaceSet

__all__ = ["FaceSet"]
