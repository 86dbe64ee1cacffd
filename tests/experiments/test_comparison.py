"""Two rows over seeds, against SciPy's own tests and against numbers worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from occfer.engine.conditions import Conditions
from occfer.engine.evaluate import Predictions, mcnemar
from occfer.engine.records import Record
from occfer.experiments.comparison import (
    as_markdown,
    by_seed,
    clustered_mcnemar,
    compare,
    holm,
    t_interval,
    t_test,
    told_apart_by_seed_alone,
)

POINTS = st.floats(-20, 20).map(lambda value: round(value, 3))


def recognised(correct: np.ndarray) -> Predictions:
    """Predictions that are right where told, and say another class elsewhere."""
    targets = np.arange(len(correct)) % 7
    said = np.where(correct, targets, (targets + 1) % 7)
    return Predictions(
        tuple(map(str, range(len(correct)))), targets, np.eye(7, dtype=np.float32)[said]
    )


def seeds(*shares: float, faces: int = 200, base: int = 0) -> dict[int, Predictions]:
    """One network a seed that recognises each face with the given probability."""
    return {
        seed: recognised(np.random.default_rng(base + seed).random(faces) < share)
        for seed, share in enumerate(shares)
    }


def test_three_differences_by_hand() -> None:
    """Mean 2 and standard error 1/√3; t is 4.303 for two degrees of freedom (any table)."""
    low, high = t_interval([1.0, 2.0, 3.0])
    assert low == pytest.approx(2 - 4.3027 / math.sqrt(3), abs=1e-4)
    assert high == pytest.approx(2 + 4.3027 / math.sqrt(3), abs=1e-4)


@given(values=st.lists(POINTS, min_size=2, max_size=8))
def test_student_agrees_with_scipy(values: list[float]) -> None:
    if max(values) - min(values) <= 1e-9:
        assert t_test(values) is None
        assert t_interval(values) is None
        return
    theirs = stats.ttest_rel(values, np.zeros(len(values)))
    assert t_test(values) == pytest.approx(theirs.pvalue, rel=1e-6, abs=1e-12)
    assert t_interval(values) == pytest.approx(tuple(theirs.confidence_interval(0.95)), abs=1e-6)


def test_seeds_that_agree_to_the_face_are_no_proof_for_other_seeds() -> None:
    """Ahead by 20 of 100 faces with either seed: no spread is seen, and none is made up."""
    faces = np.arange(100)
    found = compare(
        {0: recognised(faces < 70), 1: recognised(faces > 29)},
        {0: recognised(faces < 50), 1: recognised(faces > 49)},
    )
    assert list(found.differences.values()) == pytest.approx([20, 20])
    assert found.interval is None
    assert found.p_seeds is None
    assert found.verdict == "ahead with these networks"
    assert "2 seeds (which give the same difference, so that" in found.sentence("a", "b")


def test_one_seed_has_no_spread() -> None:
    assert t_interval([1.0]) is None
    assert t_test([1.0]) is None


def test_one_seed_is_mcnemars_exact_test() -> None:
    first, second = seeds(0.8), seeds(0.6, base=50)
    only_first, only_second, p = mcnemar(first[0], second[0])
    found = compare(first, second)
    assert found.p_faces == p == found.p_by_seed[0]
    assert (found.only_first[0], found.only_second[0]) == (only_first, only_second)
    assert found.mean == pytest.approx((only_first - only_second) / 2)


def test_of_one_seed_the_clustered_test_is_mcnemars_chi_square() -> None:
    votes = np.array([1] * 60 + [-1] * 35 + [0] * 105)
    chi_square = (60 - 35 - 1) ** 2 / (60 + 35)  # with Edwards's correction
    assert clustered_mcnemar(votes) == pytest.approx(stats.chi2.sf(chi_square, df=1))
    exact = stats.binomtest(60, 60 + 35).pvalue
    assert clustered_mcnemar(votes) == pytest.approx(exact, rel=0.05)
    assert clustered_mcnemar(np.zeros(9, int)) == clustered_mcnemar(np.array([1, -1])) == 1


def test_the_clustered_test_agrees_with_turning_whole_faces_around() -> None:
    """If both rows were equally good, each face's votes might as well have the other sign."""
    rng = np.random.default_rng(3)
    for shift in (0.0, 0.15, 0.3):
        votes = rng.integers(-3, 4, 150) + (rng.random(150) < shift)
        turned = stats.permutation_test(
            (votes,),
            lambda sample, axis: sample.sum(axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=20_000,
            rng=np.random.default_rng(0),
        )
        assert clustered_mcnemar(votes) == pytest.approx(turned.pvalue, abs=0.02)


def test_five_copies_of_one_seed_are_no_more_evidence_than_one() -> None:
    """Pooled counts would be five times as sure; the same faces are the same evidence."""
    first, second = recognised(np.arange(200) < 130), recognised(np.arange(200) >= 85)
    votes = first.correct.astype(int) - second.correct.astype(int)
    assert clustered_mcnemar(5 * votes) == pytest.approx(clustered_mcnemar(votes))
    both = compare(dict.fromkeys(range(5), first), dict.fromkeys(range(5), second))
    assert both.p_faces == pytest.approx(clustered_mcnemar(votes))


def test_only_shared_seeds_are_compared_and_the_order_turns_the_sign() -> None:
    first, second = seeds(0.8, 0.7, 0.75), seeds(0.6, 0.65, base=50)
    found, turned = compare(first, second), compare(second, first)
    assert list(found.differences) == [0, 1]
    for seed in (0, 1):
        expected = 100 * (first[seed].accuracy - second[seed].accuracy)
        assert found.differences[seed] == pytest.approx(expected)
    assert turned.mean == pytest.approx(-found.mean)
    assert turned.interval == pytest.approx(tuple(-end for end in reversed(found.interval)))
    assert (turned.p_faces, turned.p_seeds) == pytest.approx((found.p_faces, found.p_seeds))
    assert compare({0: first[0]}, {1: second[1]}) is None


def test_a_verdict_asks_seeds_and_faces() -> None:
    """Sure of the faces but with seeds that disagree, and the other way round."""
    far = compare(seeds(0.9, 0.91, 0.92, faces=500), seeds(0.6, 0.61, 0.62, faces=500, base=9))
    assert far.beyond_chance
    doubt = "more than chance would give, as far as the spread of so few seeds is known."
    assert far.sentence("A", "B").endswith(doubt)
    assert far.verdict == "ahead"
    many = compare(seeds(*[0.9] * 5, faces=500), seeds(*[0.6] * 5, faces=500, base=9))
    assert many.sentence("A", "B").endswith("more than chance would give.")
    low, high = far.interval
    assert f"over seeds {low:+.2f} to {high:+.2f}, paired" in far.sentence("A", "B")
    # Where one seed is all there is, only the faces can be asked.
    one = compare({4: recognised(np.arange(50) < 30)}, {4: recognised(np.arange(50) >= 45)})
    assert one.verdict == "ahead with these networks"
    assert one.beyond_chance
    said = one.sentence("A", "B")
    assert "30 faces are recognised by the first alone and 5 by the second alone" in said
    assert said.endswith("more than other faces would give; of other seeds it cannot be asked.")
    near = compare({1: recognised(np.arange(9) < 5)}, {1: recognised(np.arange(9) < 4)})
    assert near.verdict == "not told apart"
    torn = compare(seeds(0.95, 0.5, 0.9, faces=500), seeds(0.5, 0.6, 0.7, faces=500, base=9))
    assert torn.verdict == "ahead with these networks"
    assert torn.p_faces < 0.05 < torn.p_seeds
    assert not torn.beyond_chance
    assert torn.sentence("A", "B").endswith("but other seeds might reverse it.")
    assert near.sentence("A", "B").endswith("which other faces alone could give.")
    assert "A scores +" in torn.sentence("A", "B")
    assert "over 3 seeds" in torn.sentence("A", "B")


def test_the_interval_over_faces_is_that_of_a_mean_of_votes() -> None:
    """Of 400 faces the first alone knows 90 and the second alone 50: the mean vote is 0.1, its
    variance 0.35 − 0.1², and the interval of so many faces nearly the normal one."""
    first, second = np.zeros(400, dtype=bool), np.zeros(400, dtype=bool)
    first[:90] = second[90:140] = True
    found = compare({0: recognised(first)}, {0: recognised(second)})
    reach = 100 * stats.norm.ppf(0.975) * math.sqrt((0.35 - 0.01) / 400)
    assert found.interval_faces == pytest.approx((10 - reach, 10 + reach), abs=0.4)
    copied = compare(
        dict.fromkeys(range(5), recognised(first)), dict.fromkeys(range(5), recognised(second))
    )
    assert copied.interval_faces == pytest.approx(found.interval_faces)


def test_every_comparison_is_one_line_with_sign_size_interval_and_seeds() -> None:
    high, low = seeds(0.9, 0.91, 0.92, faces=500), seeds(0.6, 0.61, 0.62, faces=500, base=9)
    rows = {"high": high, "low": low, "one": {1: low[1]}, "like": high, "lone": {7: low[1]}}
    pairs = {
        "up": ("high", "low"),
        "down": ("one", "high"),
        "same": ("high", "like"),
        "no seed": ("lone", "low"),
        "no row": ("high", "none"),
    }
    up, down, same, *not_run = as_markdown(pairs, rows).splitlines()[2:]
    found = compare(high, low)
    low_end, high_end = found.interval
    assert up.startswith(f"| up | high against low | 3 | +{found.mean:.2f} | {low_end:+.2f} to ")
    assert f"to {high_end:+.2f} |" in up
    assert up.endswith("| ahead |")
    turned = compare(rows["one"], high)
    start, end = turned.interval_faces
    assert turned.mean < 0
    assert down == (
        f"| down | one against high | 1 | {turned.mean:.2f} | – | {start:+.2f} to {end:+.2f} "
        "| behind with these networks |"
    )
    assert same == "| same | high against like | 3 | +0.00 | – | +0.00 to +0.00 | not told apart |"
    assert [line.endswith("| | | | not run |") for line in not_run] == [True, True]


def test_different_faces_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="same faces in the same order"):
        compare(seeds(0.8, faces=20), seeds(0.8, faces=21))
    (one,) = seeds(0.8, faces=20).values()
    turned = Predictions(one.ids, one.targets[::-1], one.probabilities)
    with pytest.raises(ValueError, match="with the same labels, got 20 and 20 faces that differ"):
        mcnemar(one, turned)


