"""How fast faces are covered with rectangles, fill by fill; 10,000 faces a second are asked for.

``python benchmarks/occluders.py`` prints a table and writes what it found, see ``_harness.py``.
"""

import statistics
import time
from typing import get_args

import torch
from _harness import THREADS, write

from occfer import occlusion
from occfer.memory import keep_memory
from occfer.occlusion.fills import Fill

ROUNDS = 9
SIZE, BATCH = 112, 256
RATIO = 0.2
ASKED = 10_000


def measure() -> dict[str, list[float]]:
    """Seconds of every round; fill after fill in each, so that all meet the same machine."""
    generator = torch.Generator().manual_seed(0)
    faces = torch.rand(BATCH, 3, SIZE, SIZE, generator=generator)
    seconds: dict[str, list[float]] = {fill: [] for fill in get_args(Fill)}
    for number in range(ROUNDS + 1):
        for fill, each in seconds.items():
            started = time.perf_counter()
            occlusion.block(faces, RATIO, fill, generator)
            if number:  # the first round warms up
                each.append(time.perf_counter() - started)
    return seconds


def main() -> None:
    torch.set_num_threads(THREADS)
    keep_memory()
    found = {
        fill: {"median": BATCH / statistics.median(each), "best": BATCH / min(each)}
        for fill, each in measure().items()
    }
    print(f"{BATCH} faces of {SIZE} px, {RATIO:.0%} covered, {torch.get_num_threads()} threads")
    print("fill     | faces/s, median | best round | asked")
    for fill, rates in found.items():
        verdict = "met" if rates["median"] >= ASKED else "not met"
        print(f"{fill:8} | {rates['median']:15,.0f} | {rates['best']:10,.0f} | {verdict}")
    rates = {"asked": ASKED, "faces/s": found}
    write("occluders", {"threads": THREADS, "batch": BATCH, "size": SIZE, **rates})


if __name__ == "__main__":
    main()
