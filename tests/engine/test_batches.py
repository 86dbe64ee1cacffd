import torch
from hypothesis import given
from hypothesis import strategies as st

from occfer.engine.batches import epoch_batches, epoch_order, steps_per_epoch

counts = st.integers(1, 200)
sizes = st.integers(2, 50)
seeds = st.integers(0, 2**31)


@given(count=counts, size=sizes, seed=seeds, epoch=st.integers(0, 1000))
def test_an_epoch_visits_every_face_once(count, size, seed, epoch) -> None:
    batches = list(epoch_batches(count, size, seed, epoch))
    visited = torch.cat([index for _, index in batches])
    assert sorted(visited.tolist()) == list(range(count))
    assert [step for step, _ in batches] == list(range(steps_per_epoch(count, size)))


@given(count=st.integers(2, 200), size=sizes, seed=seeds)
def test_no_batch_holds_a_single_face(count, size, seed) -> None:
    lengths = [len(index) for _, index in epoch_batches(count, size, seed, 0)]
    assert all(length == size for length in lengths[:-1])
    assert 2 <= lengths[-1] <= size + 1


@given(count=counts, size=sizes, seed=seeds, epoch=st.integers(0, 50), first=st.integers(0, 20))
def test_a_later_start_meets_the_same_batches(count, size, seed, epoch, first) -> None:
    whole = list(epoch_batches(count, size, seed, epoch))
    rest = list(epoch_batches(count, size, seed, epoch, first))
    assert len(rest) == max(0, len(whole) - first)
    for (step, index), (same_step, same_index) in zip(whole[first:], rest, strict=True):
        assert step == same_step
        assert torch.equal(index, same_index)


@given(seed=seeds, epoch=st.integers(0, 1000))
def test_epochs_and_seeds_have_orders_of_their_own(seed, epoch) -> None:
    order = epoch_order(100, seed, epoch)
    assert torch.equal(order, epoch_order(100, seed, epoch))
    assert not torch.equal(order, epoch_order(100, seed, epoch + 1))
    assert not torch.equal(order, epoch_order(100, seed + 1, epoch))
