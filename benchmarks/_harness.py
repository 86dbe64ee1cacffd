"""How two ways of doing one thing are compared: side by side, round by round, in one process.

Both meet the same machine, so a ratio says more than either time. A row is the median over the
rounds of the ratio within each; who begins alternates. Beside the clock's ratio stands that of
processor time, which other work on the machine hardly enters. Freed memory stays with the process,
as under the ``occfer`` command. A table is printed, and everything that was measured is written to
``_build/bench``, or with ``--record`` to where the book reads it. Each side is also profiled.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from _profile import arithmetic, matmul_rate, operators

from occfer.engine.records import environment
from occfer.files import write_atomically
from occfer.memory import keep_memory
from occfer.recipes import precision

THREADS = int(os.environ.get("OMP_NUM_THREADS", 2))
ROUNDS = 5
NOT_RUN = "not run (no CUDA)"


class Seconds(NamedTuple):
    """By the clock, and of the processor (all threads of this process and of its workers)."""

    clock: float
    processor: float


Call = Callable[[], Seconds | object]
"""Something to time, unless it has timed itself and returns its seconds."""


@dataclass(frozen=True)
class Sides:
    """Both ways, how many pictures either handles in a call, and the parts ours is made of.

    ``profile_ours``: shares of the time by operator, where PyTorch's profiler cannot see them.
    """

    ours: Call
    theirs: Call
    pictures: int
    parts: dict[str, Call] = field(default_factory=dict)
    profile_ours: Callable[[], dict[str, float]] | None = None


@dataclass(frozen=True)
class Contest:
    """What is compared with whom, and the ratio asked of ours on each kind of device.

    ``build`` is called with a device only where there is one, and makes both sides.
    """

    what: str
    peer: str
    build: Callable[[torch.device], Sides]
    at_least: dict[str, float]
    rounds: int = ROUNDS


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Args:
        seconds: by the clock in each round, ours and theirs.
        operators: shares of the time of one call, of ours and of theirs.
        billions_of_operations: in the convolutions and matrix products of a call of either side.
    """

    what: str
    peer: str
    device: str
    asked: float
    ratio: float | None = None
    ours_per_second: float | None = None
    peer_per_second: float | None = None
    ratio_of_processor_time: float | None = None
    seconds: list[tuple[float, float]] = field(default_factory=list)
    milliseconds_of_parts: dict[str, float] = field(default_factory=dict)
    pictures: int | None = None
    operators: dict[str, dict[str, float]] = field(default_factory=dict)
    billions_of_operations: float | None = None

    def __str__(self) -> str:
        start = f"| {self.what} | {self.peer} | {self.device} |"
        if self.ratio is None:
            return f"{start} {NOT_RUN} | | | | {self.asked:g} | |"
        verdict = "met" if self.ratio >= self.asked else "not met"
        return (
            f"{start} {self.ours_per_second:,.1f} | {self.peer_per_second:,.1f} | "
            f"{self.ratio:.2f} | {self.ratio_of_processor_time:.2f} | {self.asked:g} | {verdict} |"
        )


def compare(contest: Contest, device: torch.device) -> Row:
    """One contest on one device, after a round to warm up."""
    sides = contest.build(device)
    rounds = []
    for number in range(contest.rounds + 1):
        calls = (sides.ours, sides.theirs)
        turn = 1 if number % 2 else -1
        rounds.append(tuple(timed(call, device) for call in calls[::turn])[::turn])
    ours, theirs = zip(*rounds[1:], strict=True)
    asked = contest.at_least[device.type]
    ratio = statistics.median(b.clock / a.clock for a, b in rounds[1:])
    # A profile of thousands of kernels takes minutes, so a GPU's is made where it is needed.
    profiled = device.type == "cpu" or ratio < asked
    return Row(
        contest.what,
        contest.peer,
        device.type,
        asked,
        ratio,
        sides.pictures / statistics.median(each.clock for each in ours),
        sides.pictures / statistics.median(each.clock for each in theirs),
        statistics.median(b.processor / a.processor for a, b in rounds[1:]),
        [(a.clock, b.clock) for a, b in rounds[1:]],
        parts_of(sides, contest.rounds, device),
        sides.pictures,
        profiles(sides, device) if profiled else {},
        arithmetic(sides.theirs),
    )


def profiles(sides: Sides, device: torch.device) -> dict[str, dict[str, float]]:
    """Each side's time, by operator."""
    ours = sides.profile_ours() if sides.profile_ours else operators(sides.ours, device)
    return {"ours": ours, "theirs": operators(sides.theirs, device)}


