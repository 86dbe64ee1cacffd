"""A run that cannot go on says why in one sentence, and has harmed nothing."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from safetensors import safe_open
from safetensors.torch import load_file
from torch.nn.modules.module import register_module_forward_hook
from torch.optim.optimizer import register_optimizer_step_post_hook

from occfer.engine.failures import memory_explained
from occfer.engine.finetune import finetune
from occfer.engine.pretrain import pretrain
from occfer.fgw import FGW, FGWOutput
from occfer.ocl import OCL

METHODS = pytest.mark.parametrize("method", ["pretrain", "finetune"])


@pytest.fixture
def run(toy_faces, ocl_recipe, fgw_recipe):
    """``run(method, folder, **options)``; recipes save every step."""
    faces = toy_faces(40)

    def make(method, folder=None, fabric=None, **changes):
        options = dict(run=folder, fabric=fabric, progress=False)
        changes = {"save_every_seconds": 0.0, **changes}
        if method == "pretrain":
            return pretrain(faces, ocl_recipe(**changes), **options)
        return finetune(faces, faces, fgw_recipe(**changes), **options)

    make.faces = faces
    return make


def weights(found) -> dict[str, torch.Tensor]:
    return (found.encoder if hasattr(found, "encoder") else found.model).state_dict()


def same(a, b) -> bool:
    return all(torch.equal(value, b[key]) for key, value in a.items())


@pytest.fixture
def broken_step(request):
    """The network's answer in training step 4, the second of the second epoch, is NaN."""
    seen = 0

    def after(module, _, output):
        nonlocal seen
        if isinstance(module, OCL | FGW) and module.training:
            seen += 1
            if seen == 5:
                if isinstance(output, FGWOutput):
                    return output._replace(logits=output.logits * float("nan"))
                return output * float("nan")
        return None

    hook = register_module_forward_hook(after)
    yield
    hook.remove()


@METHODS
def test_a_loss_that_is_no_number_stops_the_run_before_the_optimiser(
    tmp_path, run, broken_step, learning_rates, method
) -> None:
    with pytest.raises(FloatingPointError) as caught:
        run(method, tmp_path)
    assert len(learning_rates) == 4
    message = str(caught.value)
    for words in ("became nan in epoch 1, step 1", "no weight was changed", "lower the learning"):
        assert words in message
    [kept] = tmp_path.glob("broken-*.safetensors")
    assert str(kept) in message
    with safe_open(kept, "pt") as file:
        images, ids = file.get_tensor("images"), json.loads(file.metadata()["ids"])
    places = {name: number for number, name in enumerate(run.faces.ids)}
    assert len(ids) == 16
    assert torch.equal(images, run.faces.images[[places[name] for name in ids]])
    assert ", ".join(ids[:3]) in message


@METHODS
def test_the_run_goes_on_from_before_the_broken_step(
    tmp_path, run, request, method, learning_rates
) -> None:
    whole = weights(run(method))
    request.getfixturevalue("broken_step")
    with pytest.raises(FloatingPointError):
        run(method, tmp_path)
    learning_rates.clear()
    resumed = weights(run(method, tmp_path))
    assert len(learning_rates) == 5
    assert same(whole, resumed)


def test_without_a_folder_it_says_how_to_keep_the_batch(run, broken_step) -> None:
    with pytest.raises(FloatingPointError, match=r"pass run=FOLDER to keep its pixels"):
        run("pretrain")


@pytest.fixture
def broken_weights():
    """The last of nine optimiser steps leaves a weight that is no number."""
    steps = 0

    def after(optimizer, *_):
        nonlocal steps
        steps += 1
        if steps == 9:
            optimizer.param_groups[0]["params"][0].data[0] = float("inf")

    hook = register_optimizer_step_post_hook(after)
    yield
    hook.remove()


@METHODS
@pytest.mark.parametrize("every", [0.0, 600.0])
def test_weights_that_diverge_in_the_last_step_are_neither_saved_nor_returned(
    tmp_path, run, request, method, every
) -> None:
    """The loss of that step was a number still, and there is none after it."""
    whole = weights(run(method))
    request.getfixturevalue("broken_weights")
    with pytest.raises(FloatingPointError, match=r"weights have diverged.* lower"):
        run(method, tmp_path, save_every_seconds=every)
    states = [load_file(path) for path in tmp_path.glob("*.safetensors")]
    assert len(states) == (0 if every else 2)
    assert all(bool(each.isfinite().all()) for state in states for each in state.values())
    assert same(whole, weights(run(method, tmp_path, save_every_seconds=every)))


# Memory

GREEDY = """
import resource, sys
import torch
from occfer import FaceSet, finetune, pretrain
from occfer.recipes import FinetuneRecipe, NetworkRecipe, PretrainRecipe

torch.set_num_threads(1)
faces = FaceSet(torch.zeros(4096, 1, 24, 24, dtype=torch.uint8), torch.arange(4096) % 7,
                [str(i) for i in range(4096)])
network = NetworkRecipe(width=8, stem="small", size=48)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
try:
    if sys.argv[1] == "pretrain":
        pretrain(faces, PretrainRecipe(network=network, batch_size=4096), progress=False)
    else:
        finetune(faces, faces, FinetuneRecipe(network=network, batch_size=4096), progress=False)
except MemoryError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="bounds memory as Linux does")
@METHODS
def test_too_little_memory_names_the_settings_to_lower(method) -> None:
    here = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", GREEDY, method], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(here)},
    )  # fmt: skip
    assert done.stdout.startswith("memory ran out in training; lower batch_size (now 4096), ")
    assert "network.size (now 48), network.width (now 8)" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    ],
)
def test_a_gpu_s_words_for_it_are_known(error, fgw_recipe) -> None:
    with pytest.raises(MemoryError, match="lower batch_size"), memory_explained(fgw_recipe()):
        raise error


def test_other_errors_keep_their_words(fgw_recipe) -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), memory_explained(fgw_recipe()):
        raise RuntimeError("shapes differ")


# A full disk


@METHODS
def test_a_full_disk_is_said_and_the_run_goes_on(tmp_path, run, method) -> None:
    """No file may grow beyond a third of a state, which is how a quota feels."""
    whole = run(method)
    run(method, tmp_path / "measured", epochs=1)
    size = min(path.stat().st_size for path in (tmp_path / "measured").glob("*.safetensors"))
    folder, before = tmp_path / "run", resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 3, before[1]))
        with pytest.warns(UserWarning, match="make room for it in") as said:
            found = run(method, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert "could not be saved in epoch 0, step 1" in str(said[0].message)
    assert same(weights(whole), weights(found))
    assert sorted(path.name for path in folder.iterdir()) == ["recipe.json", "run.lock"]
    assert same(weights(whole), weights(run(method, folder)))


# Half precision


@METHODS
def test_the_scaler_of_half_precision_is_resumed(tmp_path, run, at_training_step, method) -> None:
    """It doubles every second step, so one that began anew would scale another way."""

    def half() -> Fabric:
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)
        return Fabric(
            accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", "cpu", scaler)
        )

    whole, fabric = half(), half()
    run(method, fabric=whole)
    with (
        pytest.raises(KeyboardInterrupt),
        at_training_step(3, lambda: os.kill(os.getpid(), signal.SIGINT)),
    ):
        run(method, tmp_path, fabric)
    fabric = half()
    run(method, tmp_path, fabric)
    states = [each.strategy.precision.state_dict() for each in (whole, fabric)]
    assert states[0] == states[1]
    assert states[0]["scale"] > 4.0
