"""Where a study's records and runs lie, and that each row finds its own alone."""

from pathlib import Path

import pytest

from occfer.experiments.study import Study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study("fer2013", "laptop", tmp_path / "results", tmp_path / "runs")


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_names_say_data_tier_row_and_seed(study: Study) -> None:
    name = "fer2013-laptop-OCL+Res18-seed2"
    assert study.name("OCL+Res18", 2) == name
    assert study.record("OCL+Res18", 2) == study.results / "table1" / f"{name}.json"
    assert study.record("HOG", 0, "figure3").parent == study.results / "figure3"
    assert study.run("OCL+Res18", 2) == study.runs / "table1" / name
    assert Study("some/faces", "smoke").name("HOG", 0) == "faces-smoke-HOG-seed0"


def test_a_row_finds_its_own_records_and_no_other_s(study: Study) -> None:
    """Names of rows begin with those of others, and so may those of data sets."""
    mine = [study.record("OCL+Res18", seed) for seed in (0, 1)]
    others = [study.record(row, 0) for row in ("OCL", "OCL+Res18+FGW", "OCL+Res18-occluded")]
    elsewhere = [
        Study("fer2013", "paper", study.results).record("OCL+Res18", 0),
        Study("my-fer2013", "laptop", study.results).record("OCL+Res18", 0),
        study.record("OCL+Res18", 2, "figure3"),
    ]
    touch(*mine, *others, *elsewhere, mine[0].with_suffix(".npz"))
    assert study.records("OCL+Res18") == mine
    assert study.records() == sorted([*mine, *others])
    assert study.records(experiment="figure3") == [elsewhere[2]]
    assert study.recorded("SimCLR") == ()


def test_runs_are_those_of_the_study_and_the_budget_is_none(study: Study) -> None:
    mine = [study.run(row, 1) for row in ("HOG", "OCL")]
    for run in (*mine, Study("fer2013", "paper", runs=study.runs).run("OCL", 0)):
        run.mkdir(parents=True)
    touch(study.budget)
    assert study.all_runs() == mine
    assert study.budget.name == "fer2013-laptop-budget.json"


def test_brackets_in_a_folder_s_name_are_no_pattern(tmp_path: Path) -> None:
    study = Study("faces[1]", "smoke", tmp_path / "results", tmp_path / "runs")
    touch(study.record("HOG", 0))
    study.run("HOG", 0).mkdir(parents=True)
    assert study.records() == [study.record("HOG", 0)]
    assert study.all_runs() == [study.run("HOG", 0)]