def parts_of(sides: Sides, rounds: int, device: torch.device) -> dict[str, float]:
    """Milliseconds that each part takes: of the processor, or of the GPU."""
    times = {
        name: [timed(part, device) for _ in range(rounds)] for name, part in sides.parts.items()
    }
    which = "clock" if device.type == "cuda" else "processor"
    return {
        name: 1e3 * statistics.median(getattr(each, which) for each in found)
        for name, found in times.items()
    }


def now() -> Seconds:
    """What clock and processor say; Linux numbers the clock of another process as written here."""
    clocks = [(~worker.pid << 3) | 2 for worker in multiprocessing.active_children()]
    workers = sum(time.clock_gettime(clock) for clock in clocks)
    return Seconds(time.perf_counter(), time.process_time() + workers)


def between(start: Seconds, end: Seconds) -> Seconds:
    """What passed from one :func:`now` to another."""
    return Seconds(end.clock - start.clock, end.processor - start.processor)


def timed(call: Call, device: torch.device) -> Seconds:
    """One call, with whatever the device still has to do."""
    settle(device)
    start = now()
    found = call()
    settle(device)
    return found if isinstance(found, Seconds) else between(start, now())


def settle(device: torch.device) -> None:
    """Wait for a device that works in the background."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def mixed(device: torch.device) -> torch.autocast:
    """The numbers that the laptop and paper tiers train in here, for both sides."""
    return torch.autocast(device.type, torch.bfloat16, enabled=numbers(device) == torch.bfloat16)


def numbers(device: torch.device) -> torch.dtype:
    """What convolutions and products of a training multiply on a device of this machine."""
    quick = device.type == "cuda" or precision("laptop") == "bf16-mixed"
    return torch.bfloat16 if quick else torch.float32


def compiled(module: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """Where ``--compile`` is said, on a GPU; else the module as it is."""
    return torch.compile(module) if compiles(device) else module


def compiles(device: torch.device) -> bool:
    """Whether networks are compiled on a device, on both sides alike."""
    return device.type == "cuda" and arguments().compile


def run(name: str, contests: Sequence[Contest]) -> None:
    """All contests, or those of ``--device``: print the table, write what was measured."""
    options = arguments()
    torch.set_num_threads(THREADS)
    kept = keep_memory()
    rows = []
    print("| what | peer | device | ours/s | peer/s | ratio | of processor time | asked | |")
    print("|---|---|---|---|---|---|---|---|---|")
    for contest in contests:
        for kind, asked in contest.at_least.items():
            if options.device not in (None, kind):
                continue
            missing = kind == "cuda" and not torch.cuda.is_available()
            row = (
                Row(contest.what, contest.peer, kind, asked)
                if missing
                else compare(contest, torch.device(kind))
            )
            rows.append(row)
            print(row, flush=True)
    for row in rows:
        if row.milliseconds_of_parts:
            print(f"\nOf {row.what} on {row.device}, in milliseconds:")
            for part, each in row.milliseconds_of_parts.items():
                print(f"  {each:9.1f}  {part}")
    found = {
        "threads": THREADS,
        "load": os.getloadavg(),
        "memory kept": kept,
        "networks compiled": any(row.ratio and compiles(torch.device(row.device)) for row in rows),
        "numbers": {each.type: str(numbers(each)) for each in present()},
        "matmul": {each.type: matmul_rate(each, numbers(each)) for each in present()},
        "rows": [asdict(row) for row in rows],
    }
    write(name, found)


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--record", action="store_true", help="write the book's record")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), help="only what is asked of this one, as NAME-DEVICE"
    )
    parser.add_argument("--compile", action="store_true", help="networks, on a GPU, on both sides")
    return parser.parse_args()


def write(name: str, found: dict[str, Any]) -> None:
    """``_build/bench/NAME.json``, or with ``--record`` the record that the book reads.

    One of a single device is a file of its own, NAME-DEVICE; the page reads NAME-cuda, too.
    """
    options = arguments()
    of, said = (f"-{options.device}", f" --device {options.device}") if options.device else ("", "")
    said += " --compile" if options.compile else ""
    folder = Path("book/results/scale" if options.record else "_build/bench")
    values = {
        "experiment": "scale",
        "name": f"{name}{of}",
        "command": f"python benchmarks/{name}.py{said} --record",
        "environment": environment(),
        **found,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{name}{of}.json", (json.dumps(values, indent=1) + "\n").encode())


def present() -> list[torch.device]:
    """The devices that are there."""
    kinds = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    return [torch.device(kind) for kind in kinds]
