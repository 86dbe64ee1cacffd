"""The chosen share of epochs, and how fast this machine is; what is no such thing says so."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from occfer import recipes
from occfer.engine.records import Record, environment
from occfer.experiments import budget
from occfer.experiments.budget import Budget, Pace
from occfer.experiments.study import Study

PACES = {"plain resnet18": Pace(0.01)}
CHOICE = Budget(25, 0.3, "a GPU", PACES, 2)
STRANGE = [
    dict(share=5), dict(share=0), dict(share="a"), dict(share=True), dict(minutes=None),
    dict(paces={"plain resnet18": {"epoch": "fast"}}), dict(paces=5), dict(device=5),
    dict(threads="two"), dict(paces={"plain resnet18": {"speed": 1.0}}),
]  # fmt: skip


def test_the_first_epoch_tells_what_starting_costs() -> None:
    """Epochs of 20, 5, 5 and 6 seconds over a quarter of the faces: 15 of them were the start."""
    history = [{"seconds": ended} for ended in (20.0, 25.0, 30.0, 36.0)]
    assert budget.pace_of(history, share=0.25) == Pace(epoch=20.0, startup=15.0)
    quicker_at_first = [{"seconds": ended} for ended in (4.0, 9.0, 14.0)]
    assert budget.pace_of(quicker_at_first) == Pace(epoch=5.0, startup=0.0)


def test_a_damaged_choice_is_one_sentence(tmp_path: Path) -> None:
    study = Study("fer2013", "paper", runs=tmp_path)
    place = study.budget
    Budget(25, 0.3, "a GPU", PACES).save(place)
    assert study.choice == Budget(25, 0.3, "a GPU", PACES)
    assert replace(study, tier="laptop").choice is None
    sound = json.loads(place.read_text())
    strange = [json.dumps(sound | each) for each in STRANGE]
    for damage in ("{", "[]", "5", '{"share": 2}', "[" * 100_000, *strange):
        place.write_text(damage)
        with pytest.raises(ValueError, match=r"should hold the share of epochs .* is damaged"):
            assert study.choice is None


def test_an_older_choice_does_not_say_how_many_threads(tmp_path: Path) -> None:
    place = CHOICE.save(tmp_path / "budget.json")
    older = json.loads(place.read_text())
    del older["threads"]
    place.write_text(json.dumps(older))
    assert Budget.load(place) == Budget(25, 0.3, "a GPU", PACES)


def test_paces_are_of_this_machine_where_device_and_threads_are() -> None:
    device, threads = environment()["device"], environment()["threads"]
    assert Budget(25, 0.3, device, PACES, threads).measured_here
    assert Budget(25, 0.3, device, PACES).measured_here
    assert not Budget(25, 0.3, device, PACES, threads + 1).measured_here
    assert not Budget(25, 0.3, "another", PACES, threads).measured_here


def test_a_record_tells_what_was_chosen_and_strange_words_are_one_sentence() -> None:
    stated = CHOICE.as_record(20, 6, 6)
    assert budget.adopted([Record({"name": "one"}), Record({"name": "two", "budget": stated})]) == (
        CHOICE
    )
    assert budget.adopted([]) is None
    missing = {name: value for name, value in stated.items() if name != "paces"}
    for strange in (5, missing, *[stated | each for each in STRANGE]):
        with pytest.raises(ValueError, match=r"two should state the share .* budget is damaged"):
            budget.adopted([Record({"name": "two", "budget": strange})])


def test_paces_come_from_runs_of_this_machine_alone() -> None:
    def run(seconds: list[float], more: dict = {}, **environment_changes) -> Record:  # noqa: B006
        recipe = recipes.as_dict(recipes.pretraining("smoke"))
        history = [{"seconds": each} for each in seconds]
        there = {**environment(), **environment_changes}
        said = {"recipe": {**recipe, **more}, "tier": "smoke", "environment": there}
        return Record({**said, "history": history})

    here = [run([9.0, 10.0, 11.0, 12.0]), run([5.0, 8.0]), run([1.0, 3.0]), run([7.0])]
    foreign = [run([1.0, 2.0], device="another"), run([1.0, 2.0], threads=-1)]
    foreign.append(run([1.0, 2.0], {"precision": "bf16-mixed"}))
    # Epochs of 1, 3 and 2 seconds; the first of a run may hold its start and counts for nothing.
    assert budget.recorded_paces(here + foreign) == {"pretraining resnet18": Pace(2.0)}
    assert budget.recorded_paces(foreign) == {}


def test_a_descriptor_is_fitted_once_in_the_seconds_of_its_record() -> None:
    said = {"recipe": recipes.as_dict(recipes.baseline("HOG", "smoke")), "tier": "smoke"}
    said |= {"environment": environment(), "history": [{"trial": 1}]}
    records = [Record({**said, "seconds": seconds}) for seconds in (30.0, 90.0, 40.0)]
    assert budget.recorded_paces(records) == {"HOG": Pace(0.0, startup=40.0)}


def test_looking_takes_the_seconds_that_were_recorded_here() -> None:
    said = {"recipe": recipes.as_dict(recipes.baseline("HOG", "smoke")), "experiment": "figure3"}
    said |= {"environment": environment()}
    records = [Record({**said, "scoring_seconds": seconds}) for seconds in (3.0, 9.0, 4.0)]
    records.append(Record(said))  # older than the field
    foreign = {**said["environment"], "threads": -1}
    records.append(Record({**said, "environment": foreign, "scoring_seconds": 1e6}))
    name = budget.scoring("figure3", "HOG")
    assert budget.recorded_scoring(records) == {name: Pace(0.0, startup=4.0)}
