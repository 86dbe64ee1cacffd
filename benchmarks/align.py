"""What aligning costs: pictures a second of one core, from shards as img2dataset writes them.

``python benchmarks/align.py`` prints a table and writes ``_build/bench/align.json``; with
``--record`` it writes ``book/results/scale/align.json``, from which chapter 12 works out what
millions of pictures take. Times are of the processor, so that other work on the machine hardly
enters; one thread, as a worker on a cluster has.
"""

import statistics
import tarfile
import tempfile
import time
from io import BytesIO
from pathlib import Path

import torch
from _harness import write
from PIL import Image, ImageOps
from skimage import data

from occfer.data.extract import Choice, extract
from occfer.engine.records import peak_memory

# The longer side in pixels: img2dataset's default, twice and four times that.
SIDES = (256, 512, 1024)
COPIES, ROUNDS = 2, 5
# As img2dataset encodes.
QUALITY = 95
PEOPLE = ("astronaut",)
OTHERS = ("chelsea", "coffee", "rocket")


def photographs(side: int) -> list[Image.Image]:
    """A person turned eight ways beside three photographs without a face, mirrored or not."""
    made = []
    for name in PEOPLE + OTHERS:
        picture = Image.fromarray(getattr(data, name)())
        picture = ImageOps.contain(picture, (side, side), Image.Resampling.LANCZOS)
        turns = (-15, -5, 5, 15) if name in PEOPLE else (0,)
        for turn in turns:
            turned = picture.rotate(turn, Image.Resampling.BICUBIC, fillcolor=(110, 110, 110))
            made += [turned, ImageOps.mirror(turned)]
    return made


def write_shard(path: Path, pictures: list[Image.Image]) -> int:
    """A tar of JPEGs, each with a caption and its metadata; the bytes of the JPEGs."""
    total = 0
    with tarfile.open(path, "w") as tar:
        for number, picture in enumerate(pictures):
            buffer = BytesIO()
            picture.save(buffer, "JPEG", quality=QUALITY)
            total += buffer.tell()
            members = {"jpg": buffer.getvalue(), "json": b"{}", "txt": b"a photograph"}
            for suffix, content in members.items():
                info = tarfile.TarInfo(f"{number:09d}.{suffix}")
                info.size = len(content)
                tar.addfile(info, BytesIO(content))
    return total


def measure(side: int) -> dict:
    """The whole way at one size: read, decode, find, align, write, join."""
    with tempfile.TemporaryDirectory() as folder:
        shards, seconds = Path(folder) / "shards", []
        shards.mkdir()
        pictures = photographs(side) * COPIES
        size = write_shard(shards / "00000.tar", pictures)
        for number in range(ROUNDS + 1):
            out = Path(folder) / str(number)
            begun = time.process_time()
            faces = extract(shards, out, Choice(), progress=False)
            seconds.append(time.process_time() - begun)
        written = sum(path.stat().st_size for path in (out / "faces").iterdir())
    # The first round finds nothing in any cache.
    middle = statistics.median(seconds[1:])
    return {
        "side": side,
        "pictures": len(pictures),
        "faces": len(faces),
        "processor_seconds": middle,
        "pictures_per_core_second": len(pictures) / middle,
        "bytes_per_picture": size / len(pictures),
        "bytes_per_face": written / len(faces),
    }


def main() -> None:
    torch.set_num_threads(1)
    rows = [measure(side) for side in SIDES]
    print("| longer side | pictures | faces | pictures/s of a core | KB a picture | KB a face |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['side']} | {row['pictures']} | {row['faces']} | "
            f"{row['pictures_per_core_second']:.1f} | {row['bytes_per_picture'] / 1e3:.0f} | "
            f"{row['bytes_per_face'] / 1e3:.0f} |"
        )
    write("align", {"peak_memory_bytes": peak_memory(), "rounds": ROUNDS, "rows": rows})


if __name__ == "__main__":
    main()
