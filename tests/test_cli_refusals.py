"""What ``occfer reproduce`` would pass over in silence it refuses, in one sentence."""

from pathlib import Path

import pytest

from occfer.cli import evidence, main
from occfer.experiments import occlusion_ferplus, refusals


def said(*arguments: str) -> str:
    """The sentence in which a command ends."""
    with pytest.raises(SystemExit) as stop:
        main(["reproduce", *arguments])
    return stop.value.code


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("--plan",), "--plan"),
        (("--minutes", "5"), "--minutes"),
        (("--seeds", "3"), "--seeds"),
        (("--rows", "OCL+Res18"), "--rows"),
        (("--shrink", "False", "--plan"), "--shrink, --plan"),
    ],
)
def test_what_trains_nothing_takes_no_option_of_training(
    monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...], named: str
) -> None:
    monkeypatch.setattr(occlusion_ferplus, "measure", lambda *_: pytest.fail("it was scored"))
    assert f"so {named} would change nothing; leave that out." in said("occlusion-ferplus", *given)


@pytest.mark.parametrize("experiment", ["table1", "datacard"])
@pytest.mark.parametrize("given", [("--seeds", "0"), ("--minutes", "-1"), ("--minutes", "nan")])
def test_no_seeds_or_no_time_is_one_sentence(experiment: str, given: tuple[str, ...]) -> None:
    assert said(experiment, *given).startswith("occfer: seeds should be at least 1, and minutes")


@pytest.mark.parametrize("processes", ["many", "-1", "1.5"])
def test_a_number_of_processes_that_is_none_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, processes: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", processes)
    with pytest.raises(ValueError, match="WORLD_SIZE should be the number of processes"):
        refusals.refuse_several_processes()


def test_an_error_without_words_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(*_, **__) -> None:
        raise MemoryError

    monkeypatch.setattr(evidence, "reproduce", run)
    assert said("table1", "--out", str(tmp_path)) == "occfer: MemoryError"
