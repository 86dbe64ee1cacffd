"""Faces: ``occfer crawl``, ``align`` and ``get``."""

import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from occfer.data import crawl, fer2013, obtain
from occfer.data.cluster import OnRay
from occfer.data.extract import Choice, extract, one_by_one
from occfer.data.folder import write_pictures


@dataclass
class Crawl:
    """Collect pictures from the internet; the same command goes on with one that was stopped."""

    contact: str
    """An e-mail or web address of yours; the owner of every server that is asked can see it."""
    out: Path = Path("crawl")
    """Pictures, and the manifest that says of every URL where it came from and how it ended."""
    engine: tuple[Literal["openverse", "bing", "baidu"], ...] = ("openverse",)
    """Openverse finds openly licensed pictures only; the others say nothing of licences."""
    language: tuple[crawl.Language, ...] = ("en", "zh")
    """Of the keywords: 20 emotion words times 3 identity words in each."""
    keywords: Path | None = None
    """A text file with keywords of your own, one a line."""
    quota: int = 100
    """Pictures per keyword and engine."""
    token: str = ""
    """Access token of an application registered with Openverse; $OPENVERSE_TOKEN if left out."""
    base_url: str | None = None
    """Ask this address instead of the engine's own."""
    allowed: tuple[str, ...] = ()
    """ADDRESS:PORT that may be asked although it is not on the public internet."""
    again: bool = False
    """Also ask those once more that failed for a while."""
    limits: crawl.Limits = field(default_factory=crawl.Limits)
    pace: crawl.Pace = field(default_factory=crawl.Pace)

    def run(self) -> None:
        words = crawl.keywords(*self.language)
        if self.keywords is not None:
            words = crawl.read_keywords(self.keywords)
        base = {} if self.base_url is None else {"base_url": self.base_url}
        token = {"token": (self.token or os.environ.get("OPENVERSE_TOKEN", "")).strip()}
        engines = [
            crawl.ENGINES[name](**base, **(token if name == "openverse" else {}))
            for name in self.engine
        ]
        summary = crawl.crawl(
            self.out, words, self.contact, engines, self.quota, self.limits, self.pace,
            self.allowed, self.again,
        )  # fmt: skip
        for status, count in summary.statuses.items():
            print(f"{status}\t{count}")
        stopped = defaultdict(list)
        for (engine, keyword), why in summary.stopped.items():
            stopped[engine, why].append(keyword)
        if len(summary.stopped) == len(summary.stored) and not any(summary.stored.values()):
            reasons = "; ".join(why.rstrip(".") for _, why in stopped)
            raise OSError(
                f"No search brought a picture ({reasons[:1000]}); put that right, and the same "
                f"command goes on."
            )
        for (engine, keyword), count in summary.stored.items():
            print(f"{count} of {self.quota}\t{engine}\t{keyword}")
        for (engine, why), keywords in stopped.items():
            which = keywords[0] if len(keywords) == 1 else f"{len(keywords)} keywords"
            print(f"stopped\t{engine}\t{which}\t{why}")


@dataclass
class Align:
    """Find the faces on a folder of pictures, and align them; goes on where it was stopped."""

    folder: tyro.conf.Positional[Path]
    """Pictures, in folders of any depth, such as a crawl's; or shards of img2dataset."""
    out: Path = Path("aligned")
    """The faces in OUT/faces; what was not taken, and why, in OUT/rejected.tsv."""
    choice: Choice = field(default_factory=Choice)
    device: str = "cpu"
    engine: Literal["local", "ray"] = "local"
    """In this process, or on a Ray cluster: the one at $RAY_ADDRESS, or one started here."""
    workers: int | None = None
    """Of Ray, each with a core, or a GPU of its own; as many as there are where left out.
    Without Ray there are none."""
    pictures: bool = False
    """Also write each face as a file in OUT/pictures. Where FOLDER holds one folder per expression,
    --data OUT/pictures trains on them."""

    def run(self) -> None:
        if self.workers is not None and self.engine != "ray":
            raise ValueError(
                f"--workers {self.workers} is of Ray, and without --engine ray it would change "
                f"nothing; add that, or leave --workers out."
            )
        engine = OnRay(self.workers) if self.engine == "ray" else one_by_one
        faces = extract(self.folder, self.out, self.choice, self.device, engine=engine)
        print(f"{len(faces)} faces: {self.out / 'faces'}")
        if self.pictures:
            # Once they are there, somebody sorts them, and that work is kept.
            pictures = self.out / "pictures"
            kept = pictures if pictures.exists() else write_pictures(faces, pictures)
            print(f"pictures: {kept}")


@dataclass
class Get:
    """Fetch a data set that may be fetched, check it, and say how to ask for one that may not."""

    data: tyro.conf.Positional[Literal["fer2013", "ferplus", "rafdb", "affectnet", "synthfer"]]
    root: Path = field(default_factory=lambda: Path(os.environ.get("OCCFER_DATA") or "data"))
    """FER2013 becomes ROOT/fer2013; pass this ROOT to the other commands, or set OCCFER_DATA."""
    archive: Path | None = None
    """Kaggle's archive.zip where you have it already; then nobody is asked."""

    def run(self) -> None:
        if self.data != "fer2013":
            raise ValueError(obtain.HOW_TO_ASK[self.data])
        folder = obtain.get_fer2013(self.root, self.archive)
        for split, counts in fer2013.COUNTS.items():
            print(f"{split}\t{sum(counts.values()):,} faces")
        print(f"complete: {folder}")
