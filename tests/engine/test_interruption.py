"""Stopping a run and starting it again changes nothing: weights agree to the last bit."""

import json
import os
import signal
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from occfer.data import FaceSet
from occfer.engine.finetune import finetune
from occfer.engine.pretrain import pretrain
from occfer.fgw import FGW
from occfer.recipes import PretrainRecipe, as_dict

ROOT = Path(__file__).resolve().parents[2]

# A process of its own, which sends itself a signal when a given training step begins.
VICTIM = """
import json, os, signal, sys
import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from occfer import FGW, FaceSet, finetune, pretrain
from occfer.ocl import OCL
from occfer.recipes import PretrainRecipe, from_dict

torch.set_num_threads(1)
job = json.loads(sys.argv[1])
steps = iter(range(10**6))

def before(module, _):
    if isinstance(module, (OCL, FGW)) and module.training and next(steps) == job["step"]:
        os.kill(os.getpid(), job["signal"])

register_module_forward_pre_hook(before)
recipe, faces = from_dict(job["recipe"]), FaceSet.open(job["faces"])
if isinstance(recipe, PretrainRecipe):
    pretrain(faces, recipe, run=job["run"], progress=False)
else:
    finetune(faces, faces, recipe, run=job["run"], progress=False)
print("finished")
"""


def run(faces: FaceSet, recipe, folder=None):
    """The weights and the history without its wall times."""
    if isinstance(recipe, PretrainRecipe):
        found = pretrain(faces, recipe, run=folder, progress=False)
        weights = found.encoder.state_dict()
    else:
        found = finetune(faces, faces, recipe, run=folder, progress=False)
        weights = found.model.state_dict()
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in found.history]
    return weights, rows


def steps_saved(folder: Path) -> int:
    """How many of the run's steps, three an epoch, its newest state has behind it."""
    place = json.loads(max(folder.glob("state-*.json")).read_text())["place"]
    return 3 * place["epoch"] + place["step"]


def assert_same(a, b) -> None:
    (weights, rows), (other_weights, other_rows) = a, b
    assert rows == other_rows
    assert weights.keys() == other_weights.keys()
    assert [key for key in weights if not torch.equal(weights[key], other_weights[key])] == []


@pytest.fixture(scope="module")
def faces(toy_faces) -> FaceSet:
    return toy_faces(40)


@pytest.fixture(scope="module")
def recipes(ocl_recipe, fgw_recipe):
    """Every step is saved, so that a killed process leaves something."""
    return {
        "pretrain": ocl_recipe(save_every_seconds=0.0),
        "finetune": fgw_recipe(save_every_seconds=0.0),
    }


@pytest.fixture(scope="module")
def uninterrupted(faces, recipes):
    return {method: run(faces, recipe) for method, recipe in recipes.items()}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("method", ["pretrain", "finetune"])
def test_a_stopped_process_is_continued_by_the_next(
    tmp_path, faces, recipes, uninterrupted, method, number
) -> None:
    folder = tmp_path / "run"
    killed = number == signal.SIGKILL
    recipe = recipes[method] if killed else replace(recipes[method], save_every_seconds=3600.0)
    job = {
        "recipe": as_dict(recipe),
        "faces": str(faces.save(tmp_path / "faces")),
        "run": str(folder),
        "step": 4,
        "signal": number,
    }
    victim = subprocess.run(
        [sys.executable, "-c", VICTIM, json.dumps(job)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert "finished" not in victim.stdout
    if killed:
        assert victim.returncode == -signal.SIGKILL
    else:
        assert "KeyboardInterrupt: stopped and saved; the same call goes on" in victim.stderr
    # A polite stop keeps the step that it met; a killed process cannot.
    assert steps_saved(folder) == (4 if killed else 5)
    assert_same(run(faces, recipe, folder), uninterrupted[method])


@pytest.mark.slow
def test_a_second_process_leaves_a_run_alone_until_the_first_is_gone(
    tmp_path, faces, recipes, uninterrupted
) -> None:
    """The first one sleeps in the middle of a step; a half-written file of its own lies there."""
    folder, recipe = tmp_path / "run", recipes["finetune"]
    job = {
        "recipe": as_dict(recipe),
        "faces": str(faces.save(tmp_path / "faces")),
        "run": str(folder),
        "step": 4,
        "signal": signal.SIGSTOP,
    }
    command = [sys.executable, "-c", VICTIM, json.dumps(job)]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}) as first:
        try:
            assert os.WIFSTOPPED(os.waitpid(first.pid, os.WUNTRACED)[1])
            (folder / "state-000099.safetensors").write_bytes(b"half of it")
            before = {path: path.read_bytes() for path in folder.iterdir()}
            with pytest.raises(BlockingIOError, match="should be free, but another process is"):
                run(faces, recipe, folder)
            assert {path: path.read_bytes() for path in folder.iterdir()} == before
        finally:
            first.kill()
    assert_same(run(faces, recipe, folder), uninterrupted["finetune"])


@pytest.mark.parametrize("step", [0, 2, 3, 7, 8])
@pytest.mark.parametrize("method", ["pretrain", "finetune"])
def test_a_run_may_be_stopped_at_any_step(
    tmp_path, faces, recipes, uninterrupted, at_training_step, method, step
) -> None:
    """The first step, the last of an epoch, the first of the next, the last of all."""
    recipe = replace(recipes[method], save_every_seconds=3600.0)
    with (
        pytest.raises(KeyboardInterrupt, match="stopped and saved"),
        at_training_step(step, lambda: os.kill(os.getpid(), signal.SIGINT)),
    ):
        run(faces, recipe, tmp_path)
    assert steps_saved(tmp_path) == step + 1
    assert_same(run(faces, recipe, tmp_path), uninterrupted[method])


