"""Why a side takes as long as it does: its operators, and its arithmetic beside the machine's."""

import time
from collections import Counter
from collections.abc import Callable, Mapping

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

SHOWN = 6
"""So many operators have a row of their own."""
SIDE = {"cpu": 1024, "cuda": 8192}
"""Of the square matrices whose product says how fast the machine multiplies; on a GPU of small ones
the call takes longer than the product."""
ROUNDS = 9


def operators(call: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Each PyTorch operator's share of the time of one call; what it calls is not counted to it.

    On a GPU it is the time of the kernels that the operator starts, which the profiler also lists.
    """
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as found:
        call()
    which = f"self_{'device' if device.type == 'cuda' else 'cpu'}_time_total"
    listed = [each for each in found.key_averages() if each.device_type == DeviceType.CPU]
    return shares({each.key: getattr(each, which) for each in listed})


def shares(times: Mapping[str, float]) -> dict[str, float]:
    """Of all times, in the order of size; small ones are told together, and so are none at all."""
    longest, whole = Counter(times).most_common(SHOWN), sum(times.values())
    found = {name.removeprefix("aten::"): time / whole for name, time in longest if whole}
    return found | {"everything else": 1 - sum(found.values())}


def arithmetic(call: Callable[[], object]) -> float:
    """Billions of additions and multiplications in the convolutions and products of one call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e9


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """The most billions of operations a second in a product of large matrices."""
    side = SIDE[device.type]
    a, b = torch.rand(2, side, side, device=device, dtype=dtype)
    out, seconds = torch.empty_like(a), []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        torch.mm(a, b, out=out)
        out.sum().item()
        seconds.append(time.perf_counter() - begun)
    return 2 * side**3 / min(seconds) / 1e9
