import itertools

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from torch import nn

from occfer.ocl import Projector
from occfer.randomness import coin, fresh_generator, generator_for, seeded_modules, uniform


def draw(*place: int) -> torch.Tensor:
    return torch.rand(64, generator=generator_for(*place), dtype=torch.float64)


def test_a_wrong_shape_is_rejected_at_run_time() -> None:
    projector = Projector(channels=4, hidden=8, dimensions=2)
    assert projector(torch.zeros(3, 4)).shape == (3, 2)
    with pytest.raises(TypeCheckError):
        projector(torch.zeros(3, 4, 1))


@given(place=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4))
def test_a_place_always_draws_the_same(place: list[int]) -> None:
    assert torch.equal(draw(*place), draw(*place))


@given(
    places=st.sets(st.tuples(*[st.integers(0, 1000)] * 3), min_size=2, max_size=6),
)
@example(places=set(itertools.permutations((0, 1, 2))))
@example(places={(0, 0, 3), (0, 3, 0), (3, 0, 0), (1, 1, 1)})
def test_two_places_share_no_number(places: set[tuple[int, ...]]) -> None:
    numbers = [number for place in places for number in draw(*place).tolist()]
    assert len(set(numbers)) == len(numbers)


@given(place=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4), more=st.integers(0, 9))
def test_a_place_is_filled_up_with_zeros_to_four_numbers(place: list[int], more: int) -> None:
    zeros = [0] * (4 - len(place))
    assert torch.equal(draw(*place), draw(*place, *zeros))
    four = [*place, *zeros]
    assert not torch.equal(draw(*four), draw(*four, more))


def test_neighbouring_places_are_uncorrelated() -> None:
    rows = torch.stack([draw(0, 1, step) for step in range(40)])
    off_diagonal = torch.corrcoef(rows)[~torch.eye(40, dtype=torch.bool)]
    # A correlation of 64 independent pairs has standard deviation 1/8.
    assert off_diagonal.abs().max() < 0.6
    assert off_diagonal.mean().abs() < 0.02


def test_fresh_generators_differ() -> None:
    assert fresh_generator().initial_seed() != fresh_generator().initial_seed()


@given(
    low=st.floats(-5, 5),
    spread=st.floats(0, 10),
    seed=st.integers(0, 2**31),
    count=st.integers(0, 50),
)
def test_uniform_stays_within_its_bounds(low: float, spread: float, seed: int, count: int) -> None:
    sample = uniform(low, low + spread, count, 2, generator=generator_for(seed))
    assert sample.shape == (count, 2)
    assert ((sample >= low - 1e-5) & (sample <= low + spread + 1e-5)).all()


def test_uniform_has_the_mean_and_spread_of_the_uniform_distribution() -> None:
    sample = uniform(-1, 3, 100_000, generator=generator_for(0))
    assert sample.mean() == pytest.approx(1, abs=0.02)
    assert sample.var() == pytest.approx(4**2 / 12, rel=0.02)


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.5, 1.0])
def test_coins_fall_as_often_as_asked(probability: float) -> None:
    share = coin(probability, 100_000, generator=generator_for(0)).double().mean()
    assert share == pytest.approx(probability, abs=0.005 if 0 < probability < 1 else 0)


@pytest.mark.usefixtures("global_chance")
def test_modules_are_initialised_from_the_seed_alone() -> None:
    with seeded_modules(3):
        first = nn.Linear(8, 8).weight
    with seeded_modules(3):
        again = nn.Linear(8, 8).weight
    with seeded_modules(4):
        other = nn.Linear(8, 8).weight
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.usefixtures("global_chance")
def test_the_global_random_state_is_put_back_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), seeded_modules(3):
        _ = 1 / 0


@pytest.mark.parametrize("place", [(2**32,), (0, -1), (1, 2, 2**40)])
def test_places_that_could_fall_together_are_refused(place) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 2³²\), got .* choose a smaller seed"):
        generator_for(*place)


def test_new_modules_leave_the_gpu_s_chance_alone(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("was seeded"))
    with seeded_modules(3):
        first = nn.Linear(4, 4).weight
    with seeded_modules(3):
        assert torch.equal(first, nn.Linear(4, 4).weight)
