"""Two groups of different faces, against a paradox, formulas by hand and a slow second version."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from occfer.emotions import EMOTIONS
from occfer.engine.measurements import times_drawn
from occfer.experiments.standardisation import Sides, differences, fall


def group(faces: int, recognised: int, label: int, occluded: bool, clear: bool = True) -> tuple:
    """So many faces of one class, of which the first few are recognised."""
    values = np.arange(faces) < recognised
    return (
        np.full(faces, label),
        np.full(faces, occluded),
        np.full(faces, clear),
        values.astype(float),
    )


def joined(*groups: tuple) -> tuple[Sides, np.ndarray]:
    labels, occluded, clear, values = map(np.concatenate, zip(*groups, strict=True))
    return Sides(labels, occluded, clear), values


def points(sides: Sides, values: np.ndarray) -> tuple[float, float]:
    found = fall(values, sides, times_drawn(len(values), 50))
    return found["others"]["points"], found["matched"]["points"]


def test_a_mix_of_harder_classes_is_no_fall() -> None:
    """Simpson's paradox: nine in ten and three in ten are recognised, occluded or not."""
    sides, values = joined(
        group(10, 9, 3, occluded=True),
        group(90, 27, 2, occluded=True),
        group(90, 81, 3, occluded=False),
        group(10, 3, 2, occluded=False),
    )
    others, matched = points(sides, values)
    assert others == pytest.approx(84 - 36)
    assert matched == pytest.approx(0, abs=1e-9)


def test_two_classes_by_hand() -> None:
    """A fall of 20 and one of 50 points, for 3 of 4 and 1 of 4 occluded faces."""
    sides, values = joined(
        group(30, 15, 0, occluded=True),
        group(10, 3, 6, occluded=True),
        group(20, 14, 0, occluded=False),
        group(20, 16, 6, occluded=False),
    )
    others, matched = points(sides, values)
    assert others == pytest.approx(75 - 45)
    assert matched == pytest.approx(0.75 * 20 + 0.25 * 50)


def test_an_unlabelled_face_counts_nowhere_and_an_unclear_one_is_not_matched() -> None:
    sides, values = joined(
        group(10, 5, 0, occluded=True),
        group(10, 8, 0, occluded=False),
        group(10, 2, 0, occluded=False, clear=False),
        group(7, 7, -1, occluded=True),
        group(9, 0, -1, occluded=False),
    )
    assert points(sides, values) == pytest.approx((50 - 50, 80 - 50))
    assert {part: of["anger"] for part, of in sides.counts().items()} == {
        "occluded": 10, "others": 20, "matched": 10,
    }  # fmt: skip
    assert sum(sum(of.values()) for of in sides.counts().values()) == 40


def slowly(values: np.ndarray, sides: Sides, drawn: list[int]) -> tuple[float, float]:
    """The same of one draw, face by face."""
    of = {"occluded": [], "others": [], "matched": []}
    for face in drawn:
        label = int(sides.labels[face])
        if label < 0:
            continue
        if sides.occluded[face]:
            of["occluded"].append((label, values[face]))
        else:
            of["others"].append((label, values[face]))
            if sides.clear[face]:
                of["matched"].append((label, values[face]))

    def mean(part: str, *labels: int) -> float:
        return float(np.mean([value for label, value in of[part] if label in labels]))

    everything = range(len(EMOTIONS))
    here = [label for label, _ in of["occluded"]]
    lost = [mean("matched", c) - mean("occluded", c) for c in here]
    return mean("others", *everything) - mean("occluded", *everything), float(np.mean(lost))


@given(seed=st.integers(0, 10**6))
def test_every_draw_agrees_with_counting_face_by_face(seed: int) -> None:
    rng = np.random.default_rng(seed)
    faces = 120
    sides = Sides(rng.integers(-1, 3, faces), rng.random(faces) < 0.3, rng.random(faces) < 0.8)
    values = rng.normal(size=faces)
    times = times_drawn(faces, 6, seed)
    found = differences(values, sides, times)
    for draw, times_here in enumerate(times):
        expected = slowly(values, sides, np.repeat(np.arange(faces), times_here.astype(int)))
        assert found[:, draw] == pytest.approx(expected)


def test_the_interval_is_as_wide_as_two_binomials_say() -> None:
    sides, values = joined(group(600, 360, 4, occluded=True), group(3000, 2100, 4, occluded=False))
    found = fall(values, sides, times_drawn(len(values)))
    reach = 196 * math.sqrt(0.6 * 0.4 / 600 + 0.7 * 0.3 / 3000)
    for against in ("others", "matched"):
        low, high = found[against]["interval_95"]
        assert found[against]["points"] == pytest.approx(10)
        assert (low, high) == pytest.approx((10 - reach, 10 + reach), abs=0.1 * reach)


def test_the_fall_of_a_difference_is_the_difference_of_falls() -> None:
    rng = np.random.default_rng(1)
    sides = Sides(rng.integers(0, 7, 400), rng.random(400) < 0.4, rng.random(400) < 0.9)
    one, other = (rng.random((2, 400)) < 0.6).astype(float)
    apart = np.subtract(points(sides, one), points(sides, other))
    assert points(sides, one - other) == pytest.approx(tuple(apart))


def test_a_class_that_has_no_match_in_a_draw_is_not_counted_as_missed() -> None:
    sides, values = joined(
        group(4, 2, 0, occluded=True), group(1, 1, 1, occluded=True),
        group(4, 4, 0, occluded=False), group(1, 1, 1, occluded=False),
    )  # fmt: skip
    times = np.ones((2, len(values)))
    times[1, -1] = 0
    found = differences(values, sides, times)
    assert found[1, 0] == pytest.approx(1 - 3 / 5)
    assert np.isnan(found[1, 1])
    assert found[0, 1] == pytest.approx(1 - 3 / 5)


def test_a_class_that_has_no_match_at_all_is_named() -> None:
    sides, values = joined(
        group(4, 2, 0, occluded=True), group(3, 1, 1, occluded=True),
        group(4, 4, 0, occluded=False), group(2, 1, 1, occluded=False, clear=False),
    )  # fmt: skip
    with pytest.raises(ValueError, match="to be matched with, but disgust has none"):
        points(sides, values)
