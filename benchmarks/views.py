"""Two occluded views of each face against the same chain of changes in torchvision and kornia.

torchvision's, one face at a time, has a worker for each core on a CPU, as one would run it there.
"""

import kornia.augmentation as K
import torch
from _harness import THREADS, Contest, Sides, run
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from occfer import TwoViews
from occfer.views import as_float, occlude, recolour, resample

SIZE, BATCH = 112, 256


def torchvision_chain() -> v2.Transform:
    return v2.Compose(
        [
            v2.RandomResizedCrop(SIZE, scale=(0.3, 1.0)),
            v2.RandomErasing(p=0.5, scale=(0.05, 0.30), value="random"),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            v2.RandomGrayscale(0.2),
        ]
    )


def kornia_chain() -> K.AugmentationSequential:
    return K.AugmentationSequential(
        K.RandomResizedCrop((SIZE, SIZE), scale=(0.3, 1.0)),
        K.RandomErasing(p=0.5, scale=(0.05, 0.30)),
        K.RandomHorizontalFlip(),
        K.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        K.RandomGrayscale(p=0.2),
    )


class OneByOne(Dataset):
    """Two views of a face, by torchvision."""

    def __init__(self, faces: Tensor):
        self.faces, self.chain = faces, torchvision_chain()

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, number: int) -> list[Tensor]:
        face = self.faces[number].float() / 255
        return [self.chain(face) for _ in range(2)]


def sides(device: torch.device, peer: str) -> Sides:
    faces = torch.randint(0, 256, (BATCH, 3, SIZE, SIZE), dtype=torch.uint8, device=device)
    generator = torch.Generator().manual_seed(0)
    two_views = TwoViews(SIZE)
    batched = kornia_chain()
    workers = THREADS if device.type == "cpu" else 0
    one_by_one = DataLoader(
        OneByOne(faces), BATCH // 8, num_workers=workers, persistent_workers=workers > 0
    )

    def torchvision_views() -> None:
        for _ in one_by_one:
            pass

    def kornia_views() -> None:
        for _ in range(2):
            batched(faces.float() / 255)

    drawn = two_views.view.draw(BATCH, generator)
    images = as_float(faces)
    views = resample(images, drawn, SIZE)
    parts = {
        "bytes to floats (once for both views)": lambda: as_float(faces),
        "crop and flip (each view)": lambda: resample(images, drawn, SIZE),
        "occlusion (each view)": lambda: occlude(views, drawn, two_views.view.fill),
        "colours (each view)": lambda: recolour(views, drawn),
        "for comparison: a copy of the batch": lambda: images.clone(),
    }
    theirs = {"torchvision": torchvision_views, "kornia": kornia_views}[peer]
    return Sides(lambda: two_views(faces, generator), theirs, BATCH, parts)


if __name__ == "__main__":
    what = "two occluded views, 112 px, batch 256"
    run(
        "views",
        [
            Contest(what, "torchvision v2 per sample", lambda device: sides(device, "torchvision"),
                    {"cpu": 5.0, "cuda": 5.0}, rounds=9),
            Contest(what, "kornia", lambda device: sides(device, "kornia"),
                    {"cpu": 4.0, "cuda": 4.0}, rounds=9),
        ],
    )  # fmt: skip
