"""Our passes against other libraries' in one run: medians, and ratios of pictures per second.

``python benchmarks/speed.py`` prints a table and writes ``_build/bench/speed.json``. Peers and ours
see the same faces, on the same device and threads, one after the other in every round.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import kornia.augmentation as K
import torch
import torch.nn.functional as F
from torchvision.transforms import v2

from occfer import FGW, TwoViews, five_regions
from occfer.engine.records import environment
from occfer.engine.training import channels_last

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ROUNDS = 5
SIZE, BATCH = 112, 256


@dataclass
class Contest:
    """Two ways of doing one thing, and the ratio asked of ours."""

    name: str
    peer: str
    ours: Callable[[], object]
    theirs: Callable[[], object]
    pictures: int
    at_least: float


def contests() -> list[Contest]:
    generator = torch.Generator(DEVICE).manual_seed(0)
    faces = torch.randint(0, 256, (BATCH, 3, SIZE, SIZE), dtype=torch.uint8, device=DEVICE)
    images = faces.float() / 255
    two_views = TwoViews(SIZE)

    per_sample = v2.Compose(
        [
            v2.RandomResizedCrop(SIZE, scale=(0.3, 1.0)),
            v2.RandomErasing(p=0.5, scale=(0.05, 0.30), value="random"),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            v2.RandomGrayscale(0.2),
        ]
    )
    batched = K.AugmentationSequential(
        K.RandomResizedCrop((SIZE, SIZE), scale=(0.3, 1.0)),
        K.RandomErasing(p=0.5, scale=(0.05, 0.30)),
        K.RandomHorizontalFlip(),
        K.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        K.RandomGrayscale(p=0.2),
    )

    def torchvision_views() -> None:
        for _ in range(2):
            torch.stack([per_sample(face.float() / 255) for face in faces])

    def kornia_views() -> None:
        for _ in range(2):
            batched(faces.float() / 255)

    corner, inset, centre = SIZE * 3 // 4, round(SIZE * 0.075), round(SIZE * 0.85)
    boxes = [(y, x, corner) for y in (0, SIZE - corner) for x in (0, SIZE - corner)]
    boxes.append((inset, inset, centre))

    def cut_one_by_one() -> torch.Tensor:
        return torch.stack(
            [
                F.interpolate(
                    images[:, :, y : y + n, x : x + n], size=(SIZE, SIZE), mode="bilinear"
                )
                for y, x, n in boxes
            ],
            dim=1,
        )

    network = FGW(width=16, stem="small", size=48).to(DEVICE)
    network = network.to(memory_format=torch.channels_last)
    small = F.interpolate(images[:64], size=(48, 48))

    def all_regions() -> None:
        network(channels_last(small)).logits.sum().backward()

    def region_by_region() -> None:
        crops = five_regions(small, 48)
        weighted = [
            network.attention(network.backbone(channels_last(crop)))[0].mean(dim=(2, 3))
            for crop in crops.unbind(dim=1)
        ]
        network.head(torch.stack(weighted, dim=1))[0].sum().backward()

    return [
        Contest("two occluded views", "torchvision v2 per sample",
                lambda: two_views(faces, generator), torchvision_views, BATCH, 5.0),
        Contest("two occluded views", "kornia",
                lambda: two_views(faces, generator), kornia_views, BATCH, 4.0),
        Contest("five regions cut and resized", "crop and resize each",
                lambda: five_regions(images, SIZE), cut_one_by_one, BATCH, 1.5),
        Contest("FGW forward and backward", "region by region",
                all_regions, region_by_region, 64, 1.2),
    ]  # fmt: skip


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    rows = []
    for contest in contests():
        contest.ours(), contest.theirs()
        times = [(seconds(contest.ours), seconds(contest.theirs)) for _ in range(ROUNDS)]
        ours, theirs = (statistics.median(each) for each in zip(*times, strict=True))
        rows.append(
            {
                "what": contest.name,
                "peer": contest.peer,
                "ours_per_second": contest.pictures / ours,
                "peer_per_second": contest.pictures / theirs,
                "ratio": theirs / ours,
                "asked": contest.at_least,
            }
        )
    print(f"| what | peer | ours, faces/s | peer, faces/s | ratio | asked |  ({DEVICE.type})")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['what']} | {row['peer']} | {row['ours_per_second']:,.0f} | "
            f"{row['peer_per_second']:,.0f} | {row['ratio']:.2f} | {row['asked']} |"
        )
    out = Path("_build/bench/speed.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"environment": environment(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
