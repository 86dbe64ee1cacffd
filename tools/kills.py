"""Kill runs at random moments, fill their disk, and write down what was found afterwards.

    python -m tools.kills [--gpu] [FOLDER]

writes one JSON file for pre-training and one for fine-tuning to FOLDER (book/results/kills). A run
is killed with SIGKILL again and again, each time at a random moment, and every time the next
process goes on with it. In the end its weights have to be those of a run that nobody disturbed, to
the last bit. What takes longest is to import PyTorch, so that is done once and runs are forked.

With ``--gpu`` runs are on a GPU, and the files are called NAME-cuda.json. PyTorch's deterministic
algorithms are used there, because some of the quicker ones add in whichever order threads arrive.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from occfer import FaceSet, files, finetune, load_faces, pretrain
from occfer.engine.finetune import fingerprint
from occfer.engine.records import environment
from occfer.fgw import FGW
from occfer.ocl import OCL
from occfer.recipes import FinetuneRecipe, NetworkRecipe, PretrainRecipe, as_dict

RESULTS = Path("book/results/kills")
KILLS = 20
SOON = 12
"""The latest event of a sitting at which it may be killed; a step with its save has seven."""

DEVICE = {"kind": "cpu"}
"""Where runs are; a forked process inherits it."""

NETWORK = NetworkRecipe(width=8, stem="small", size=24)
PRETRAINING = PretrainRecipe(
    network=NETWORK, batch_size=16, epochs=16, projector_hidden=16, projector_dimensions=8,
    save_every_seconds=0.0,
)  # fmt: skip
FINETUNING = FinetuneRecipe(
    network=NETWORK, batch_size=16, epochs=16, patience=4, learning_rate=1e-3,
    save_every_seconds=0.0,
)  # fmt: skip
"""Every step is saved, so that many kills meet a save; patience may end the run early."""


def train(recipe, faces: FaceSet, folder: Path | None) -> str:
    """The whole run, or what is left of it; SHA-256 of the weights."""
    options = dict(run=folder, fabric=Fabric(accelerator=DEVICE["kind"], devices=1), progress=False)
    if DEVICE["kind"] == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
    if isinstance(recipe, PretrainRecipe):
        return fingerprint(pretrain(faces, recipe, **options).encoder)
    return fingerprint(finetune(faces, faces, recipe, **options).model)


def announce(say: Callable[[str], None]) -> None:
    """Have every stage of a step and of a save say its name when it begins."""

    def before(module, _):
        if isinstance(module, OCL | FGW):
            say("forward" if module.training else "validation")

    register_module_forward_pre_hook(before)
    register_optimizer_step_pre_hook(lambda *_: say("optimiser"))
    register_optimizer_step_post_hook(lambda *_: say("after the optimiser"))
    save_file, replace = files.save_file, os.replace

    def saving(*arguments):
        say("saving tensors")
        save_file(*arguments)
        say("tensors saved")

    def replacing(old, new):
        say(f"renaming {Path(new).suffix}")
        replace(old, new)

    files.save_file, os.replace = saving, replacing


def teller(pipe: int) -> Callable[[str], None]:
    """What writes one line to a pipe."""

    def tell(words: str) -> None:
        os.write(pipe, f"{words}\n".encode())

    return tell


def sitting(work: Callable[[], str], moment: tuple[int, float] | None) -> tuple[str, str]:
    """Work in a process of its own, killed ``moment[1]`` seconds after event ``moment[0]``.

    Returns the last event it could tell of, and what ``work`` returned or ``""``.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.close(reading)
            if moment is not None:
                announce(teller(writing))
            teller(writing)(f"={work()}")
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    events, result = ["before the first step"], ""
    with os.fdopen(reading) as told:
        for line in told:
            if line.startswith("="):
                result = line[1:].strip()
                continue
            events.append(line.strip())
            if moment is not None and len(events) - 1 == moment[0]:
                time.sleep(moment[1])
                os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise RuntimeError(f"a sitting ended by itself with {status}, after {events[-3:]}.")
    return events[-1], result


