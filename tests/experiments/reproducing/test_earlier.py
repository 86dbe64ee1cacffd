"""What earlier calls left behind binds the next one, whichever row or figure it was of."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from occfer import recipes
from occfer.engine.records import environment
from occfer.experiments import budget, carry, table1
from occfer.experiments.budget import Budget, Pace
from occfer.experiments.reproducing import earlier, jobs, reproduce
from occfer.experiments.study import Study

ROW = "Res18-scratch"
NAME = f"synthfer-smoke-{ROW}-seed0"


def job(folder: Path, experiment: str = "table1", rows: tuple[str, ...] = (ROW,)) -> jobs.Job:
    study = Study("synthfer", "smoke", folder / "results", folder / "runs")
    return jobs.Job(jobs.EXPERIMENTS[experiment], rows, study)


def call(folder: Path, experiment: str = "table1", **more) -> list:
    where = dict(results=folder / "results", runs=folder / "runs", tier="smoke")
    return reproduce.reproduce(experiment, **{"say": lambda _: None, **where, **more})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the one row lies that each test copies."""
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def one_row(tiny, trained: Path, tmp_path: Path) -> Path:
    """A folder with one recorded row of Table 1, over half of its epochs."""
    if not (trained / "results").exists():
        Budget(25, 0.5, environment()["device"]).save(job(trained).study.budget)
        call(trained, rows=(ROW,))
    return shutil.copytree(trained, tmp_path / "copy")


@pytest.mark.parametrize("experiment", ["figure3", "figure4"])
def test_a_figure_looks_into_no_network_of_other_faces(
    one_row: Path, monkeypatch: pytest.MonkeyPatch, experiment: str
) -> None:
    splits = table1.load_splits("synthfer", None)
    other = replace(splits, train=splits.train[::-1])
    monkeypatch.setattr(table1, "load_splits", lambda data, root: other)
    with pytest.raises(ValueError, match=rf"table1/{NAME}.* for others of the same name \(train\)"):
        call(one_row, experiment, rows=(ROW,))


