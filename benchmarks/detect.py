"""Face detection against a plain facenet-pytorch loop in one run: the same pictures and boxes.

``python benchmarks/detect.py`` prints a table and writes ``_build/bench/detect.json``. Ratios are
of processor time, so that other work on the machine does not enter; both get the same two threads.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from facenet_pytorch import MTCNN
from PIL import Image
from skimage.data import astronaut

from occfer.data.detect import Detector
from occfer.data.synthfer import synthfer
from occfer.engine.records import environment

ROUNDS, THREADS, ASKED = 5, 2, 2.0


def photographs() -> list[np.ndarray]:
    """Twelve pictures of as many sizes, as a crawl brings them: a photograph, large and small in
    one picture, cut differently each time."""
    photograph, pictures = Image.fromarray(astronaut()), []
    for number in range(12):
        width, height = 320 + 53 * number, 300 + 41 * ((7 * number) % 12)
        side = min(width, height)
        picture = Image.new("RGB", (width, height), (90, 120, 90 + 5 * number))
        picture.paste(photograph.resize((side, side)), (width - side, 0))
        picture.paste(photograph.resize((side // 3, side // 3)), (0, height - side // 3))
        pictures.append(np.asarray(picture))
    return pictures


def cut_out() -> list[np.ndarray]:
    """Sixty-four faces that fill their picture, all of one size."""
    return list(synthfer("val").images[:64].permute(0, 2, 3, 1).numpy())


def seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Of the processor, and by the clock."""
    processor, clock = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - processor, time.perf_counter() - clock


def same_boxes(pictures: list[np.ndarray], plain: MTCNN, ours: Detector) -> int:
    """How many faces both found; raises where a box differs by more than 0.01 pixels."""
    count = 0
    for pixels, found in zip(pictures, ours(pictures), strict=True):
        boxes, _ = plain.detect(pixels)
        boxes = np.zeros((0, 4)) if boxes is None else boxes.astype(float)
        if boxes.shape != found.boxes.shape or np.abs(boxes - found.boxes).max(initial=0) > 0.01:
            raise ValueError(f"The boxes should be the same, got {boxes} and {found.boxes}.")
        count += len(found)
    return count


def main() -> None:
    torch.set_num_threads(THREADS)
    plain, ours = MTCNN(keep_all=True), Detector()
    rows = []
    for name, pictures in (("photographs", photographs()), ("cut-out faces", cut_out())):
        faces = same_boxes(pictures, plain, ours)
        times = [
            (*seconds(lambda p=pictures: [plain.detect(each, landmarks=True) for each in p]),
             *seconds(lambda p=pictures: ours(p)))
            for _ in range(ROUNDS)
        ]  # fmt: skip
        peer, peer_clock, own, own_clock = map(statistics.median, zip(*times, strict=True))
        rows.append(
            {
                "what": name,
                "peer": "facenet-pytorch, one by one",
                "pictures": len(pictures),
                "faces": faces,
                "ours_per_processor_second": len(pictures) / own,
                "peer_per_processor_second": len(pictures) / peer,
                "ratio": peer / own,
                "ratio_by_the_clock": peer_clock / own_clock,
                "asked": ASKED,
            }
        )
    print("| what | faces | ours, pictures/s | peer, pictures/s | ratio | by the clock | asked |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['what']} | {row['faces']} | {row['ours_per_processor_second']:.1f} | "
            f"{row['peer_per_processor_second']:.1f} | {row['ratio']:.2f} | "
            f"{row['ratio_by_the_clock']:.2f} | {row['asked']} |"
        )
    out = Path("_build/bench/detect.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"environment": environment(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