def test_a_run_without_a_folder_does_not_say_that_it_was_saved(
    faces, recipes, at_training_step
) -> None:
    with (
        pytest.raises(KeyboardInterrupt, match=r"nothing is kept, since the run has no folder"),
        at_training_step(4, lambda: os.kill(os.getpid(), signal.SIGINT)),
    ):
        run(faces, recipes["pretrain"])


def test_ctrl_c_in_the_last_validation_is_not_swallowed(
    tmp_path, faces, recipes, uninterrupted
) -> None:
    """All is trained and saved by then, but who pressed Ctrl-C wants nothing more to begin."""
    validations = 0

    def before(module, _) -> None:
        nonlocal validations
        if isinstance(module, FGW) and not module.training:
            validations += 1
            if validations == recipes["finetune"].epochs:
                os.kill(os.getpid(), signal.SIGINT)

    hook = register_module_forward_pre_hook(before)
    try:
        with pytest.raises(KeyboardInterrupt, match="stopped and saved"):
            run(faces, recipes["finetune"], tmp_path)
    finally:
        hook.remove()
    assert steps_saved(tmp_path) == 9
    assert_same(run(faces, recipes["finetune"], tmp_path), uninterrupted["finetune"])


@pytest.mark.parametrize("method", ["pretrain", "finetune"])
def test_a_damaged_checkpoint_costs_time_and_nothing_else(
    tmp_path, faces, recipes, uninterrupted, at_training_step, method
) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        at_training_step(5, lambda: os.kill(os.getpid(), signal.SIGINT)),
    ):
        run(faces, recipes[method], tmp_path)
    newest = max(tmp_path.glob("state-*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="is passed over"):
        resumed = run(faces, recipes[method], tmp_path)
    assert_same(resumed, uninterrupted[method])


@pytest.mark.parametrize(("threads", "said"), [(1, 0), (7, 1), (None, 0)])
def test_another_number_of_threads_is_said_where_anything_is_left_to_train(
    tmp_path, faces, recipes, uninterrupted, at_training_step, recwarn, threads, said
) -> None:
    """A state of an older version says nothing of its threads."""
    with (
        pytest.raises(KeyboardInterrupt),
        at_training_step(1, lambda: os.kill(os.getpid(), signal.SIGINT)),
    ):
        run(faces, recipes["pretrain"], tmp_path)
    newest = max(tmp_path.glob("state-*.json"))
    words = json.loads(newest.read_text())
    assert words["threads"] == torch.get_num_threads() == 1
    words["threads"] = threads
    del words["words_sha256"]
    newest.write_text(json.dumps({k: v for k, v in words.items() if v is not None}))
    warnings.simplefilter("always")
    assert_same(run(faces, recipes["pretrain"], tmp_path), uninterrupted["pretrain"])
    assert len(recwarn) == said
    for each in recwarn:
        assert "computed with torch.get_num_threads() 7 and goes on with 1" in str(each.message)
    recwarn.clear()
    torch.set_num_threads(2)  # nothing is left to train
    try:
        run(faces, recipes["pretrain"], tmp_path)
    finally:
        torch.set_num_threads(1)
    assert len(recwarn) == 0


def test_what_an_older_version_did_not_measure_is_measured_from_the_next_epoch_on(
    tmp_path, faces, recipes, uninterrupted, at_training_step
) -> None:
    """Its mean over the rest of an epoch would not be one over the epoch."""
    with (
        pytest.raises(KeyboardInterrupt),
        at_training_step(1, lambda: os.kill(os.getpid(), signal.SIGINT)),
    ):
        run(faces, recipes["finetune"], tmp_path)
    newest = max(tmp_path.glob("state-*.json"))
    words = json.loads(newest.read_text())
    del words["place"]["sums"]["restrained_faces"], words["words_sha256"]
    newest.write_text(json.dumps(words))
    weights, rows = uninterrupted["finetune"]
    first = {name: value for name, value in rows[0].items() if name != "restrained_faces"}
    assert_same(run(faces, recipes["finetune"], tmp_path), (weights, [first, *rows[1:]]))


@pytest.mark.parametrize("method", ["pretrain", "finetune"])
def test_a_finished_run_is_not_trained_again(
    tmp_path, faces, recipes, uninterrupted, at_training_step, method
) -> None:
    assert_same(run(faces, recipes[method], tmp_path), uninterrupted[method])

    def never():
        raise RuntimeError("a finished run has nothing left to do")

    with pytest.raises(AssertionError, match="had 0 steps only"), at_training_step(0, never):
        assert_same(run(faces, recipes[method], tmp_path), uninterrupted[method])


@pytest.mark.parametrize("method", ["pretrain", "finetune"])
def test_another_recipe_or_other_faces_are_refused_in_the_same_folder(
    tmp_path, faces, recipes, toy_faces, ocl_recipe, fgw_recipe, method
) -> None:
    one_epoch = dict(pretrain=ocl_recipe, finetune=fgw_recipe)[method](epochs=1)
    run(faces, one_epoch, tmp_path)
    # How often it is saved is no part of what a run is, and the other recipe differs in that, too.
    run(faces, replace(one_epoch, save_every_seconds=7.0), tmp_path)
    with pytest.raises(ValueError, match=r"another recipe \(differs in epochs\)"):
        run(faces, recipes[method], tmp_path)
    changed = "faces" if method == "pretrain" else "train, validation"
    with pytest.raises(ValueError, match=rf"another recipe \(differs in {changed}\)"):
        run(toy_faces(40, seed=1), one_epoch, tmp_path)