def test_a_figure_looks_into_no_network_of_another_recipe(
    one_row: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {**recipes.BUDGETS["smoke"]["finetune"], "learning_rate": 0.5}
    monkeypatch.setitem(recipes.BUDGETS["smoke"], "finetune", wanted)
    with pytest.raises(ValueError, match=f"table1/{NAME}.* with learning_rate 0.001 and not 0.5"):
        call(one_row, "figure3", rows=(ROW,))


def test_the_share_is_that_of_whatever_was_recorded(one_row: Path) -> None:
    """Records of other rows, in another table or figure, and no runs."""
    shutil.rmtree(one_row / "runs")
    for experiment, rows in (("table1", ("OCL+Res18",)), ("figure3", ("HOG",)), ("readings", ())):
        assert earlier.earlier_choice(job(one_row, experiment, rows)).share == 0.5
    (one_row / "results" / "table1").rename(one_row / "results" / "readings")
    assert earlier.earlier_choice(job(one_row)).share == 0.5
    told = job(one_row)
    large = replace(told, study=replace(told.study, tier="paper"))
    assert earlier.earlier_choice(large) is None


def test_a_share_that_others_chose_is_said_and_can_be_refused(one_row: Path) -> None:
    said: list[str] = []
    call(one_row, "table1", rows=(ROW,), say=said.append)
    assert said[0].startswith("Every stage runs 50.0% of the smoke tier's epochs, as ")
    with pytest.raises(ValueError, match=r"every epoch should be run, but .* has 50\.0% of them"):
        call(one_row, "table1", rows=("OCL+Res18",), shrink=False)


def test_a_damaged_record_of_another_table_stops_no_call(one_row: Path) -> None:
    other = one_row / "results" / "figure4" / "synthfer-smoke-OCL+Res18-seed0.json"
    other.parent.mkdir()
    for words in ("{", "5", "{}", '{"tier": "smoke"}'):
        other.write_text(words)
        assert earlier.earlier_choice(job(one_row)).share == 0.5


def test_what_was_begun_keeps_its_epochs_whichever_row_and_seed_it_is(tmp_path: Path) -> None:
    told = job(tmp_path)
    assert not earlier.begun(told)
    runs = tmp_path / "runs" / "table1"
    for other in ("synthfer-paper-OCL-seed0", "fer2013-smoke-OCL-seed0"):
        (runs / other).mkdir(parents=True)
        (runs / other / "state-000000.json").write_text("{}")
    assert not earlier.begun(told)
    state = runs / "synthfer-smoke-OCL-MobileNetV2-seed3" / "state-000000.json"
    state.parent.mkdir()
    state.write_text("{}")
    assert earlier.begun(told)
    paces = {kind: Pace(1.0) for kind in ("plain resnet18", "pretraining resnet18")}
    assert reproduce.choose_epochs(told, paces, 1.0, 1.0).share == 1


def test_a_record_without_its_run_was_begun_too_but_for_a_descriptor(one_row: Path) -> None:
    shutil.rmtree(one_row / "runs")
    assert earlier.begun(job(one_row))
    path = one_row / "results" / "table1" / f"{NAME}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"row": "HOG"}))
    assert not earlier.begun(job(one_row))


def test_a_folder_with_brackets_in_its_name_is_found(one_row: Path) -> None:
    results = one_row / "results"
    for file in list((results / "table1").iterdir()):
        file.rename(file.with_name(file.name.replace("synthfer", "faces[1]")))
    told = job(one_row)
    told = replace(told, study=replace(told.study, data="some/faces[1]"))
    (found,) = told.study.recorded(ROW)
    assert found.values["row"] == ROW
    assert earlier.earlier_choice(told).share == 0.5
    assert [each.name for each in earlier.timed_records(told)] == [NAME]


def test_a_descriptor_has_its_pace_from_the_record_of_another_seed(tiny, tmp_path: Path) -> None:
    call(tmp_path, "figure3", rows=("HOG",))
    told = replace(job(tmp_path, "figure3", ("HOG", "LBP")), seeds=2)
    paces: dict[str, Pace] = {}
    reproduce.known_paces(told, table1.load_splits("synthfer", None), paces, lambda _: None)
    (record,) = jobs.recorded(told)
    assert paces == {
        "HOG": Pace(0.0, startup=record.values["seconds"]),
        "figure3 of HOG": Pace(0.0, startup=record.values["scoring_seconds"]),
    }


def test_a_state_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "state-000001.json").mkdir()
    (tmp_path / "state-000000.json").write_text('{"place": {"epoch": 7}}')
    assert jobs.epochs_done(tmp_path) == 7


def test_recorded_paces_win_over_those_that_the_choice_was_made_from(
    one_row: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = Budget(25, 0.5, environment()["device"], {"plain resnet18": Pace(99.0)})
    told = replace(job(one_row, rows=("OCL+Res18",)), choice=choice)
    monkeypatch.setattr(budget, "measure", lambda *_: Pace(7.0))
    paces: dict[str, Pace] = {}
    reproduce.known_paces(told, table1.load_splits("synthfer", None), paces, lambda _: None)
    assert paces["plain resnet18"].epoch < 50
    assert paces["pretraining resnet18"] == Pace(7.0)
    elsewhere = replace(choice, threads=environment()["threads"] + 1)
    shutil.rmtree(one_row / "results")
    paces.clear()
    told = replace(told, choice=elsewhere)
    reproduce.known_paces(told, table1.load_splits("synthfer", None), paces, lambda _: None)
    assert paces["plain resnet18"] == Pace(7.0)


def test_an_unknown_experiment_is_one_sentence(tiny, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"experiment should be one of table1, .* got 'table3'"):
        call(tmp_path, "table3")


def test_an_encoder_that_was_stopped_before_it_was_packed_is_packed_by_the_next_call(
    tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(recipes.BUDGETS["smoke"]["pretrain"], "epochs", 1)
    splits = table1.load_splits("synthfer", None)
    study = job(tmp_path).study
    with monkeypatch.context() as stopped:
        stopped.setattr(table1, "pack", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            table1.pretrained_encoder("OCL+Res18", splits, study, seed=0)
    run = study.run("OCL", 0)
    assert carry.has_model(run)
    assert not carry.has_parts(run)
    table1.pretrained_encoder("OCL+Res18", splits, study, seed=0)
    assert carry.has_parts(run)
