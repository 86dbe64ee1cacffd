"""The whole of Table 1 on SynthFER, small: planned, stopped, carried away, gone on with."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from occfer import recipes
from occfer.engine.pretrain import pretrain
from occfer.engine.records import Record, environment
from occfer.experiments import budget, table1
from occfer.experiments.budget import Budget, Pace
from occfer.experiments.reproducing import jobs, plan, reproduce
from occfer.experiments.rows import TABLE1_ROWS, table1_row
from occfer.experiments.study import Study

# ImageNet's weights fit no network as narrow as this one, so the first row cannot be run.
ROWS = [row for row in TABLE1_ROWS if row != "Res18"]
PACES = {
    "pretraining resnet18": Pace(0.01), "plain resnet18": Pace(0.01), "fgw resnet18": Pace(0.01),
}  # fmt: skip


def study(folder: Path) -> Study:
    return Study("synthfer", "smoke", folder / "results", folder / "runs")


def call(folder: Path, say: Callable[[str], None] = lambda _: None, **more) -> list[Record]:
    """One call of the command, all of whose files lie in one folder."""
    where = dict(results=folder / "results", runs=folder / "runs")
    return reproduce.reproduce("table1", tier="smoke", say=say, **where, **more)


def choose(folder: Path, share: float) -> Budget:
    """As if an earlier call on this machine had measured and chosen."""
    choice = Budget(25, share, environment()["device"], PACES)
    choice.save(study(folder).budget)
    return choice


def contents(folder: Path) -> dict[Path, bytes | None]:
    """Every file below a folder with its bytes, and every folder."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def predicted(folder: Path) -> dict[str, np.ndarray]:
    paths = (folder / "results" / "table1").glob("*.npz")
    records = [Record.load(path.with_suffix(".json")) for path in paths]
    return {record.name: record.predictions.probabilities for record in records}


def networks(folder: Path) -> dict[str, str]:
    """The hash of every finished network."""
    found = (folder / "runs" / "table1").glob("*/model/config.json")
    return {path.parts[-3]: json.loads(path.read_text())["sha256"] for path in found}


@pytest.mark.slow
@pytest.mark.usefixtures("lost_rings")
def test_table_1_is_stopped_and_carried_on_until_it_is_the_table_of_one_go(
    tiny, tmp_path: Path
) -> None:
    """Each call has little time, and a new folder to which the last one was moved."""
    choice = choose(tmp_path / "0", share=0.5)
    said: list[str] = []
    calls, records = 0, []
    while len(records) < len(ROWS):
        # Longer and longer, so that a machine that has other work to do comes to the end too.
        records = call(tmp_path / str(calls), said.append, minutes=0.003 * 1.5**calls, shrink=True)
        calls += 1
        shutil.move(tmp_path / str(calls - 1), tmp_path / str(calls))
    carried = tmp_path / str(calls)
    assert any(each.startswith("The time is up; synthfer-smoke-") for each in said)
    assert any(
        sentence.startswith("synthfer-smoke-Res18-seed0: not run, since") for sentence in said
    )

    once = tmp_path / "once"
    choose(once, share=0.5)
    assert [record.values["row"] for record in call(once)] == ROWS
    assert [record.values["row"] for record in records] == ROWS
    assert networks(carried) == networks(once)
    assert len(networks(once)) == 4
    ours, theirs = predicted(carried), predicted(once)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)

    for record in records:
        assert record.values["recipe"]["epochs"] == 2
        stated = record.values["budget"]
        assert (stated["minutes"], stated["share"]) == (25, 0.5)
        assert stated["paces"] == {kind: vars(pace) for kind, pace in choice.paces.items()}
        assert stated["epochs_of_tier"] == 4
        assert stated["epochs_planned"] == 2
        assert stated["epochs_run"] == len(record.values["history"]) <= 2
    ocl = Record.load(carried / "results" / "table1" / "synthfer-smoke-OCL-seed0.json")
    assert [ocl.values["budget"][f"epochs_{of}"] for of in ("of_tier", "planned", "run")] == [
        24, 12, 12,
    ]  # fmt: skip


