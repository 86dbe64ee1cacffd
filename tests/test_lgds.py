import itertools
import math
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import Tensor, nn

from occfer.lgds import (
    HEADS,
    LocalGlobalLoss,
    SlicedHead,
    classification_head,
    restrain_loss,
    true_class_probability,
)
from occfer.randomness import seeded_modules
from occfer.regions import five_regions

batches = st.integers(1, 6)
regions = st.integers(1, 6)
classes = st.integers(2, 8)
seeds = st.integers(0, 2**31)


class Output(NamedTuple):
    logits: Tensor
    region_logits: Tensor


def scores(batch: int, regions: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    options = dict(generator=generator, dtype=torch.float64)
    logits = 2 * torch.randn(batch, classes, **options)
    region_logits = 2 * torch.randn(batch, regions, classes, **options)
    return logits, region_logits, torch.randint(classes, (batch,), generator=generator)


def softmax(logits: list[float]) -> list[float]:
    total = sum(map(math.exp, logits))
    return [math.exp(x) / total for x in logits]


def equation_8(logits: Tensor, region_logits: Tensor, targets: Tensor) -> float:
    total = 0.0
    for fused, regions, true in zip(
        logits.tolist(), region_logits.tolist(), targets.tolist(), strict=True
    ):
        for region in regions:
            total += max(0.0, softmax(region)[true] - softmax(fused)[true])
    return total / len(targets)


def equation_9(logits: Tensor, targets: Tensor) -> float:
    rows = zip(logits.tolist(), targets.tolist(), strict=True)
    return sum(-math.log(softmax(row)[true]) for row, true in rows) / len(targets)


# (7) and (8)


@given(batch=batches, regions=regions, classes=classes, seed=seeds)
def test_the_probability_of_equation_7(batch, regions, classes, seed) -> None:
    logits, region_logits, targets = scores(batch, regions, classes, seed)
    fused = true_class_probability(logits, targets)
    region = true_class_probability(region_logits, targets)
    for i, true in enumerate(targets.tolist()):
        assert fused[i].item() == pytest.approx(softmax(logits[i].tolist())[true])
        for k in range(regions):
            expected = softmax(region_logits[i, k].tolist())[true]
            assert region[i, k].item() == pytest.approx(expected)


@given(batch=batches, regions=regions, classes=classes, seed=seeds, detach=st.booleans())
def test_restrain_loss_is_equation_8_read_aloud(batch, regions, classes, seed, detach) -> None:
    given_scores = scores(batch, regions, classes, seed)
    found = restrain_loss(*given_scores, detach_regions=detach)
    assert found.item() == pytest.approx(equation_8(*given_scores), abs=1e-12)
    assert 0 <= found.item() <= regions


@given(batch=batches, regions=regions, classes=classes, seed=seeds)
def test_nothing_is_restrained_where_the_fused_score_wins(batch, regions, classes, seed) -> None:
    logits, region_logits, targets = scores(batch, regions, classes, seed)
    logits = logits.scatter_add(1, targets[:, None], torch.full_like(logits[:, :1], 50.0))
    logits.requires_grad_()
    region_logits.requires_grad_()
    loss = restrain_loss(logits, region_logits, targets)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()
    assert not region_logits.grad.any()


@given(regions=regions, classes=classes, seed=seeds)
def test_its_gradient_raises_the_fused_score_and_lowers_the_regions(regions, classes, seed) -> None:
    logits, region_logits, targets = scores(4, regions, classes, seed)
    logits.requires_grad_()
    region_logits.requires_grad_()
    restrain_loss(logits, region_logits, targets).backward()
    fused = true_class_probability(logits, targets)
    region = true_class_probability(region_logits, targets)
    acts = region > fused[:, None]
    step = 1e-4
    fused_after = true_class_probability(logits - step * logits.grad, targets)
    region_after = true_class_probability(region_logits - step * region_logits.grad, targets)
    assert (fused_after > fused)[acts.any(dim=1)].all()
    assert (region_after < region)[acts].all()
    # Where it does not act, nothing moves.
    assert torch.equal(region_after[~acts], region[~acts])
    assert torch.equal(fused_after[~acts.any(dim=1)], fused[~acts.any(dim=1)])


def test_detached_regions_are_not_lowered() -> None:
    logits, region_logits, targets = scores(8, 5, 7)
    logits.requires_grad_()
    region_logits.requires_grad_()
    both = restrain_loss(logits, region_logits, targets)
    (flowing,) = torch.autograd.grad(both, logits)
    detached = restrain_loss(logits, region_logits, targets, detach_regions=True)
    detached.backward()
    assert region_logits.grad is None
    assert torch.equal(logits.grad, flowing)
    assert flowing.abs().max() > 0


@pytest.mark.parametrize("detach", [False, True])
def test_gradient_is_that_of_the_value(detach) -> None:
    logits, region_logits, targets = scores(5, 4, 3)
    logits.requires_grad_()
    region_logits.requires_grad_(not detach)
    assert torch.autograd.gradcheck(
        lambda a, b: restrain_loss(a, b, targets, detach), (logits, region_logits)
    )


@given(seed=seeds)
def test_the_order_of_regions_and_faces_does_not_matter(seed) -> None:
    logits, region_logits, targets = scores(5, 4, 7, seed)
    generator = torch.Generator().manual_seed(seed)
    faces, places = torch.randperm(5, generator=generator), torch.randperm(4, generator=generator)
    shuffled = restrain_loss(logits[faces], region_logits[faces][:, places], targets[faces])
    expected = restrain_loss(logits, region_logits, targets).item()
    assert shuffled.item() == pytest.approx(expected, abs=1e-12)


# (9) and (10)


@given(
    batch=batches, regions=regions, classes=classes, seed=seeds, weight=st.sampled_from([0, 0.5, 2])
)
def test_the_loss_is_equation_10(batch, regions, classes, seed, weight) -> None:
    logits, region_logits, targets = scores(batch, regions, classes, seed)
    expected = equation_9(logits, targets) + weight * equation_8(logits, region_logits, targets)
    found = LocalGlobalLoss(weight)(Output(logits, region_logits), targets)
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(expected, rel=1e-9)


@given(batch=batches, regions=regions, classes=classes, seed=seeds)
def test_the_regions_own_cross_entropy_is_their_mean(batch, regions, classes, seed) -> None:
    logits, region_logits, targets = scores(batch, regions, classes, seed)
    output = Output(logits, region_logits)
    extra = LocalGlobalLoss(region_ce=True)(output, targets) - LocalGlobalLoss()(output, targets)
    each = [equation_9(region_logits[:, k], targets) for k in range(regions)]
    assert extra.item() == pytest.approx(sum(each) / regions, abs=1e-9)


def test_the_paper_s_weight_is_one_half() -> None:
    assert LocalGlobalLoss().weight == 0.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised(dtype) -> None:
    logits, region_logits, targets = scores(16, 5, 7)
    low = Output(logits.to(dtype), region_logits.to(dtype))
    raised = Output(low.logits.double(), low.region_logits.double())
    with torch.autocast("cpu", torch.bfloat16):
        loss = LocalGlobalLoss()(low, targets)
    assert loss.dtype == torch.float32
    expected = LocalGlobalLoss()(raised, targets).item()
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_restraint_is_not_computed_in_half_precision(dtype) -> None:
    logits, region_logits, targets = scores(16, 5, 7)
    low = logits.to(dtype), region_logits.to(dtype)
    found = restrain_loss(*low, targets)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(equation_8(*low, targets), rel=1e-5)


@pytest.mark.parametrize("weight", [-0.1, math.nan])
def test_the_weight_may_not_be_negative(weight) -> None:
    with pytest.raises(ValueError, match=r"weight is λ of \(10\) and must be at least 0, got"):
        LocalGlobalLoss(weight)


# Heads


def features(batch: int, regions: int, channels: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, regions, channels, generator=generator)


@given(batch=batches, regions=regions, channels=st.integers(1, 20), seed=seeds)
@pytest.mark.parametrize("fusion", ["concat", "mean"])
def test_the_fused_logits_of_one_classifier_are_the_mean_of_its_regions(
    fusion, batch, regions, channels, seed
) -> None:
    with seeded_modules(seed):
        head = classification_head("sliced", fusion, channels, regions, 7).double()
    fused, region = head(features(batch, regions, channels, seed).double())
    assert fused.shape == (batch, 7)
    assert region.shape == (batch, regions, 7)
    torch.testing.assert_close(fused, region.mean(dim=1))


@given(batch=batches, regions=regions, channels=st.integers(1, 20), seed=seeds)
def test_the_fused_logits_are_one_linear_layer_on_the_concatenation(
    batch, regions, channels, seed
) -> None:
    """W r_g + b with r_g the K regions one after the other, as the paper prints it."""
    with seeded_modules(seed):
        head = SlicedHead(channels, regions, 7)
    regional = features(batch, regions, channels, seed)
    expected = F.linear(regional.flatten(1), head.fc.weight, head.fc.bias)
    torch.testing.assert_close(head(regional)[0], expected)


@given(batch=batches, seed=seeds)
@pytest.mark.parametrize("fusion", ["concat", "mean"])
def test_a_region_scores_what_all_would_score_if_they_voted_like_it(fusion, batch, seed) -> None:
    """z_k is the fused score of a face whose every slice votes as slice k does."""
    with seeded_modules(seed):
        head = classification_head("sliced", fusion, 6, 5, 7)
    regional = features(batch, 5, 6, seed)
    _, region_logits = head(regional)
    for k in range(5):
        alone = torch.zeros_like(regional)
        alone[:, k] = regional[:, k]
        empty = torch.zeros_like(regional)
        one_vote = head(alone)[0] - head(empty)[0]
        torch.testing.assert_close(region_logits[:, k], head(empty)[0] + 5 * one_vote)


@given(batch=batches, seed=seeds)
@pytest.mark.parametrize("head", HEADS)
def test_where_slices_are_equal_a_region_scores_as_if_it_stood_everywhere(
    head, batch, seed
) -> None:
    """Region k in every place: for `mean` fusion, and for equal slices, that is its own score."""
    with seeded_modules(seed):
        layer = classification_head(head, "mean", 6, 5, 7)
        sliced = SlicedHead(6, 5, 7)
    with torch.no_grad():
        sliced.fc.weight.copy_(sliced.fc.weight[:, :6].repeat(1, 5))
    regional = features(batch, 5, 6, seed)
    for k in range(5):
        everywhere = regional[:, k : k + 1].expand(-1, 5, -1)
        torch.testing.assert_close(sliced(everywhere)[0], sliced(regional)[1][:, k])
        if head == "sliced":
            torch.testing.assert_close(layer(everywhere)[0], layer(regional)[1][:, k])


@pytest.mark.parametrize("fusion", ["concat", "mean"])
@pytest.mark.parametrize("head", ["separate", "separate+ce"])
def test_separate_heads_share_nothing(head, fusion) -> None:
    layer = classification_head(head, fusion, 6, 5, 7)
    regional = features(3, 5, 6)
    fused, region = layer(regional)
    joined = regional.flatten(1) if fusion == "concat" else regional.mean(dim=1)
    torch.testing.assert_close(fused, layer.fused(joined))
    for k in range(5):
        torch.testing.assert_close(region[:, k], layer.region(regional[:, k]))
    with torch.no_grad():
        layer.region.weight.zero_()
    torch.testing.assert_close(layer(regional)[0], fused)


@pytest.mark.parametrize(
    ("head", "fusion", "count"),
    [
        ("sliced", "concat", 5 * 6 * 7 + 7),
        ("sliced", "mean", 6 * 7 + 7),
        ("separate", "concat", 5 * 6 * 7 + 7 + 6 * 7 + 7),
        ("separate", "mean", 2 * (6 * 7 + 7)),
        ("separate+ce", "concat", 5 * 6 * 7 + 7 + 6 * 7 + 7),
    ],
)
def test_heads_have_as_many_weights_as_they_should(head, fusion, count) -> None:
    layer = classification_head(head, fusion, channels=6, regions=5, num_classes=7)
    assert sum(p.numel() for p in layer.parameters()) == count


@pytest.mark.parametrize(("head", "fusion"), [("dense", "concat"), ("sliced", "sum")])
def test_an_unknown_head_or_fusion_is_refused(head, fusion, unchecked) -> None:
    with pytest.raises(ValueError, match=f"head must be one of .*, got '{head}' and '{fusion}'"):
        unchecked(classification_head)(head, fusion, 6, 5, 7)


# The trap in (8)


class Watched(NamedTuple):
    acts: float
    """Share of (face, region) pairs on which the hinge of (8) acts."""
    region_accuracy: float
    accuracy: float


def train_on_digits(head: str, epochs: int = 8) -> list[Watched]:
    """A digit has regions as a face has: five crops, one small shared network, one head."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).div(16)[:, None]
    targets = torch.tensor(digits.target)
    crops = five_regions(images, 6).flatten(2)
    with seeded_modules(0):
        backbone = nn.Sequential(nn.Linear(36, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        layer = classification_head(head, "concat", 32, 5, 10)
    loss_function = LocalGlobalLoss(0.5, region_ce=head == "separate+ce")
    weights = itertools.chain(backbone.parameters(), layer.parameters())
    optimizer = torch.optim.Adam(weights, lr=5e-3)
    generator = torch.Generator().manual_seed(0)
    watched = []

    @torch.no_grad()
    def watch() -> None:
        fused, region = layer(backbone(crops))
        sure = true_class_probability(fused, targets)[:, None]
        acts = (true_class_probability(region, targets) > sure).float().mean().item()
        found = (region.argmax(2) == targets[:, None]).float().mean().item()
        watched.append(Watched(acts, found, (fused.argmax(1) == targets).float().mean().item()))

    watch()
    for _ in range(epochs):
        for index in torch.randperm(len(images), generator=generator).split(64):
            output = Output(*layer(backbone(crops[index])))
            loss = loss_function(output, targets[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    watch()
    return watched


def test_the_trap_of_the_separate_head() -> None:
    """Trained by (8) alone, a region classifier gives up being right and the hinge dies. Where one
    classifier serves regions and fusion the hinge lives on, and a region classifier with a loss
    of its own learns."""
    runs = {head: train_on_digits(head) for head in HEADS}
    chance = 1 / 10
    separate, sliced, with_ce = (runs[h][-1] for h in ("separate", "sliced", "separate+ce"))

    assert separate.acts < 0.01
    assert separate.region_accuracy < 0.6 * chance
    assert separate.region_accuracy < 0.6 * runs["separate"][0].region_accuracy

    assert sliced.acts > 0.05
    assert sliced.region_accuracy > 3 * chance
    assert with_ce.region_accuracy > 5 * chance
    # Nobody notices from outside: every fused classifier is as good as the others.
    assert min(run[-1].accuracy for run in runs.values()) > 0.95
