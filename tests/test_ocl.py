import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from lightly.loss import NTXentLoss
from pytorch_metric_learning.losses import NTXentLoss as MetricNTXentLoss
from torch import Tensor

from occfer.ocl import OCL, Encoder, Projector, nt_xent


def views(batch: int, dimensions: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    both = torch.randn(2, batch, dimensions, generator=generator, dtype=torch.float64)
    return both[0], both[1]


def equation_1(z1: Tensor, z2: Tensor, temperature: float) -> float:
    """(1) with its −log, read aloud: for every view i with partner j, over all k ≠ i."""
    z = [row.tolist() for row in torch.cat([z1, z2]).double()]
    batch = len(z1)

    def similarity(a: list[float], b: list[float]) -> float:
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / (math.hypot(*a) * math.hypot(*b))

    total = 0.0
    for i in range(2 * batch):
        j = i + batch if i < batch else i - batch
        scores = {
            k: math.exp(similarity(z[i], z[k]) / temperature) for k in range(2 * batch) if k != i
        }
        total -= math.log(scores[j] / sum(scores.values()))
    return total / (2 * batch)


batches = st.integers(1, 9)
dimensions = st.integers(1, 12)
temperatures = st.floats(0.05, 2.0)
seeds = st.integers(0, 2**31)


@given(batch=batches, dimensions=dimensions, temperature=temperatures, seed=seeds)
def test_is_equation_1_read_aloud(batch, dimensions, temperature, seed) -> None:
    z1, z2 = views(batch, dimensions, seed)
    ours = nt_xent(z1, z2, temperature)
    assert ours.dtype == torch.float64
    assert ours.item() == pytest.approx(equation_1(z1, z2, temperature), rel=1e-9, abs=1e-9)


@given(batch=st.integers(2, 40), dimensions=dimensions, temperature=temperatures, seed=seeds)
def test_agrees_with_lightly(batch, dimensions, temperature, seed) -> None:
    z1, z2 = views(batch, dimensions, seed)
    theirs = NTXentLoss(temperature=temperature)(z1, z2).item()
    assert nt_xent(z1, z2, temperature).item() == pytest.approx(theirs, abs=1e-6)
    assert nt_xent(z1.float(), z2.float(), temperature).item() == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize("temperature", [0.1, 0.2, 0.5])
def test_agrees_with_pytorch_metric_learning(temperature: float) -> None:
    z1, z2 = views(16, 8)
    faces = torch.arange(16).repeat(2)
    theirs = MetricNTXentLoss(temperature=temperature)(torch.cat([z1, z2]), faces)
    assert nt_xent(z1, z2, temperature).item() == pytest.approx(theirs.item(), abs=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 3, 17, 256])
def test_is_log_of_the_number_of_candidates_where_all_views_are_equal(batch: int) -> None:
    same = torch.tensor([0.3, -1.2, 0.7], dtype=torch.float64).repeat(batch, 1)
    assert nt_xent(same, same).item() == pytest.approx(math.log(2 * batch - 1), abs=1e-9)


def test_views_at_right_angles_have_a_closed_form() -> None:
    """Partners coincide (similarity 1), the 2N − 2 others stand at right angles (0)."""
    batch, temperature = 6, 0.2
    axes = torch.eye(batch, dtype=torch.float64)
    expected = math.log(1 + (2 * batch - 2) * math.exp(-1 / temperature))
    assert nt_xent(axes, axes, temperature).item() == pytest.approx(expected, abs=1e-12)


@given(batch=batches, dimensions=dimensions, seed=seeds)
def test_neither_the_order_of_views_nor_of_faces_matters(batch, dimensions, seed) -> None:
    z1, z2 = views(batch, dimensions, seed)
    order = torch.randperm(batch, generator=torch.Generator().manual_seed(seed))
    expected = pytest.approx(nt_xent(z1, z2).item(), abs=1e-9)
    assert nt_xent(z2, z1).item() == expected
    assert nt_xent(z1[order], z2[order]).item() == expected


@given(batch=batches, seed=seeds, scale=st.floats(1e-3, 1e3))
def test_the_length_of_a_projection_does_not_matter(batch, seed, scale) -> None:
    z1, z2 = views(batch, 5, seed)
    assert nt_xent(scale * z1, z2).item() == pytest.approx(nt_xent(z1, z2).item(), abs=1e-9)


@pytest.mark.parametrize("scale", [1e-5, 1e30, 3e38])
def test_not_even_where_its_square_is_no_number(scale) -> None:
    axes = torch.eye(4)
    assert nt_xent(scale * axes, scale * axes).item() == nt_xent(axes, axes).item()


