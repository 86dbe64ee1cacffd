"""What several commands share: where faces come from, and how to say something once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from occfer.engine.team import is_first_process

Split = Literal["train", "val", "test"]


@dataclass
class Data:
    """Where faces come from."""

    data: str = "synthfer"
    """synthfer, fer2013, ferplus, rafdb, or a folder with one folder per expression."""
    root: Path | None = None
    """Where the data set lies; OCCFER_DATA where left out."""


def say(words: str) -> None:
    """Print once, however many processes there are."""
    if is_first_process():
        print(words)
