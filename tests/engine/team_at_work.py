"""Run by test_team.py in a process of its own: real processes that train together over gloo.

What takes longest is to import PyTorch, so it is done once, and the processes are forked. Each is
told its place by the environment variables that ``torchrun`` sets.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

import occfer.engine.finetune
import occfer.engine.pretrain
from occfer import FaceSet, finetune, pretrain
from occfer.fgw import FGW
from occfer.files import save_tensors
from occfer.ocl import OCL
from occfer.recipes import PretrainRecipe, from_dict
from occfer.views import as_float


def still(size: int, **_):
    """A view that nothing is drawn for: half of the face, resized."""
    return lambda faces, generator: F.interpolate(as_float(faces)[..., : size // 2, :], size)


def still_pair(size: int, *_, **__):
    """Two such views of each face: upper half, lower half."""

    def views(faces, generator):
        images = as_float(faces)
        half = images.shape[-2] // 2
        return F.interpolate(images[..., :half, :], size), F.interpolate(
            images[..., half:, :], size
        )

    return views


def smooth(build):
    """Of a function that builds a network: the same with an activation that has no kink."""

    def made(*arguments):
        network = build(*arguments)
        for module in list(network.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.ReLU):
                    setattr(module, name, nn.Softplus())
        return network

    return made


def work(job: dict, rank: int) -> None:
    """One process's share of one run: leaves ``<out>-<rank>.json`` and ``.safetensors``."""
    gradients, seen, views = {}, [], []
    recipe, faces = from_dict(job["recipe"]), FaceSet.open(job["faces"])
    if job.get("still"):
        occfer.engine.pretrain.TwoViews, occfer.engine.finetune.RandomView = still_pair, still
    if job.get("smooth"):
        for stage, name in (("pretrain", "build_ocl"), ("finetune", "build_classifier")):
            module = getattr(occfer.engine, stage)
            setattr(module, name, smooth(getattr(module, name)))

    def before_step(optimizer, *_):
        each = [p.grad for group in optimizer.param_groups for p in group["params"]]
        gradients[str(len(gradients))] = torch.cat([g.flatten() for g in each])

    def before_forward(module, arguments):
        if isinstance(module, OCL | FGW) and module.training:
            if [rank, len(seen)] == job.get("kill"):
                os.kill(os.getpid(), signal.SIGKILL)
            if [rank, len(seen)] == job.get("interrupt"):
                os.kill(os.getpid(), signal.SIGINT)
            seen.append(len(arguments[0]))
            views.append(arguments[0].detach().double().mean().item())

    register_optimizer_step_pre_hook(before_step)
    register_module_forward_pre_hook(before_forward)
    options = dict(run=job.get("run"), progress=False)
    if job.get("watched"):
        options["watchers"] = [lambda model, row: {"rank": rank}]
    if isinstance(recipe, PretrainRecipe):
        found = pretrain(faces, recipe, **options)
        weights = found.encoder.state_dict()
    else:
        found = finetune(faces, faces, recipe, **options)
        weights = found.model.state_dict()
    out = Path(f"{job['out']}-{rank}")
    save_tensors({f"weights.{k}": v for k, v in weights.items()}, out.with_suffix(".weights"))
    save_tensors(gradients, out.with_suffix(".gradients"))
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in found.history]
    out.with_suffix(".json").write_text(json.dumps([rows, seen, views]))


def together(job: dict, port: int) -> list[int]:
    """Fork the processes of one run; how each ended, as ``os.waitstatus_to_exitcode`` says."""
    processes = []
    for rank in range(job["processes"]):
        process = os.fork()
        if not process:
            place = dict(
                RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=job["processes"],
                LOCAL_WORLD_SIZE=job["processes"], MASTER_ADDR="127.0.0.1", MASTER_PORT=port,
                GROUP_RANK=0, TORCHELASTIC_RUN_ID="test",
            )  # fmt: skip
            os.environ.update({name: str(value) for name, value in place.items()})
            code = 1
            try:
                work(job, rank)
                code = 0
            except KeyboardInterrupt as stop:
                print(f"{job['out']} {rank}: {stop}", flush=True)
                code = 130
            except BaseException as error:
                print(f"{job['out']} {rank}: {type(error).__name__}: {error}", flush=True)
            finally:
                os._exit(code)
        processes.append(process)
    return [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]


if __name__ == "__main__":
    torch.set_num_threads(1)
    with open(sys.argv[1]) as file:
        jobs = json.load(file)
    ended = {name: together(job, 29600 + number) for number, (name, job) in enumerate(jobs.items())}
    print(json.dumps(ended))