def test_ordinary_projections_are_normalised_to_the_last_digit() -> None:
    z1, z2 = (z.float().requires_grad_() for z in views(64, 32))
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    logits = (z @ z.T / 0.2).masked_fill(torch.eye(128, dtype=torch.bool), -math.inf)
    plain = F.cross_entropy(logits, torch.arange(128).roll(64))
    ours = nt_xent(z1, z2)
    assert torch.equal(ours, plain)
    gradients = (torch.autograd.grad(loss, (z1, z2)) for loss in (ours, plain))
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_a_projection_of_zeros_does_not_throw_the_network_far_away() -> None:
    z1, z2 = (z.float() for z in views(8, 4))
    z1[0] = 0
    z1.requires_grad_()
    nt_xent(z1, z2).backward()
    assert torch.isfinite(z1.grad).all()
    assert z1.grad.abs().max() < 1e7


def test_one_face_alone_has_nothing_to_be_told_from() -> None:
    z1, z2 = (z.requires_grad_() for z in views(1, 4))
    loss = nt_xent(z1, z2)
    loss.backward()
    assert loss.item() == 0
    assert z1.grad.abs().max() == 0


def test_a_step_downhill_draws_partners_together() -> None:
    z1, z2 = views(8, 4)
    z1.requires_grad_()
    nt_xent(z1, z2).backward()
    before = torch.cosine_similarity(z1, z2).mean()
    after = torch.cosine_similarity(z1 - 0.1 * z1.grad, z2).mean()
    assert after > before


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_gradient_is_that_of_the_value(batch: int) -> None:
    z1, z2 = (z.requires_grad_() for z in views(batch, 3))
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.3), (z1, z2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_is_raised_before_anything_is_computed(dtype, autocast) -> None:
    z1, z2 = (z.to(dtype) for z in views(64, 32))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = nt_xent(z1, z2, 0.1)
    assert loss.dtype == torch.float32
    # The inputs are rounded; the loss of those very inputs is not.
    assert loss.item() == pytest.approx(equation_1(z1, z2, 0.1), rel=1e-5)


def test_autocast_does_not_lower_float32() -> None:
    z1, z2 = (z.float() for z in views(64, 32))
    with torch.autocast("cpu", torch.bfloat16):
        inside = nt_xent(z1, z2, 0.1)
    assert inside.item() == nt_xent(z1, z2, 0.1).item()


@pytest.mark.parametrize("temperature", [0.0, -0.2, math.nan])
def test_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be greater than 0, got"):
        nt_xent(*views(3, 4), temperature)


@pytest.mark.parametrize(
    ("first", "second"), [((3, 4), (2, 4)), ((3, 4), (3, 5)), ((3,), (3,)), ((3, 4, 1), (3, 4, 1))]
)
def test_shapes_must_agree(first, second, unchecked) -> None:
    with pytest.raises(ValueError, match=r"one shape \[N, D\], got .*; pass both views"):
        unchecked(nt_xent)(torch.ones(first), torch.ones(second))


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("view", [0, 1])
def test_numbers_must_be_finite(broken: float, view: int) -> None:
    both = views(3, 4)
    both[view][1, 2] = broken
    with pytest.raises(ValueError, match="z1 and z2 must be finite"):
        nt_xent(*both)


def test_encoder_is_the_mean_of_the_backbone_s_map(pictures) -> None:
    encoder = Encoder("resnet18", width=8, stem="small").eval()
    images = pictures(2, 3, 48, 48)
    by_hand = encoder.backbone(images).flatten(2).sum(dim=2) / 9  # a 3x3 map
    torch.testing.assert_close(encoder(images), by_hand)
    assert encoder(images).shape == (2, encoder.channels) == (2, 64)


def test_projector_has_one_hidden_layer_and_is_thrown_away(pictures) -> None:
    """(512·h + 2h) + (h·d + d) weights: linear without bias, batch norm, linear with bias."""
    projector = Projector(channels=512, hidden=512, dimensions=128)
    assert sum(p.numel() for p in projector.parameters()) == 512 * 512 + 2 * 512 + 512 * 128 + 128
    model = OCL(Encoder("resnet18", width=8, stem="small"), Projector(64, 16, 8)).eval()
    images = pictures(3, 1, 24, 24)
    torch.testing.assert_close(model(images), model.projector(model.encoder(images)))
    assert model(images).shape == (3, 8)