def found(folder: Path) -> dict[str, Any]:
    """What lies in a run's folder: where its newest sound state stands, and what is unsound."""
    sound, unsound = None, []
    for path in sorted(folder.glob("state-*.json"), reverse=True):
        words, tensors = json.loads(path.read_text()), path.with_suffix(".safetensors")
        if tensors.exists() and files.file_sha256(tensors) == words["sha256"]:
            sound = sound or {name: words["place"][name] for name in ("epoch", "step")}
        else:
            unsound.append(path.name)
    halves = [path.name for path in folder.glob("state-*.safetensors")
              if not path.with_suffix(".json").exists()]  # fmt: skip
    drafts = [path.name.rpartition(".")[0] for path in folder.glob(".*.*")]
    return {"sound": sound, "damaged": unsound, "unfinished": sorted(halves + drafts)}


def kill(recipe, faces: FaceSet, kills: int = KILLS, seed: int = 0) -> dict[str, Any]:
    """Kill one run ``kills`` times, then let it finish; what was found each time."""
    chance = random.Random(seed)
    table = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        while len(table) < kills:
            moment = (chance.randint(1, SOON), chance.uniform(0, 0.02))
            during, result = sitting(lambda: train(recipe, faces, folder), moment)
            if result:
                raise ValueError(
                    f"the run was finished after {len(table)} kills; give it more epochs."
                )
            table.append({"killed": during, **found(folder)})
        _, resumed = sitting(lambda: train(recipe, faces, folder), None)
    _, whole = sitting(lambda: train(recipe, faces, None), None)
    return {"kills": table, "weights": {"undisturbed": whole, "killed": resumed}}


@contextmanager
def small_disk(size: int) -> Iterator[Path]:
    """A file system of ``size`` bytes in memory; mounting one needs root."""
    with tempfile.TemporaryDirectory() as name:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", name]
        subprocess.run(mount, check=True, capture_output=True)
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", name], check=True)


def fill_the_disk(recipe, faces: FaceSet) -> dict[str, Any]:
    """Run on a disk that has room for one state and a half, then on the same disk made larger."""
    with tempfile.TemporaryDirectory() as name:
        sitting(lambda: train(recipe, faces, Path(name)), (SOON, 0.0))
        state = max(path.stat().st_size for path in Path(name).glob("*.safetensors"))
    with small_disk(state * 3 // 2) as disk:
        folder = disk / "run"

        def full() -> str:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                train(recipe, faces, folder)
            words = [str(each.message) for each in said]
            return json.dumps([each for each in words if "could not be saved" in each])

        _, said = sitting(full, None)
        left = found(folder)
        subprocess.run(["mount", "-o", f"remount,size={state * 8}", str(disk)], check=True)
        _, resumed = sitting(lambda: train(recipe, faces, folder), None)
        first, *again = [each.replace(str(folder), "FOLDER") for each in json.loads(said)]
    return {"said": first, "times": 1 + len(again), "found": left, "weights": resumed}


def record(recipe, faces: FaceSet, kills: int = KILLS) -> dict[str, Any]:
    """The kill table of one recipe, with the full disk at its end."""
    # A GPU that this process has looked at would be lost to those that it forks.
    _, here = sitting(lambda: json.dumps(environment()), None)
    values = {"recipe": as_dict(recipe), "data": faces.describe(), "environment": json.loads(here)}
    values |= kill(recipe, faces, kills)
    values["full_disk"] = fill_the_disk(recipe, faces)
    return values


def main(folder: Path = RESULTS, gpu: bool = False) -> None:
    torch.set_num_threads(1)
    if gpu:
        DEVICE["kind"] = "cuda"
        os.environ |= {"PYTORCH_NVML_BASED_CUDA_CHECK": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    of = "-cuda" if gpu else ""
    faces = load_faces("synthfer", "train", size=24)[:48]
    folder.mkdir(parents=True, exist_ok=True)
    for name, recipe in (("pretrain", PRETRAINING), ("finetune", FINETUNING)):
        values = record(recipe, faces)
        text = json.dumps(values, indent=1) + "\n"
        files.write_atomically(folder / f"{name}{of}.json", text.encode())
        weights = {*values["weights"].values(), values["full_disk"]["weights"]}
        print(f"{name}: {len(values['kills'])} kills and a full disk, {len(weights)} outcome(s)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="?", default=RESULTS)
    parser.add_argument("--gpu", action="store_true")
    main(**vars(parser.parse_args()))
