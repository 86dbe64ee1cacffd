"""A whole epoch of OCL, as :func:`occfer.pretrain` runs it, against two others.

Against the bare backbone, which steps on views that are already there: what is missing to 1 is what
data, views, projector and loss cost. And against lightly's SimCLR loop with the same network, faces
and number of projections, whose two workers make the views; ours makes them itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from _harness import Contest, Seconds, Sides, between, compiled, compiles, mixed, now, run
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import to_pil_image

from occfer import FaceSet, nt_xent, pretrain, recipes
from occfer.engine.pretrain import build_encoder, build_ocl, build_views
from occfer.engine.training import build_optimizer, channels_last
from occfer.recipes import PretrainRecipe

STEPS = {"cpu": 2, "cuda": 8}
WORKERS = 2
LIGHTLY_PUBLISHED = 1305
"""Views a second on an A6000, from lightly's benchmarks of SimCLR."""


def recipe_for(device: torch.device) -> PretrainRecipe:
    """The laptop's on a CPU, the paper's on a GPU. The second epoch is timed."""
    recipe = recipes.pretraining("laptop" if device.type == "cpu" else "paper", epochs=2)
    return replace(recipe, compile=compiles(device))


def random_faces(recipe: PretrainRecipe, device: torch.device) -> FaceSet:
    count, size = STEPS[device.type] * recipe.batch_size, recipe.network.size
    pixels = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8)
    return FaceSet(pixels, torch.zeros(count, dtype=torch.long), [str(i) for i in range(count)])


def our_epoch(faces: FaceSet, recipe: PretrainRecipe) -> Seconds:
    """The second of two epochs, when everything has been built."""
    ends = []

    def note(model: torch.nn.Module, row: Mapping[str, Any]) -> dict[str, Any]:
        ends.append(now())
        return {}

    pretrain(faces, recipe, progress=False, watchers=[note])
    return between(*ends)


def against_backbone(device: torch.device) -> Sides:
    recipe = recipe_for(device)
    faces = random_faces(recipe, device)
    encoder = build_encoder(recipe).to(device, memory_format=torch.channels_last)
    optimizer = build_optimizer(encoder, recipe)
    size = recipe.network.size
    views = channels_last(torch.rand(2 * recipe.batch_size, 3, size, size, device=device))
    forward = compiled(encoder, device)
    if device.type == "cuda":  # as ours is
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            forward = torch.cuda.make_graphed_callables(forward, (views,))

    def bare_epoch() -> None:
        for _ in range(STEPS[device.type]):
            with mixed(device):
                features = forward(views)
            optimizer.zero_grad()
            features.float().square().mean().backward()
            optimizer.step()

    parts = parts_of_a_step(recipe, device)
    return Sides(lambda: our_epoch(faces, recipe), bare_epoch, len(faces), parts)


class Pictures(Dataset):
    """Faces as lightly takes them: one picture at a time, and its transform of it."""

    def __init__(self, faces: FaceSet, size: int):
        self.pictures = [to_pil_image(pixels) for pixels in faces.images]
        self.transform = SimCLRTransform(
            input_size=size, min_scale=0.3, cj_strength=0.5, gaussian_blur=0.0, normalize=None
        )

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, number: int) -> list[torch.Tensor]:
        return self.transform(self.pictures[number])


def against_lightly(device: torch.device) -> Sides:
    recipe = recipe_for(device)
    faces = random_faces(recipe, device)
    encoder = build_encoder(recipe).to(device, memory_format=torch.channels_last)
    head = SimCLRProjectionHead(
        encoder.channels, recipe.projector_hidden, recipe.projector_dimensions
    ).to(device)
    network = torch.nn.Sequential(encoder, head)
    optimizer = build_optimizer(network, recipe)
    criterion = NTXentLoss(recipe.temperature)
    loader = DataLoader(
        Pictures(faces, recipe.network.size),
        batch_size=recipe.batch_size,
        shuffle=True,
        num_workers=WORKERS,
        persistent_workers=True,
        pin_memory=device.type == "cuda",
    )

    def lightly_epoch() -> None:
        for first, second in loader:
            views = torch.cat([first, second]).to(device, non_blocking=True)
            with mixed(device):
                z1, z2 = network(channels_last(views)).chunk(2)
            loss = criterion(z1.float(), z2.float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return Sides(
        lambda: our_epoch(faces, recipe), lightly_epoch, len(faces), parts_of_a_step(recipe, device)
    )


def parts_of_a_step(recipe: PretrainRecipe, device: torch.device) -> dict[str, Callable]:
    """One step of OCL, taken apart."""
    size, generator = recipe.network.size, torch.Generator(device).manual_seed(0)
    faces = random_faces(recipe, device).images[: recipe.batch_size].to(device)
    ocl = build_ocl(recipe).to(device, memory_format=torch.channels_last)
    views = channels_last(torch.rand(2 * len(faces), 3, size, size, device=device))
    features = torch.rand(len(views), ocl.encoder.channels, device=device, requires_grad=True)
    two_views = build_views(recipe)

    def network() -> Tensor:
        with mixed(device):
            return ocl.encoder(views).sum()

    def loss() -> Tensor:
        with mixed(device):
            projections = ocl.projector(features)
        return nt_xent(*projections.chunk(2), recipe.temperature, check=False)

    return {
        "two views": lambda: channels_last(torch.cat(two_views(faces, generator))),
        "the network's forward and backward": lambda: network().backward(),
        "projector and loss, forward and backward": lambda: loss().backward(),
    }


def against_a_target(device: torch.device) -> Sides:
    """Views a second of ResNet18; the other side is a clock that runs at the published rate."""
    recipe = recipe_for(device)
    faces = random_faces(recipe, device)
    views = 2 * len(faces)
    return Sides(
        lambda: our_epoch(faces, recipe), lambda: Seconds(*2 * [views / LIGHTLY_PUBLISHED]), views
    )


if __name__ == "__main__":
    run(
        "pretraining",
        [
            Contest("OCL step, end to end", "bare backbone on resident tensors", against_backbone,
                    {"cpu": 0.85, "cuda": 0.90}, rounds=9),
            Contest("OCL epoch", "lightly's SimCLR, 2 workers", against_lightly,
                    {"cpu": 1.5, "cuda": 5.0}, rounds=9),
            Contest("ResNet18 OCL views, 112 px, bf16",
                    f"{LIGHTLY_PUBLISHED:,} views/s, lightly's on an A6000", against_a_target,
                    {"cuda": 20_000 / LIGHTLY_PUBLISHED}),
        ],
    )  # fmt: skip