def test_a_machine_that_has_the_encoder_in_parts_alone_goes_on_from_the_same_bits(
    tiny, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        choose(folder, share=0.1)
    call(here, rows=("OCL+Res18",))
    name = "synthfer-smoke-OCL-seed0"
    shutil.copytree(
        here / "runs" / "table1" / name / "parts", there / "runs" / "table1" / name / "parts"
    )
    (stage, _) = jobs.stages(job(there))
    assert stage.done
    call(there, rows=("OCL+Res18",))
    assert networks(there) == networks(here)


def job(folder: Path, rows: tuple[str, ...] = ("OCL+Res18",), seeds: int = 1) -> jobs.Job:
    return jobs.Job(jobs.EXPERIMENTS["table1"], rows, study(folder), seeds)


def test_the_encoder_comes_once_a_seed_and_a_seed_before_the_next(tiny, tmp_path: Path) -> None:
    stages = jobs.stages(job(tmp_path, tuple(TABLE1_ROWS), seeds=2))
    names = [stage.name.removeprefix("synthfer-smoke-") for stage in stages]
    one = ["Res18", "OCL", "OCL+Res18", "OCL+Res18+FGW", "OCL+Res18+FGW+LGDS"]
    assert names == [f"{name}-seed{seed}" for seed in (0, 1) for name in one]
    assert [bool(stage.why_not) for stage in stages] == 2 * [True, False, False, False, False]
    assert {stage.needs for stage in stages} == {
        "", "synthfer-smoke-OCL-seed0", "synthfer-smoke-OCL-seed1",
    }  # fmt: skip


def test_planning_runs_nothing_keeps_nothing_and_never_scores_the_test_split(
    tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = []
    from occfer.engine import finetune

    evaluate = finetune.evaluate
    monkeypatch.setattr(
        finetune, "evaluate", lambda model, faces: scored.append(faces) or evaluate(model, faces)
    )
    monkeypatch.setattr(table1, "evaluate", lambda *_: pytest.fail("the test split was scored"))
    said: list[str] = []
    assert call(tmp_path, said.append, dry=True) == []
    assert list(tmp_path.iterdir()) == []
    *measured, table = said
    assert [sentence.split(":")[0] for sentence in measured] == list(PACES)
    assert table.count("missing") == 4
    assert {faces.split for faces in scored} == {"val"}


def test_a_measured_pace_is_that_of_an_epoch(tiny) -> None:
    """The same recipe on all faces takes as long as predicted from a third of them; three times as
    long or as short would be a wrong unit."""
    splits = table1.load_splits("synthfer", None)
    recipe = recipes.pretraining("smoke", epochs=6)
    ratios = []
    for _ in range(3):
        pace = budget.measure(recipe, splits.train, splits.validation)
        began = time.monotonic()
        pretrain(splits.train, recipe, progress=False)
        took = time.monotonic() - began
        ratios.append((pace.startup + 6 * pace.epoch) / took)
    assert 0.4 < sorted(ratios)[1] < 2.5


def test_the_share_is_chosen_once_and_for_every_seed(tiny, tmp_path: Path) -> None:
    paces = {kind: Pace(1.0) for kind in PACES}
    told = job(tmp_path, tuple(ROWS), seeds=3)
    # 24 epochs of pre-training and three rows of 4; a quarter of 36 seconds, and the reserve.
    first = reproduce.choose_epochs(told, paces, 2.0, 9 / (1 - plan.RESERVE))
    assert first.share == pytest.approx(0.25)
    for share in (first.share, 1.0):
        reproduce.keep_the_choice(replace(told, choice=replace(first, share=share)))
        again = reproduce.earlier_choice(told)
        assert again == first
    stages = jobs.stages(replace(told, choice=again))
    assert [stage.epochs for stage in stages] == 3 * [6, 1, 1, 1]


def test_runs_that_were_begun_with_all_their_epochs_keep_them(tiny, tmp_path: Path) -> None:
    told = job(tmp_path)
    run = told.study.run("OCL", 0)
    run.mkdir(parents=True)
    (run / "state-000000.json").write_text('{"place": {"epoch": 7}}')
    assert [stage.epochs_done for stage in jobs.stages(told)] == [7, 0]
    paces = {kind: Pace(1.0) for kind in PACES}
    assert reproduce.choose_epochs(told, paces, 1.0, 60.0).share == 1


def test_records_of_other_faces_with_the_same_name_are_refused(tiny, tmp_path, monkeypatch) -> None:
    """Such as two folders that are both called ``faces``: nothing of the first counts for it."""
    choose(tmp_path, share=0.25)
    first = call(tmp_path, rows=("Res18-scratch",), seeds=1)
    assert call(tmp_path, rows=("Res18-scratch",), seeds=1)[0].values == first[0].values
    splits = table1.load_splits("synthfer", None)
    other = replace(splits, test=splits.test[::-1])
    monkeypatch.setattr(table1, "load_splits", lambda data, root: other)
    with pytest.raises(ValueError, match=r"was recorded for others of the same name \(test\)"):
        call(tmp_path, rows=("Res18-scratch",), seeds=1)


def test_a_figure_s_records_of_other_faces_are_refused_too(tiny, tmp_path, monkeypatch) -> None:
    """They call the faces that nothing covers otherwise."""
    run = dict(rows=("HOG",), tier="smoke", results=tmp_path, runs=tmp_path / "runs")
    assert len(reproduce.reproduce("figure3", **run)) == 1
    splits = table1.load_splits("synthfer", None)
    other = replace(splits, test=splits.test[::-1])
    monkeypatch.setattr(table1, "load_splits", lambda data, root: other)
    with pytest.raises(ValueError, match=r"for others of the same name \(test, 0 %\)"):
        reproduce.reproduce("figure3", **run)


def test_records_of_another_recipe_are_refused(tiny, tmp_path, monkeypatch) -> None:
    """Seeds of a row have one recipe; how a machine computes may differ."""
    call(tmp_path, rows=("OCL+Res18",))
    wanted = {**recipes.BUDGETS["smoke"]["finetune"], "save_every_seconds": 7.0}
    monkeypatch.setitem(recipes.BUDGETS["smoke"], "finetune", wanted)
    assert len(call(tmp_path, rows=("OCL+Res18",))) == 1
    wanted["learning_rate"] = 5e-4
    with pytest.raises(ValueError, match=r"with learning_rate 0\.001 and not 0\.0005;"):
        call(tmp_path, rows=("OCL+Res18",), seeds=2)
    wanted["learning_rate"] = 1e-3
    monkeypatch.setitem(recipes.BUDGETS["smoke"]["pretrain"], "epochs", 23)
    with pytest.raises(ValueError, match=r"OCL-seed0.* with epochs 24 and not 23;"):
        call(tmp_path, rows=("OCL+Res18",), seeds=2)


def test_records_that_were_copied_without_their_runs_still_tell_the_share(tiny, tmp_path) -> None:
    chosen = choose(tmp_path / "a", share=0.5)
    call(tmp_path / "a", rows=("Res18-scratch",))
    shutil.copytree(tmp_path / "a" / "results", tmp_path / "b" / "results")
    before = contents(tmp_path / "b")
    said: list[str] = []
    assert len(call(tmp_path / "b", said.append, rows=("Res18-scratch",), seeds=2, dry=True)) == 1
    assert contents(tmp_path / "b") == before
    cut, table = said
    assert cut == "Every stage runs 50.0% of the epochs, as an earlier call chose."
    assert [line.split()[1:] for line in table.splitlines()[1:-1]] == [
        ["2", "synthfer-smoke-Res18-scratch-seed0:", "done"],
        ["2", "synthfer-smoke-Res18-scratch-seed1:", "missing"],
    ]
    first, second = call(tmp_path / "b", rows=("Res18-scratch",), seeds=2)
    assert second.values["budget"] == first.values["budget"]
    assert study(tmp_path / "b").choice == chosen

    other = json.loads((path := tmp_path / "b/results/table1" / f"{first.name}.json").read_text())
    other["budget"]["share"] = 0.25
    path.write_text(json.dumps(other))
    with pytest.raises(ValueError, match=r"of one share of the epochs, but state \[0\.25, 0\.5\]"):
        budget.adopted(Record.load(p) for p in path.parent.glob("*.json"))


@pytest.mark.parametrize("wrong", [dict(seeds=0), dict(seeds=-1), dict(minutes=0.0)])
def test_no_seeds_or_no_time_is_one_sentence(tiny, tmp_path, wrong) -> None:
    with pytest.raises(ValueError, match="seeds should be at least 1, and minutes more than 0"):
        call(tmp_path, **wrong)


def test_a_tenth_of_the_labels_has_a_pace_of_its_own(tiny, tmp_path: Path) -> None:
    rows = ("OCL+Res18-tenth", "OCL+Res18")
    kinds = {stage.row: stage.kind for stage in jobs.stages(job(tmp_path, rows))[1:]}
    assert kinds == {rows[0]: "plain resnet18, a tenth", rows[1]: "plain resnet18"}
    paces: dict[str, Pace] = {}
    seen = []
    measure = lambda recipe, train, validation: seen.append(len(train)) or Pace(1.0)  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "measure", measure)
        splits = table1.load_splits("synthfer", None)
        reproduce.known_paces(job(tmp_path, rows), splits, paces, lambda _: None)
    assert paces.keys() == {"pretraining resnet18", *kinds.values()}
    assert seen == [96, len(table1.every_tenth(splits.train)), 96]


def test_fewer_regions_have_a_pace_of_their_own() -> None:
    kinds = {row: budget.kind_of(table1_row(row)) for row in ("as-read", "regions=1", "OCL+Res18")}
    assert kinds == {
        "as-read": "fgw resnet18",
        "regions=1": "fgw resnet18, K = 1",
        "OCL+Res18": "plain resnet18",
    }


@pytest.mark.usefixtures("lost_rings")
def test_measuring_has_no_more_time_than_all_the_rest(tiny, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(budget, "ROUNDS", 100_000)  # each an epoch, and all of them an hour
    said: list[str] = []
    assert call(tmp_path, said.append, minutes=0.05) == []
    assert said == [
        "The time is up before every pace was measured; nothing is begun, and the next call "
        "measures again: give it more than 0.05 minutes."
    ]
    assert not (tmp_path / "runs").exists()


def test_several_processes_are_one_sentence(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="in one process, but torchrun started 2; start occfer"):
        call(tmp_path)


def test_a_row_goes_on_from_an_encoder_that_is_recorded_already(tiny, tmp_path: Path) -> None:
    where = dict(results=tmp_path / "results", runs=tmp_path / "runs", tier="smoke")
    [first] = call(tmp_path, rows=("OCL+Res18",))
    record = tmp_path / "results" / "table1" / f"{first.name}.json"
    record.unlink()
    [again] = call(tmp_path, rows=("OCL+Res18",))
    assert again.metrics == first.metrics
    [reading] = reproduce.reproduce("readings", rows=("as-read",), say=lambda _: None, **where)
    assert reading.values["scored"] == "validation"


def test_a_row_that_came_alone_needs_no_encoder(tiny, tmp_path: Path) -> None:
    here = job(tmp_path)
    call(tmp_path, rows=("OCL+Res18",))
    folder = here.study.run("OCL+Res18", 0)
    for state in folder.glob("state-*"):
        state.unlink()
    shutil.rmtree(here.study.run("OCL", 0))
    figure = replace(here, experiment=jobs.EXPERIMENTS["figure3"])
    [stage] = jobs.stages(figure)
    assert (stage.done, stage.needs, stage.epochs_done) == (False, "", stage.epochs)
