"""The table and TensorBoard hold what the history holds, also of a run that was stopped."""

import os
import re
import signal

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from occfer.engine.curves import EVENTS, TABLE, Curves, read_table, write_table
from occfer.engine.finetune import finetune
from occfer.engine.pretrain import pretrain


def shown_by_tensorboard(folder) -> dict[str, dict[int, float]]:
    """Name → epoch → value, as TensorBoard itself reads it; no epoch has two."""
    events = EventAccumulator(str(folder / EVENTS))
    events.Reload()
    points = {name: events.Scalars(name) for name in events.Tags()["scalars"]}
    shown = {name: {event.step: event.value for event in each} for name, each in points.items()}
    assert {name: len(each) for name, each in shown.items()} == {
        name: len(each) for name, each in points.items()
    }
    return shown


@pytest.mark.parametrize("method", ["pretrain", "finetune"])
def test_they_hold_the_history(tmp_path, toy_faces, ocl_recipe, fgw_recipe, method) -> None:
    faces, curves = toy_faces(40), Curves(tmp_path)
    if method == "pretrain":
        history = pretrain(faces, ocl_recipe(), progress=False, watchers=[curves]).history
    else:
        history = finetune(faces, faces, fgw_recipe(), progress=False, watchers=[curves]).history
    assert read_table(tmp_path) == history
    shown = shown_by_tensorboard(tmp_path)
    assert shown.keys() == history[0].keys() - {"epoch"}
    for row in history:
        for name, points in shown.items():
            assert points[row["epoch"]] == pytest.approx(row[name], rel=1e-6)


def test_a_stopped_run_goes_on_in_the_same_table(
    tmp_path, toy_faces, ocl_recipe, at_training_step
) -> None:
    faces = toy_faces(40)
    options = dict(run=tmp_path / "run", progress=False)
    with (
        pytest.raises(KeyboardInterrupt),
        at_training_step(4, lambda: os.kill(os.getpid(), signal.SIGINT)),
    ):
        pretrain(faces, ocl_recipe(), **options, watchers=[Curves(tmp_path)])
    assert len(read_table(tmp_path)) == 1
    history = pretrain(faces, ocl_recipe(), **options, watchers=[Curves(tmp_path)]).history
    assert read_table(tmp_path) == history
    assert sorted(shown_by_tensorboard(tmp_path)["loss"]) == [1, 2, 3]


def test_epochs_that_are_run_again_replace_the_rows_that_were_there(tmp_path) -> None:
    """As after a kill: the table is ahead of the last saved state."""
    for sitting in ([(1, 5.0), (2, 4.0), (3, 3.0)], [(2, 4.5)]):
        curves = Curves(tmp_path)
        for epoch, loss in sitting:
            curves(nn.Identity(), {"epoch": epoch, "loss": loss})
    expected = [{"epoch": 1, "loss": 5.0}, {"epoch": 2, "loss": 4.5}]
    assert read_table(tmp_path) == expected
    assert shown_by_tensorboard(tmp_path)["loss"] == {1: 5.0, 2: 4.5}


def test_a_clock_that_was_set_back_loses_no_epoch(tmp_path) -> None:
    """TensorBoard orders event files by the second in their names, and lets the last one hide."""
    for epoch, loss in ((1, 5.0), (2, 4.0), (3, 3.0)):
        if epoch != 2:
            curves = Curves(tmp_path)
        curves(nn.Identity(), {"epoch": epoch, "loss": loss})
        if epoch == 2:
            [events] = (tmp_path / EVENTS).iterdir()
            events.rename(events.with_name(re.sub(r"\d{10}", "9999999999", events.name, count=1)))
    assert shown_by_tensorboard(tmp_path)["loss"] == {1: 5.0, 2: 4.0, 3: 3.0}


def test_event_files_of_others_stay(tmp_path) -> None:
    theirs = tmp_path / EVENTS / "events.out.tfevents.1.somebody"
    theirs.parent.mkdir()
    theirs.write_bytes(b"")
    for epoch in (1, 2):
        Curves(tmp_path)(nn.Identity(), {"epoch": epoch, "loss": 1.0})
    assert len(list(theirs.parent.iterdir())) == 2
    assert theirs.exists()


def test_rows_may_hold_different_columns(tmp_path) -> None:
    rows = [{"epoch": 1, "loss": 5.0}, {"epoch": 2, "loss": 4.0, "knn_accuracy": 0.0}]
    write_table(tmp_path, rows)
    assert read_table(tmp_path) == rows
    assert (tmp_path / TABLE).read_text() == "epoch,loss,knn_accuracy\n1,5.0,\n2,4.0,0.0\n"


@pytest.mark.parametrize("text", ["epoch,loss\n1,much\n", "loss\n4\n", "epoch,loss\nnan,1\n"])
def test_a_table_of_somebody_else_is_refused(tmp_path, text) -> None:
    (tmp_path / TABLE).write_text(text)
    with pytest.raises(ValueError, match=r"one line of numbers an epoch, .* delete it"):
        Curves(tmp_path)(nn.Identity(), {"epoch": 1, "loss": 1.0})


def test_a_file_in_the_place_of_tensorboard_s_folder_is_refused_and_kept(tmp_path) -> None:
    (tmp_path / EVENTS).write_text("notes on TensorBoard")
    with pytest.raises(FileExistsError, match=r"should be TensorBoard's folder, .* move it away"):
        Curves(tmp_path)
    assert (tmp_path / EVENTS).read_text() == "notes on TensorBoard"
