"""What a benchmark writes down."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
GPU = torch.device("cuda")


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch):
    """The modules that benchmarks import from beside themselves, and from nowhere else."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import _harness

    monkeypatch.setattr(_harness, "THREADS", torch.get_num_threads())
    return _harness


def record(harness, folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> dict:
    """Of two calls that are the same, one row a device."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["race.py", *options])
    a = torch.rand(64, 64)
    sides = harness.Sides(lambda: a @ a, lambda: a @ a, 64)
    contest = harness.Contest("race", "itself", lambda _: sides, {"cpu": 0.5, "cuda": 5.0}, 1)
    harness.run("race", [contest])
    (path,) = folder.rglob("*.json")
    return {"path": str(path.relative_to(folder)), **json.loads(path.read_text())}


@pytest.mark.skipif(torch.cuda.is_available(), reason="the rows on a GPU are run")
@pytest.mark.parametrize(
    ("options", "path", "ran"),
    [
        ((), "_build/bench/race.json", {"cpu": True, "cuda": False}),
        (("--record",), "book/results/scale/race.json", {"cpu": True, "cuda": False}),
        (
            ("--device", "cuda", "--compile", "--record"),
            "book/results/scale/race-cuda.json",
            {"cuda": False},
        ),
    ],
)
def test_a_record_says_what_ran_and_how_to_make_it_again(
    harness, tmp_path, monkeypatch, options, path, ran
) -> None:
    found = record(harness, tmp_path, monkeypatch, *options)
    assert found["path"] == path
    assert {row["device"]: row["ratio"] is not None for row in found["rows"]} == ran
    without = [each for each in options if each != "--record"]
    assert found["command"].split() == ["python", "benchmarks/race.py", *without, "--record"]
    assert found["networks compiled"] is False


@pytest.mark.parametrize(("options", "compiled"), [((), False), (("--compile",), True)])
def test_a_record_of_a_gpu_says_whether_networks_were_compiled(
    harness, tmp_path, monkeypatch, options, compiled
) -> None:
    ran = harness.Row("race", "itself", "cuda", 5.0, 4.0, 4.0, 1.0, 4.0, [(1.0, 4.0)])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(harness, "compare", lambda contest, device: ran)
    monkeypatch.setattr(harness, "environment", dict)
    monkeypatch.setattr(harness, "present", list)
    found = record(harness, tmp_path, monkeypatch, "--device", "cuda", *options)
    assert found["networks compiled"] is compiled


def event(name: str, device: DeviceType, microseconds: float) -> SimpleNamespace:
    return SimpleNamespace(key=name, device_type=device, self_device_time_total=microseconds)


def shares(harness, monkeypatch: pytest.MonkeyPatch, *events: SimpleNamespace) -> dict[str, float]:
    """Of a call on a GPU of which the profiler says so."""
    from contextlib import nullcontext

    import _profile

    listed = SimpleNamespace(key_averages=lambda: events)
    monkeypatch.setattr(_profile, "profile", lambda activities: nullcontext(listed))
    return _profile.operators(lambda: None, GPU)


def test_a_kernel_is_counted_once_to_the_operator_that_starts_it(harness, monkeypatch) -> None:
    found = shares(
        harness,
        monkeypatch,
        event("aten::mm", DeviceType.CPU, 30.0),
        event("aten::add", DeviceType.CPU, 10.0),
        event("sm90_gemm", DeviceType.CUDA, 30.0),
        event("vectorized_elementwise", DeviceType.CUDA, 10.0),
    )
    assert found == {"mm": 0.75, "add": 0.25, "everything else": 0.0}


def test_a_call_that_leaves_the_gpu_alone_has_no_operators(harness, monkeypatch) -> None:
    idle = event("cudaDeviceSynchronize", DeviceType.CPU, 0.0)
    assert shares(harness, monkeypatch, idle) == {"everything else": 1.0}


def test_on_a_processor_every_operator_counts(harness) -> None:
    import _profile

    a = torch.rand(256, 256)
    found = _profile.operators(lambda: (a @ a).relu_(), torch.device("cpu"))
    assert {"mm", "relu_"} & found.keys()
    assert sum(found.values()) == pytest.approx(1.0)
    assert min(found.values()) > -1e-9
