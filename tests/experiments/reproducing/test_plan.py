"""The order of value, and what fits: small plans whose answers can be worked out by hand."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from occfer.experiments.budget import Pace
from occfer.experiments.reproducing.plan import (
    RESERVE,
    Stage,
    as_text,
    next_stage,
    seconds,
    share_that_fits,
)

PACES = {
    "pretraining": Pace(3.0, startup=10.0),
    "plain": Pace(1.0, startup=5.0),
    "fgw": Pace(5.0, startup=5.0),
}


def seed_of_table_1(seed: int) -> list[Stage]:
    """An encoder and four rows; the first needs no encoder."""
    ocl = f"OCL-{seed}"
    return [
        Stage(f"Res18-{seed}", "Res18", seed, "plain", 20),
        Stage(ocl, "OCL+Res18", seed, "pretraining", 80, pretraining=True),
        Stage(f"OCL+Res18-{seed}", "OCL+Res18", seed, "plain", 20, needs=ocl),
        Stage(f"FGW-{seed}", "OCL+Res18+FGW", seed, "fgw", 20, needs=ocl),
        Stage(f"LGDS-{seed}", "OCL+Res18+FGW+LGDS", seed, "fgw", 20, needs=ocl),
    ]


@pytest.fixture
def two_seeds() -> list[Stage]:
    return seed_of_table_1(0) + seed_of_table_1(1)


def simulate(stages: list[Stage], left: float, startup: float = 0.0) -> tuple[list[str], float]:
    """Run what is chosen, at exactly the predicted pace; the names begun, and the time left."""
    begun: list[str] = []
    while stage := next_stage(stages, PACES, left, begun):
        took = seconds(stage, PACES)
        begun.append(stage.name)
        ended = took <= left
        left = max(0.0, left - took)
        stages = [
            replace(each, done=True) if each.name == stage.name and ended else each
            for each in stages
        ]
    return begun, left


def test_a_stage_takes_its_start_and_the_epochs_that_are_left() -> None:
    stage = Stage("a", "Res18", 0, "plain", 20)
    assert seconds(stage, PACES) == 25
    assert seconds(replace(stage, epochs_done=15), PACES) == 10
    assert seconds(replace(stage, epochs_done=30), PACES) == 5
    assert seconds(replace(stage, done=True), PACES) == 0
    assert seconds(replace(stage, why_not="no weights"), PACES) == 0


def test_with_time_enough_one_seed_comes_before_the_next(two_seeds) -> None:
    begun, _ = simulate(two_seeds, 1e6)
    assert begun == [stage.name for stage in two_seeds]


def test_what_no_longer_fits_is_passed_over_for_what_does(two_seeds) -> None:
    """25 + 250 + 25 + 105 + 105 seconds make a seed: 100 left after the third stage are too few for
    a row of five regions, and enough for the next seed's first row; then one is begun anyway."""
    begun, left = simulate(two_seeds, 400.0)
    assert begun == ["Res18-0", "OCL-0", "OCL+Res18-0", "Res18-1", "FGW-0"]
    assert left == 0


def test_a_stage_longer_than_any_call_is_begun_all_the_same(two_seeds) -> None:
    without_short = [stage for stage in two_seeds if stage.kind != "plain"]
    assert next_stage(without_short, PACES, 30.0).name == "OCL-0"


def test_a_stage_that_fits_to_the_second_comes_before_one_that_does_not(two_seeds) -> None:
    fgw, plain = two_seeds[4], two_seeds[0]
    without_needs = [replace(fgw, needs=""), plain]
    assert next_stage(without_needs, PACES, 105.0) == without_needs[0]
    assert next_stage(without_needs, PACES, 25.0) == plain


def test_a_stage_that_is_passed_over_is_not_taken_again(two_seeds) -> None:
    assert next_stage(two_seeds, PACES, 1e6, ["Res18-0"]).name == "OCL-0"


def test_nothing_is_begun_that_would_be_stopped_before_its_first_step(two_seeds) -> None:
    assert next_stage(two_seeds, PACES, 5.0) is None
    assert next_stage(two_seeds, PACES, 5.1).name == "Res18-0"
    assert next_stage(two_seeds, PACES, 0.0) is None


