import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from occfer.occlusion import block
from occfer.occlusion.fills import BLUR_CELLS, blurred, draw_fill, enlarged
from occfer.occlusion.shapes import draw_shapes, gauge, shape_mask
from occfer.randomness import generator_for

SHAPES = ("rectangle", "ellipse", "stripe", "polygon")
shapes = st.sampled_from(SHAPES)
seeds = st.integers(0, 2**31)


@given(shape=shapes, count=st.integers(1, 4), ratio=st.floats(0, 1), seed=seeds,
       height=st.integers(1, 40), width=st.integers(1, 40))  # fmt: skip
@pytest.mark.usefixtures("global_chance")
def test_every_shape_covers_the_asked_share_to_the_pixel(
    shape, count, ratio, seed, height, width
) -> None:
    faces = torch.zeros(3, 1, height, width)
    covered, mask = block(faces, ratio, "noise", generator_for(seed), shape=shape, count=count)
    exact = ratio * height * width
    assert all(abs(pixels - exact) <= 0.5 for pixels in mask.sum(dim=(1, 2)).tolist())
    assert not covered[~mask[:, None]].any()


def test_an_ellipse_is_round_and_a_rectangle_square_at_aspect_one() -> None:
    ratio = torch.full((20,), 0.06, dtype=torch.float64)
    radius = math.sqrt(0.06 * 100 * 100 / math.pi)
    for kind, span in (("ellipse", 2 * radius), ("rectangle", math.sqrt(600))):
        drawn = draw_shapes(20, generator_for(0), kind, 1, (1.0, 1.0))
        drawn.centre.fill_(0.5)
        mask = shape_mask(drawn, ratio, 100, 100)
        for side in (1, 2):
            spans = mask.any(dim=side).sum(dim=1).double()
            assert (spans - span).abs().max() <= 2


@pytest.mark.parametrize("kind", ["rectangle", "ellipse"])
def test_an_aspect_of_four_is_four_times_as_high_as_wide(kind) -> None:
    drawn = draw_shapes(3, generator_for(0), kind, 1, (4.0, 4.0))
    drawn.centre.fill_(0.5)
    drawn.angle.fill_(0.0)
    mask = shape_mask(drawn, torch.full((3,), 0.06, dtype=torch.float64), 100, 100)
    height, width = mask.any(dim=2).sum(dim=1), mask.any(dim=1).sum(dim=1)
    torch.testing.assert_close(height / width, torch.full((3,), 4.0), atol=0.4, rtol=0)


def test_a_shape_of_twice_the_size_is_twice_as_wide() -> None:
    drawn = draw_shapes(1, generator_for(0), "ellipse", 2, (1.0, 1.0))
    drawn.centre.copy_(torch.tensor([[[0.25, 0.5], [0.75, 0.5]]]))
    drawn.size.copy_(torch.tensor([[0.7, 1.4]]))
    mask = shape_mask(drawn, torch.tensor([0.1], dtype=torch.float64), 100, 100)
    small, large = mask[0, :, :50].sum(), mask[0, :, 50:].sum()
    assert large / small == pytest.approx(4, abs=0.2)


def test_a_stripe_crosses_the_whole_picture_and_is_evenly_wide() -> None:
    drawn = draw_shapes(30, generator_for(1), "stripe")
    drawn.centre.fill_(0.5)
    drawn.angle.fill_(0.0)
    mask = shape_mask(drawn, torch.full((30,), 0.2, dtype=torch.float64), 50, 50)
    assert (mask.sum(dim=1) == 10).all()


@given(seed=seeds)
def test_a_polygon_is_convex(seed) -> None:
    drawn = draw_shapes(1, generator_for(seed), "polygon")
    reach = gauge(drawn, 48, 48)[0]
    # A gauge is convex: at the middle of two pixels it is at most the mean of both.
    points = torch.randint(0, 24, (200, 2, 2), generator=generator_for(seed)) * 2
    one, other = points.unbind(dim=1)
    middle = (one + other) // 2
    ends = reach[one[:, 1], one[:, 0]] + reach[other[:, 1], other[:, 0]]
    assert (reach[middle[:, 1], middle[:, 0]] <= ends / 2 + 1e-9).all()


def test_several_shapes_are_several_places() -> None:
    ratio = torch.full((40,), 0.02, dtype=torch.float64)
    for count in (1, 3):
        drawn = draw_shapes(40, generator_for(2), "ellipse", count, (1.0, 1.0))
        mask = shape_mask(drawn, ratio, 64, 64)
        found = gauge(drawn, 64, 64)
        assert (
            found.where(mask, -1).amax(dim=(1, 2)) <= found.where(~mask, 9e9).amin((1, 2))
        ).all()
    centres = (drawn.centre * 64).long().clamp(max=63)
    lit = mask[torch.arange(40)[:, None], centres[..., 1], centres[..., 0]]
    assert lit.double().mean() > 0.95


@pytest.mark.parametrize(("shape", "count"), [("heart", 1), ("ellipse", 0), ("ellipse", 2.5)])
def test_an_unknown_shape_and_a_count_of_none_are_refused(unchecked, shape, count) -> None:
    with pytest.raises(ValueError, match=r"shape must be one of .* and count a whole .* 1; got"):
        unchecked(draw_shapes)(1, generator_for(0), shape, count)


def test_a_patch_is_the_same_place_of_another_face_of_the_batch(pictures) -> None:
    faces = pictures(5, 3, 16, 16)
    seen = set()
    for seed in range(60):
        covered, mask = block(faces, 0.4, "patch", generator_for(seed))
        for row in range(5):
            donors = [
                other
                for other in range(5)
                if torch.equal(covered[row][:, mask[row]], faces[other][:, mask[row]])
            ]
            assert len(donors) == 1
            assert donors[0] != row
            seen.add((row, donors[0]))
    assert len(seen) == 20
    with pytest.raises(ValueError, match="this batch holds 1; pass several faces"):
        block(faces[:1], 0.4, "patch")


@pytest.mark.parametrize(("height", "width"), [(48, 48), (112, 100), (5, 7), (1, 13)])
def test_blur_averages_over_the_windows_of_adaptive_pooling(pictures, height, width) -> None:
    faces = pictures(3, 3, height, width)
    expected = enlarged(F.adaptive_avg_pool2d(faces, BLUR_CELLS), height, width)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(blurred(faces), expected, atol=1e-6, rtol=0)


def test_blur_keeps_the_mean_and_loses_the_detail(pictures) -> None:
    faces = pictures(3, 3, 48, 48)
    soft = draw_fill(faces, "blur", generator_for(0))
    torch.testing.assert_close(soft.mean(), faces.mean(), atol=0.01, rtol=0)
    steps = (soft[..., 1:] - soft[..., :-1]).abs().max()
    assert steps < 0.05 < (faces[..., 1:] - faces[..., :-1]).abs().max()
