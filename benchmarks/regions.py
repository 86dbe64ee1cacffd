"""Five regions in one pass against region by region: the cut alone, and a whole step of FGW.

Whoever goes region by region slices whole pixels and lets PyTorch resize the slice.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from _harness import Contest, Sides, compiled, mixed, run
from torch import Tensor, nn

from occfer import FGW, five_regions, recipes
from occfer.engine.training import build_optimizer, channels_last
from occfer.regions import region_boxes

CUT = {"size": 112, "batch": 64}
FEW = 32  # as the chapters train; on a processor small tensors stay in its caches


def crop_and_resize(images: Tensor, size: int) -> list[Tensor]:
    side = images.shape[-1]
    boxes = (region_boxes() * side).round().int().tolist()
    return [
        F.interpolate(
            images[:, :, top : top + height, left : left + width],
            size=(size, size),
            mode="bilinear",
        )
        for top, left, height, width in boxes
    ]


def cuts(device: torch.device) -> Sides:
    size, batch = CUT["size"], CUT["batch"]
    images = torch.rand(batch, 3, size, size, device=device)
    return Sides(
        lambda: five_regions(images, size),
        lambda: torch.stack(crop_and_resize(images, size), dim=1),
        batch,
    )


class RegionByRegion(nn.Module):
    """The same network, a region at a time."""

    def __init__(self, network: FGW):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        network = self.network
        weighted = [
            network.attention(network.backbone(channels_last(region)))[0].mean(dim=(2, 3))
            for region in crop_and_resize(images, network.cut["size"])
        ]
        return network.head(torch.stack(weighted, dim=1))[0]


def steps(device: torch.device, batch: int | None = None) -> Sides:
    """With so many faces, or as many as the recipe of the tier has."""
    recipe = recipes.finetuning("laptop" if device.type == "cpu" else "paper")
    recipe = replace(recipe, batch_size=batch or recipe.batch_size)
    shape = recipe.network
    network = FGW(shape.backbone, width=shape.width, stem=shape.stem, size=shape.size)
    network = network.to(device, memory_format=torch.channels_last)
    optimizer = build_optimizer(network, recipe)
    images = channels_last(torch.rand(recipe.batch_size, 3, shape.size, shape.size, device=device))
    at_once, one_by_one = compiled(network, device), compiled(RegionByRegion(network), device)

    def step(forward: nn.Module) -> None:
        with mixed(device):
            output = forward(images)
        logits = output if isinstance(output, Tensor) else output.logits
        optimizer.zero_grad()
        logits.float().square().mean().backward()
        optimizer.step()

    crops = five_regions(images, shape.size).flatten(0, 1)

    def backbone() -> Tensor:
        with mixed(device):
            return network.backbone(crops).sum()

    parts = {
        "five regions cut": lambda: five_regions(images, shape.size),
        "the backbone's forward and backward": lambda: backbone().backward(),
    }
    return Sides(lambda: step(at_once), lambda: step(one_by_one), recipe.batch_size, parts)


if __name__ == "__main__":
    run(
        "regions",
        [
            Contest("five regions cut and resized, 112 px", "crop and resize each", cuts,
                    {"cpu": 1.5, "cuda": 1.5}, rounds=15),
            Contest("FGW step, five regions in one pass", "region by region", steps,
                    {"cpu": 1.2, "cuda": 1.5}, rounds=9),
            Contest(f"the same, {FEW} faces", "region by region",
                    lambda device: steps(device, FEW), {"cpu": 1.2}, rounds=9),
        ],
    )  # fmt: skip
