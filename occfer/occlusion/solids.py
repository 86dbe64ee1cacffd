"""Solid things: chains of round cones (capsules whose radius changes), lit by their own normals.

Cones of one part melt together into one surface; parts are painted from back to front.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from occfer.occlusion.scene import Scene

MELT = 0.05
"""Eye distances over which neighbouring cones of one part melt together."""


def solid(
    scene: Scene,
    path: Float[Tensor, "*batch points 2"],
    radii: Tensor | tuple[float, ...],
    colour: Tensor,
    gloss: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Paint a chain of round cones through points (in pixels), with radii in eye distances.

    ``path`` is [batch, points, 2], or [batch, chains, points, 2] for chains that melt together.
    Returns what it covers and its normals.
    """
    scale = scene.pose.scale
    chains = path if path.ndim == 4 else path[:, None]
    radii = torch.as_tensor(radii).to(path) * scale[:, None, None]
    radii = radii.expand(len(path), chains.shape[1], chains.shape[2])
    start, end = chains[:, :, :-1].flatten(1, 2), chains[:, :, 1:].flatten(1, 2)  # [B, cones, 2]
    thick, thin = radii[..., :-1].flatten(1), radii[..., 1:].flatten(1)
    height, width = scene.size
    pixels = torch.stack(
        torch.meshgrid(torch.arange(width).to(path), torch.arange(height).to(path), indexing="xy"),
        dim=-1,
    )
    along = (end - start)[:, :, None, None]  # [B, cones, 1, 1, 2]
    away = pixels - start[:, :, None, None]
    share = ((away * along).sum(-1) / (along**2).sum(-1).clamp(min=1e-6)).clamp(0, 1)
    away = away - share[..., None] * along
    distance = away.norm(dim=-1)
    radius = thick[..., None, None] + share * (thin - thick)[..., None, None]
    inside = (radius - distance + 0.5).clamp(0, 1)
    rise = (radius**2 - distance**2).clamp(min=0).sqrt() - 4 * (distance - radius).clamp(min=0)
    weight = (rise / (MELT * scale[:, None, None, None])).softmax(dim=1)
    slope = (away / radius[..., None].clamp(min=0.3) * weight[..., None]).sum(dim=1)
    x, y = slope.unbind(dim=-1)
    z = (1 - x**2 - y**2).clamp(min=0).sqrt()
    normals = torch.stack([x, y, z], dim=1)
    cover = inside.amax(dim=1)
    scene.cast(cover, radius=0.12, strength=0.35)
    scene.tone(scene.soften(cover, 0.05) * (1 - cover), -0.5)
    shade = scene.light.on(normals) * (0.78 + 0.30 * z - 0.10 * y)
    scene.add(cover, colour, shade)
    if gloss:
        # Half-way between the viewer and a lamp above to the left.
        shine = (-0.35 * x - 0.45 * y + 0.82 * z).clamp(min=0) ** 24
        scene.tone(shine * cover, gloss)
    return cover, normals
