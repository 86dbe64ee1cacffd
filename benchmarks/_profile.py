"""Why a side takes as long as it does: its operators, and its arithmetic beside the machine's."""

import time
from collections import Counter
from collections.abc import Callable, Mapping

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

SHOWN = 6
"""So many operators have a row of their own."""
SIDE = 1024
"""Of the square matrices whose product says how fast the machine multiplies."""
ROUNDS = 9


def operators(call: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Each PyTorch operator's share of the time of one call; what it calls is not counted to it."""
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as found:
        call()
    which = f"self_{'device' if device.type == 'cuda' else 'cpu'}_time_total"
    return shares({each.key: getattr(each, which) for each in found.key_averages()})


def shares(times: Mapping[str, float]) -> dict[str, float]:
    """Of all times, in the order of size; small ones are told together."""
    longest, whole = Counter(times).most_common(SHOWN), sum(times.values())
    found = {name.removeprefix("aten::"): time / whole for name, time in longest}
    return found | {"everything else": 1 - sum(found.values())}


def arithmetic(call: Callable[[], object]) -> float:
    """Billions of additions and multiplications in the convolutions and products of one call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e9


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """The most billions of operations a second in a product of large matrices."""
    a, b = torch.rand(2, SIDE, SIDE, device=device, dtype=dtype)
    out, seconds = torch.empty_like(a), []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        torch.mm(a, b, out=out)
        out.sum().item()
        seconds.append(time.perf_counter() - begun)
    return 2 * SIDE**3 / min(seconds) / 1e9