def test_predictions_are_taken_by_seed_and_condition() -> None:
    whole, covered = recognised(np.arange(20) < 15), recognised(np.arange(20) < 9)
    one = Record({"seed": 4, "name": "one"}, whole)
    several = Record({"seed": 2, "name": "several"}, Conditions({"0": whole, "30": covered}))
    assert by_seed([one]) == {4: whole}
    assert by_seed([several], "30")[2].accuracy == covered.accuracy
    with pytest.raises(ValueError, match="several asks for one condition, got condition=None"):
        by_seed([several])
    with pytest.raises(ValueError, match="one asks for no condition, got condition='30'"):
        by_seed([one], "30")


def test_seeds_of_one_row_are_told_apart_pair_by_pair() -> None:
    """Of three networks the last alone is far from both others; one seed makes no pair."""
    faces = np.arange(100)
    row = {seed: recognised(faces < n) for seed, n in enumerate((70, 71, 90))}
    assert told_apart_by_seed_alone([row]) == (2, 3)
    assert told_apart_by_seed_alone([row, {0: row[0]}, {0: row[0], 5: row[0]}]) == (2, 4)
    assert told_apart_by_seed_alone([]) == (0, 0)


def test_many_questions_are_corrected_for_their_number() -> None:
    sure = compare(seeds(0.9, 0.91, 0.92, faces=500), seeds(0.6, 0.61, 0.62, faces=500, base=9))
    torn = compare(seeds(0.95, 0.5, 0.9, faces=500), seeds(0.5, 0.6, 0.7, faces=500, base=9))
    lone = compare(seeds(0.9), seeds(0.6, base=9))
    assert sure.p_seeds < torn.p_seeds
    assert holm([torn, sure, None, lone]) == (pytest.approx(2 * sure.p_seeds), 2)
    assert holm([torn] * 90) == (1.0, 90)
    assert holm([lone, None]) == (1.0, 0)
