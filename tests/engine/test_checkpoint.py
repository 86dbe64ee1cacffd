import json
import re

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from occfer.engine.checkpoint import Checkpoints, Place
from occfer.engine.training import build_optimizer
from occfer.files import file_sha256, load_tensors, save_tensors, write_atomically
from occfer.randomness import seeded_modules
from occfer.recipes import FinetuneRecipe

RECIPE = {"rate": 0.1, "epochs": 3}


def fresh(optimizer: str = "adam", seed: int = 0):
    """A network in the layout that training gives it, and its optimiser."""
    with seeded_modules(seed):
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Conv2d(4, 2, 1)
        ).to(memory_format=torch.channels_last)
    recipe = FinetuneRecipe(optimizer=optimizer, learning_rate=0.01)
    return model, build_optimizer(model, recipe)


def train(model: nn.Module, optimizer, pictures, steps: int, seed: int = 0) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        model(pictures(4, 3, 9, 9, seed=seed + step)).square().mean().backward()
        optimizer.step()


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.fixture
def saved(tmp_path, pictures):
    """A folder of states after 1, 2 and 3 steps, of which the last two are kept."""
    model, optimizer = fresh()
    checkpoints = Checkpoints(tmp_path / "run", RECIPE)
    for step in range(3):
        train(model, optimizer, pictures, 1, seed=step)
        checkpoints.save(Place(step=step + 1), model, optimizer)
    return tmp_path / "run"


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_resumed_optimiser_goes_on_bit_by_bit(tmp_path, pictures, optimizer) -> None:
    model, stepper = fresh(optimizer)
    train(model, stepper, pictures, 3)
    place = Place(2, 5, {"loss": [1 / 3, 0.1]}, [{"epoch": 1, "loss": 0.1}], 1, 0.7, 12.5)
    best = {"weight": torch.arange(3.0)}
    Checkpoints(tmp_path, RECIPE).save(place, model, stepper, best)

    other, other_stepper = fresh(optimizer, seed=9)
    found, found_best = Checkpoints(tmp_path, RECIPE).resume(other, other_stepper)
    assert found == place
    assert torch.equal(found_best["weight"], best["weight"])
    assert same_weights(model, other)

    train(model, stepper, pictures, 3, seed=10)
    train(other, other_stepper, pictures, 3, seed=10)
    assert same_weights(model, other)


def test_the_newest_two_states_are_kept(saved) -> None:
    names = sorted(path.name for path in saved.iterdir())
    assert names == ["recipe.json"] + [
        f"state-{n:06d}.{kind}" for n in (1, 2) for kind in ("json", "safetensors")
    ]
    place, best = Checkpoints(saved, RECIPE).resume(*fresh())
    assert place.step == 3
    assert best is None


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def remove(path):
    path.unlink()


def fill_with_null(path):
    path.write_bytes(b"null")


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        ("safetensors", cut),
        ("safetensors", flip_a_bit),
        ("safetensors", empty),
        ("safetensors", remove),
        ("json", cut),
        ("json", empty),
        ("json", fill_with_null),
    ],
)
def test_a_damaged_state_is_said_and_the_one_before_is_used(saved, suffix, damage) -> None:
    damage(saved / f"state-000002.{suffix}")
    with pytest.warns(UserWarning, match=r"state-000002\.json is passed over"):
        place, _ = Checkpoints(saved, RECIPE).resume(*fresh())
    assert place.step == 2


def test_where_every_state_is_damaged_the_run_begins_anew(saved) -> None:
    for path in saved.glob("*.safetensors"):
        cut(path)
    model, optimizer = fresh(seed=4)
    with (
        pytest.warns(UserWarning, match="passed over"),
        pytest.warns(UserWarning, match="no state in .* is sound; it begins anew"),
    ):
        place, best = Checkpoints(saved, RECIPE).resume(model, optimizer)
    assert place == Place()
    assert best is None
    assert same_weights(model, fresh(seed=4)[0])