def test_a_row_waits_for_its_encoder(two_seeds) -> None:
    impossible = [
        replace(stage, why_not="no") if stage.pretraining else stage for stage in two_seeds
    ]
    begun, _ = simulate(impossible, 1e6)
    assert begun == ["Res18-0", "Res18-1"]


def test_what_cannot_be_run_here_is_left_out(two_seeds) -> None:
    no_weights = [
        replace(stage, why_not="no weights") if stage.row == "Res18" else stage
        for stage in two_seeds
    ]
    begun, _ = simulate(no_weights, 1e6)
    assert begun == [stage.name for stage in two_seeds if stage.row != "Res18"]


def test_an_unknown_pace_never_holds_a_stage_back() -> None:
    stage = Stage("HOG-0", "HOG", 0, "HOG", 0)
    assert next_stage([stage], PACES, 1.0) == stage


def test_an_unknown_pace_waits_for_what_is_known_to_fit(two_seeds) -> None:
    """Else a call that is shorter than an SVM's fit would never reach a network."""
    svm, network = Stage("HOG-0", "HOG", 0, "HOG", 0), two_seeds[0]
    assert next_stage([svm, network], PACES, 100.0) == network
    assert next_stage([svm, network], PACES, 10.0) == svm  # the network would not fit
    assert next_stage([svm, network], PACES, math.inf) == svm


def test_looking_takes_time_also_of_what_is_trained() -> None:
    paces = {**PACES, "figure4 of fgw": Pace(0.0, startup=70.0)}
    stage = Stage("a", "FGW", 0, "fgw", 20, epochs_done=20, scoring="figure4 of fgw")
    assert seconds(stage, paces) == 5 + 70
    assert next_stage([stage], paces, 74.0) == stage
    assert as_text([stage], PACES).splitlines()[1].split()[0] == "0.1+"
    assert share_that_fits([replace(stage, epochs_done=0)], paces, 176 / (1 - RESERVE)) == 1
    half = share_that_fits([replace(stage, epochs_done=0)], paces, 125 / (1 - RESERVE))
    assert half == pytest.approx(0.5)


@given(left=st.floats(40, 2000))
def test_the_share_uses_the_time_and_does_not_exceed_it(left) -> None:
    stages = seed_of_table_1(0)
    share = share_that_fits(stages, PACES, left)
    # Starts of 10 and four times 5 seconds; 80 epochs of 3, 40 of 1 and 40 of 5 seconds.
    total = 30 + share * (240 + 40 + 200)
    assert sum(seconds(stage, PACES) for stage in stages) == 30 + 240 + 40 + 200
    assert 0 < share <= 1
    assert total <= left * (1 - RESERVE) + 1e-6
    assert share == 1 or total == pytest.approx(left * (1 - RESERVE))


def test_what_is_done_or_impossible_takes_no_share() -> None:
    stages = seed_of_table_1(0)
    less = [
        replace(stages[0], why_not="no weights"), replace(stages[1], done=True), *stages[2:],
    ]  # fmt: skip
    assert share_that_fits(less, PACES, 200.0) == pytest.approx((180 - 15) / 220)


def test_too_little_time_to_start_is_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"5 stages should fit into 0\.1 minutes, but starting"):
        share_that_fits(seed_of_table_1(0), PACES, 6.0)


def test_the_plan_says_what_is_there_what_is_missing_and_how_long(two_seeds) -> None:
    done, begun, missing, impossible, unknown = (
        replace(two_seeds[0], done=True),
        replace(two_seeds[1], epochs_done=60),
        two_seeds[2],
        replace(two_seeds[3], why_not="no weights"),
        replace(two_seeds[4], kind="fgw vgg16"),
    )
    looked_at = replace(two_seeds[5], scoring="figure3 of plain")
    stages = [done, begun, missing, impossible, unknown, looked_at]
    head, *lines, total = as_text(stages, PACES).splitlines()
    assert [line.split() for line in lines] == [
        ["0.0", "20", "Res18-0:", "done"],
        ["1.2", "80", "OCL-0:", "60", "epochs", "done"],
        ["0.4", "20", "OCL+Res18-0:", "missing"],
        ["0.0", "20", "FGW-0:", "not", "run,", "no", "weights"],
        ["?", "20", "LGDS-0:", "missing"],
        ["0.4+", "20", "Res18-1:", "missing"],
    ]
    assert head.split() == ["minutes", "epochs", "stage"]
    assert total.split()[:3] == ["2.0+", "in", "all,"]
