"""What several commands share: where faces come from, and how to say something once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from occfer.data import DATA_SETS, load_faces
from occfer.data.detect import require_device
from occfer.data.faceset import FaceSet
from occfer.data.storage import MANIFEST
from occfer.engine.team import is_first_process

Split = Literal["train", "val", "test"]


@dataclass
class Data:
    """Where faces come from."""

    data: str = "synthfer"
    """synthfer, fer2013, ferplus, rafdb, or a folder with one folder per expression."""
    root: Path | None = None
    """Where the data set lies; OCCFER_DATA where left out."""


@dataclass
class Faces(Data):
    """Where faces come from, and how large they become."""

    size: int | None = None
    """Side in pixels to which the pictures of class folders are brought; where left out, all need
    to have one size."""

    def load(self, split: Split) -> FaceSet:
        """The faces of one split."""
        if self.size is None:
            return load_faces(self.data, split, self.root)
        saved = any((Path(self.data) / each / MANIFEST).is_file() for each in (".", split))
        if self.data in DATA_SETS or saved:
            raise ValueError(
                f"--size is for pictures in class folders, but the faces of {self.data} have one "
                "size already; leave it out."
            )
        if self.size < 1:
            raise ValueError(f"--size should be at least 1 pixel, got {self.size}.")
        return load_faces(self.data, split, self.root, size=(self.size, self.size))


def placed(model: nn.Module, device: str) -> nn.Module:
    """A network on a device; says so where there is no such device."""
    return model.to(require_device(device))


def refuse_given(command: object, why: str, **usual: object) -> None:
    """Refuse options that would change nothing, where they are not as they are left out."""
    if given := [f"--{name}" for name, value in usual.items() if getattr(command, name) != value]:
        raise ValueError(f"{why}, so {', '.join(given)} would change nothing; leave that out.")


def run_name(out: Path) -> str:
    """The name of a run's record, which is that of its folder."""
    name = out.resolve().name
    if not name:
        raise ValueError(f"--out should be a folder with a name, got {out}; choose one below it.")
    return name


def say(words: str) -> None:
    """Print once, however many processes there are."""
    if is_first_process():
        print(words, flush=True)  # whoever reads a camera's faces from a pipe waits for each