def test_what_a_killed_process_left_half_written_is_swept_away(tmp_path) -> None:
    folder = tmp_path / "killed"
    Checkpoints(folder, RECIPE)
    (folder / ".state-000004.safetensors.4711").write_bytes(b"half")
    (folder / ".state-000004.json.4711").write_bytes(b"{")
    (folder / ".recipe.json.4711").write_bytes(b"{")
    (folder / "state-000005.safetensors").write_bytes(b"whole, but without its words")
    Checkpoints(folder, RECIPE)
    assert [path.name for path in folder.iterdir()] == ["recipe.json"]


def test_tensors_without_their_words_do_not_count(saved) -> None:
    """What a killed process leaves between the two files of a state."""
    (saved / "state-000002.json").unlink()
    (saved / ".state-000003.safetensors.4711").write_bytes(b"half")
    model, optimizer = fresh()
    checkpoints = Checkpoints(saved, RECIPE)
    assert checkpoints.resume(model, optimizer)[0].step == 2
    checkpoints.save(Place(step=9), model, optimizer)
    assert Checkpoints(saved, RECIPE).resume(*fresh())[0].step == 9


def test_a_new_run_starts_at_the_beginning(tmp_path) -> None:
    model, optimizer = fresh()
    assert Checkpoints(tmp_path / "new", RECIPE).resume(model, optimizer) == (Place(), None)


def test_a_folder_of_another_recipe_is_refused_and_left_alone(saved) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    with pytest.raises(ValueError, match=r"another recipe \(differs in epochs, seed\); choose"):
        Checkpoints(saved, {"rate": 0.1, "epochs": 4, "seed": 1})
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_a_run_goes_on_whichever_way_a_gpu_computes(tmp_path) -> None:
    model, optimizer = fresh()
    Checkpoints(tmp_path, {**RECIPE, "compile": True}).save(Place(step=3), model, optimizer)
    asked = {**RECIPE, "compile": False, "cuda_graphs": True}
    assert Checkpoints(tmp_path, asked).resume(*fresh())[0].step == 3


def test_files_of_others_in_the_folder_are_not_swept_away(saved) -> None:
    """Hidden ones too, and such as look much like a state."""
    names = (".env.local", ".notes.txt", "state-best.safetensors", "state-best.json")
    for name in names:
        (saved / name).write_text("{}")
    place, _ = Checkpoints(saved, RECIPE).resume(*fresh())
    assert place.step == 3
    assert all((saved / name).read_text() == "{}" for name in names)


def test_a_state_whose_words_were_changed_is_passed_over(saved) -> None:
    newest = max(saved.glob("state-*.json"))
    words = json.loads(newest.read_text())
    words["place"]["epoch"] = 99
    newest.write_text(json.dumps(words))
    with pytest.warns(UserWarning, match="its words are not those that were saved"):
        place, _ = Checkpoints(saved, RECIPE).resume(*fresh())
    assert (place.epoch, place.step) == (0, 2)


@pytest.mark.parametrize("gone", ["place", "param_groups", "sha256"])
def test_an_old_state_that_lacks_a_word_is_passed_over(saved, gone) -> None:
    """Its words have no hash of their own that would tell."""
    newest = max(saved.glob("state-*.json"))
    words = json.loads(newest.read_text())
    del words[gone], words["words_sha256"]
    newest.write_text(json.dumps(words))
    with pytest.warns(UserWarning, match=f"passed over: '{gone}'"):
        place, _ = Checkpoints(saved, RECIPE).resume(*fresh())
    assert place.step == 2


def test_a_damaged_recipe_is_one_sentence(saved) -> None:
    (saved / "recipe.json").write_text('{"rate": 0.')
    with pytest.raises(ValueError, match="should say which run the folder holds, but is damaged"):
        Checkpoints(saved, RECIPE)


def test_states_of_nobody_knows_which_recipe_are_refused_and_left_alone(saved) -> None:
    (saved / "recipe.json").unlink()
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    with pytest.raises(ValueError, match=r"holds states of a run, but not the recipe\.json"):
        Checkpoints(saved, {"rate": 0.5, "epochs": 3})
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_a_field_that_is_younger_than_the_folder_means_its_default(tmp_path) -> None:
    Checkpoints(tmp_path, {"rate": 0.1}).save(Place(), *fresh())
    Checkpoints(tmp_path, {"rate": 0.1, "sync": False}, {"rate": 0.5, "sync": False})
    with pytest.raises(ValueError, match=r"differs in sync\)"):
        Checkpoints(tmp_path, {"rate": 0.1, "sync": True}, {"rate": 0.5, "sync": False})


def test_tuples_in_a_recipe_are_no_other_recipe(tmp_path) -> None:
    Checkpoints(tmp_path, {"crop": (0.3, 1.0)}).save(Place(step=3), *fresh())
    assert Checkpoints(tmp_path, {"crop": (0.3, 1.0)}).resume(*fresh())[0].step == 3


def test_a_finished_network_is_not_another_recipes_to_replace(tmp_path) -> None:
    """Also where its states were deleted, or stayed on another machine."""
    Checkpoints(tmp_path, RECIPE)
    (tmp_path / "model").mkdir()
    with pytest.raises(ValueError, match=r"another recipe \(differs in rate\)"):
        Checkpoints(tmp_path, {**RECIPE, "rate": -0.1})


def test_a_recipe_of_which_nothing_was_learnt_gives_way(tmp_path) -> None:
    """Such as one with a slip in it, which the first batch brings to light."""
    Checkpoints(tmp_path, {**RECIPE, "rate": -0.1})
    Checkpoints(tmp_path, RECIPE).save(Place(step=3), *fresh())
    assert json.loads((tmp_path / "recipe.json").read_text()) == RECIPE
    with pytest.raises(ValueError, match=r"another recipe \(differs in rate\)"):
        Checkpoints(tmp_path, {**RECIPE, "rate": -0.1})


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    model, optimizer = fresh()
    checkpoints = Checkpoints(None, RECIPE)
    checkpoints.save(Place(step=1), model, optimizer)
    assert checkpoints.resume(model, optimizer) == (Place(), None)
    assert not list(tmp_path.iterdir())


# Files


def test_tensors_survive_and_are_named_by_their_content(tmp_path, pictures) -> None:
    shared = pictures(4, 4, 2, 3)
    tensors = {
        "last": shared.contiguous(memory_format=torch.channels_last),
        "part": shared[1:2, :2],
        "count": torch.tensor(3),
        "flag": torch.tensor([True, False]),
    }
    path = tmp_path / "some.safetensors"
    digest = save_tensors(tensors, path)
    assert digest == file_sha256(path)
    assert re.fullmatch("[0-9a-f]{64}", digest)
    for found in (load_tensors(path, digest), load_file(path)):
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[key], tensors[key]) for key in tensors)
    assert [path] == list(tmp_path.iterdir())


def test_changed_tensors_are_refused(tmp_path) -> None:
    path = tmp_path / "some.safetensors"
    digest = save_tensors({"x": torch.zeros(8)}, path)
    flip_a_bit(path)
    with pytest.raises(ValueError, match=rf"some\.safetensors should have SHA-256 {digest[:12]}"):
        load_tensors(path, digest)


def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch) -> None:
    path = tmp_path / "words.json"
    write_atomically(path, b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    with pytest.raises(OSError, match="disk full"):
        save_tensors({"x": torch.zeros(2)}, tmp_path / "x.safetensors")
    assert path.read_bytes() == b"old"
    assert [path] == list(tmp_path.iterdir())


def test_a_state_says_in_json_where_the_run_stands(saved) -> None:
    words = json.loads((saved / "state-000002.json").read_text())
    assert words["place"]["step"] == 3
    assert words["sha256"] == file_sha256(saved / "state-000002.safetensors")
