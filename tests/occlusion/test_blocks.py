import math
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from occfer.occlusion import block
from occfer.occlusion.blocks import ASPECT, block_mask, draw_blocks, draw_fill
from occfer.occlusion.fills import Fill, enlarged
from occfer.occlusion.shapes import Shape
from occfer.randomness import generator_for

FILLS = get_args(Fill)
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
ratios = st.floats(0, 1)
sides = st.integers(1, 40)
seeds = st.integers(0, 2**31)


def mask_of(ratio: float, height: int, width: int, seed: int = 0, batch: int = 8) -> torch.Tensor:
    return block(torch.zeros(batch, 1, height, width), ratio, generator=generator_for(seed))[1]


@given(ratio=ratios, height=sides, width=sides, seed=seeds)
def test_the_mask_holds_the_asked_share_to_the_pixel(ratio, height, width, seed) -> None:
    mask = mask_of(ratio, height, width, seed)
    assert mask.shape == (8, height, width)
    assert mask.dtype == torch.bool
    exact = ratio * height * width
    assert all(abs(pixels - exact) <= 0.5 for pixels in mask.sum(dim=(1, 2)).tolist())


@pytest.mark.parametrize("size", [24, 48, 100, 112, 224])
@pytest.mark.parametrize("percent", [0, 5, 10, 15, 20, 25, 30])
def test_the_shares_of_section_3_5_are_met_to_the_pixel(percent, size) -> None:
    pixels = mask_of(percent / 100, size, size, batch=2).sum(dim=(1, 2))
    # Half a pixel may go either way: 5 % of 48 x 48 are 115.2 pixels, 15 % of 10 x 10 are 15.
    assert pixels.tolist() == [(percent * size * size + 50) // 100] * 2


def test_one_share_in_a_tensor_is_for_all(pictures) -> None:
    _, mask = block(pictures(3, 3, 20, 20), torch.tensor([0.25]))
    assert mask.sum(dim=(1, 2)).tolist() == [100] * 3


@given(seed=seeds, height=sides, width=sides)
def test_every_face_may_have_a_share_of_its_own(seed, height, width) -> None:
    ratio = torch.rand(6, generator=generator_for(seed), dtype=torch.float64)
    _, mask = block(torch.zeros(6, 3, height, width), ratio.float(), generator=generator_for(seed))
    covered = mask.sum(dim=(1, 2))
    assert ((covered - ratio * height * width).abs() <= 0.5 + 1e-3).all()


@given(ratio=ratios, height=sides, width=sides, seed=seeds)
def test_a_block_is_a_full_rectangle_but_for_the_end_of_its_last_column(
    ratio, height, width, seed
) -> None:
    for mask in mask_of(ratio, height, width, seed, batch=4):
        if not mask.any():
            continue
        rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
        box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert len(rows) == rows[-1] - rows[0] + 1
        assert len(columns) == columns[-1] - columns[0] + 1
        assert box[:, :-1].all()
        last = box[:, -1].tolist()
        assert last == sorted(last, reverse=True)
        assert last[0]


@given(ratio=ratios, height=sides, width=sides, seed=seeds, fill=st.sampled_from(FILLS))
@pytest.mark.usefixtures("global_chance")
def test_nothing_but_the_covered_pixels_changes(pictures, ratio, height, width, seed, fill) -> None:
    faces = 0.1 + 0.8 * pictures(4, 3, height, width, seed=seed)
    before = faces.clone()
    covered, mask = block(faces, ratio, fill, generator_for(seed))
    assert torch.equal(faces, before)
    changed = (covered != faces).any(dim=1)
    assert not (changed & ~mask).any()
    # The mean of a picture of one pixel is that pixel, and so is the blur of one no larger than
    # its cells.
    if fill not in ("mean", "blur") or min(height, width) > 12:
        assert torch.equal(changed, mask)
    assert covered.min() >= 0
    assert covered.max() <= 1


@given(height=sides, width=sides, seed=seeds)
def test_nothing_and_everything(pictures, height, width, seed) -> None:
    faces = pictures(2, 3, height, width, seed=seed)
    untouched, nowhere = block(faces, 0, generator=generator_for(seed))
    assert torch.equal(untouched, faces)
    assert not nowhere.any()
    black, everywhere = block(faces, 1, "black", generator_for(seed))
    assert everywhere.all()
    assert not black.any()


@pytest.mark.parametrize("shape", get_args(Shape))
def test_pictures_without_pixels_are_refused(shape: str) -> None:
    with pytest.raises(ValueError, match=r"must have pixels to cover, got \[2, 3, 8, 0\]"):
        block(torch.zeros(2, 3, 8, 0), 0.2, shape=shape)


@pytest.mark.parametrize("ratio", [-0.01, 1.01, math.nan])
def test_a_share_outside_of_0_to_1_is_refused(ratio) -> None:
    with pytest.raises(ValueError, match=r"ratio .* must lie in \[0, 1\]; got values from"):
        block(torch.zeros(2, 3, 8, 8), ratio)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        (dict(images=torch.zeros(2, 3, 8, 8, dtype=torch.uint8)), r"images .* floating-point type"),
        (dict(images=torch.zeros(3, 8, 8)), r"images must be \[batch, .* got \[3, 8, 8\]"),
        (dict(ratio=torch.full((3,), 0.2)), r"ratio must be one number or \[2\], .* got \[3\]"),
        (dict(ratio=torch.full((2, 1), 0.2)), r"ratio must be one number or .* got \[2, 1\]"),
        (dict(aspect=(0.0, 1.0)), r"aspect must be bounds .* above 0, .* got \(0.0, 1.0\)"),
        (dict(aspect=(2.0, 1.0)), r"aspect must be bounds .* the lower one first"),
    ],
)
def test_what_cannot_be_covered_is_refused_in_a_sentence(unchecked, changes, refusal) -> None:
    asked = dict(images=torch.zeros(2, 3, 8, 8), ratio=0.2) | changes
    with pytest.raises(ValueError, match=refusal):
        unchecked(block)(**asked)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fill", FILLS)
def test_the_faces_keep_their_type_and_look_alike_in_all(pictures, fill, dtype) -> None:
    faces = pictures(6, 3, 40, 112)
    expected, where = block(faces, 0.4, fill, generator_for(5))
    covered, mask = block(faces.to(dtype), 0.4, fill, generator_for(5))
    assert covered.dtype == draw_fill(faces.to(dtype), fill, generator_for(5)).dtype == dtype
    assert torch.equal(mask, where)
    torch.testing.assert_close(covered.float(), expected, atol=0.01, rtol=0)


def test_a_picture_higher_than_sixteen_bits_count_is_covered_to_the_pixel() -> None:
    mask = mask_of(0.5, 40_001, 2, batch=2)
    assert mask.sum(dim=(1, 2)).tolist() == [40_001] * 2


def test_an_unknown_fill_is_refused(unchecked) -> None:
    with pytest.raises(ValueError, match=r"fill must be one of black, .*; got 'plaid'"):
        unchecked(draw_fill)(torch.zeros(2, 3, 8, 8), "plaid", generator_for(0))


@given(seed=seeds, fill=st.sampled_from(FILLS))
def test_the_same_generator_state_covers_the_same(pictures, seed, fill) -> None:
    faces = pictures(4, 3, 16, 20)
    first, mask = block(faces, 0.3, fill, generator_for(seed))
    again, same_mask = block(faces, 0.3, fill, generator_for(seed))
    assert torch.equal(first, again)
    assert torch.equal(mask, same_mask)


# What a fill looks like


def filled(fill: str, faces: torch.Tensor) -> torch.Tensor:
    covered, mask = block(faces, 1.0, fill, generator_for(0))
    assert mask.all()
    return covered


def test_mean_is_the_picture_s_own_mean(pictures) -> None:
    faces = pictures(3, 3, 12, 10)
    expected = torch.tensor([[[pixels.double().mean()] for pixels in face] for face in faces])
    torch.testing.assert_close(filled("mean", faces), expected[..., None].expand_as(faces).float())


def test_constant_is_one_random_colour_for_each_face(pictures) -> None:
    colours = filled("constant", pictures(400, 3, 4, 4))
    assert (colours == colours[:, :, :1, :1]).all()
    assert kstest(colours[:, :, 0, 0].flatten().numpy(), "uniform").pvalue > 1e-3
    assert colours[:, 0, 0, 0].unique().numel() > 390


def test_noise_is_white_over_the_256_levels(pictures) -> None:
    pixels = filled("noise", pictures(8, 3, 64, 64))
    levels = (pixels * 255).round().long()
    torch.testing.assert_close(levels.float() / 255, pixels)
    assert chisquare(torch.bincount(levels.flatten(), minlength=256).numpy()).pvalue > 1e-3
    neighbours = torch.stack([pixels[..., :-1].flatten(), pixels[..., 1:].flatten()])
    assert abs(torch.corrcoef(neighbours)[0, 1]) < 0.02


def test_texture_is_smooth_and_not_flat(pictures) -> None:
    pixels = filled("texture", pictures(8, 3, 64, 64))
    steps = (pixels[..., 1:] - pixels[..., :-1]).abs()
    # Eight cells over 64 pixels: a step is at most an eighth of the difference of two cells.
    assert steps.max() <= 1 / 8 + 1e-5
    assert pixels.flatten(1).std(dim=1).min() > 0.1


@pytest.mark.parametrize(
    ("cells", "size"), [((8, 8), (112, 112)), ((6, 6), (48, 64)), ((1, 9), (5, 5))]
)
def test_coarse_cells_are_enlarged_as_interpolate_does(cells, size, pictures) -> None:
    coarse = pictures(4, 3, *cells)
    expected = F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(enlarged(coarse, *size), expected, atol=1e-6, rtol=0)


def test_in_half_precision_too_every_pixel_has_its_place(pictures) -> None:
    coarse = pictures(4, 3, 6, 6).bfloat16()
    expected = enlarged(coarse.float(), 224, 224)
    torch.testing.assert_close(enlarged(coarse, 224, 224).float(), expected, atol=0.015, rtol=0)


def test_mixed_draws_constant_noise_and_texture_alike() -> None:
    pixels = filled("mixed", torch.full((600, 1, 32, 32), 0.5))[:, 0]
    flat = (pixels == pixels[:, :1, :1]).flatten(1).all(dim=1)
    step = (pixels[..., 1:] - pixels[..., :-1]).abs().amax(dim=(1, 2))
    smooth = ~flat & (step < 0.3)
    counts = [int(flat.sum()), int(smooth.sum()), int((~flat & ~smooth).sum())]
    assert chisquare(counts).pvalue > 1e-3


# Where a block lies


def test_every_corner_position_is_equally_likely() -> None:
    size = 12
    square = draw_blocks(
        torch.full((50_000,), 1 / 4), size, size, generator_for(0), aspect=(1.0, 1.0)
    )
    assert set(square.height.tolist()) == set(square.width.tolist()) == {6}
    places = torch.bincount(square.top * 7 + square.left, minlength=49)
    assert chisquare(places.numpy()).pvalue > 1e-3


def test_an_aspect_above_one_stands_upright() -> None:
    drawn = draw_blocks(torch.full((100,), 0.1), 200, 200, generator_for(0), (2.0, 3.0))
    assert (drawn.height > 1.9 * drawn.width).all()


def test_the_aspect_is_log_uniform_within_its_bounds() -> None:
    drawn = draw_blocks(torch.full((20_000,), 0.05), 400, 400, generator_for(0))
    log_aspect = (drawn.height / drawn.width).log()
    low, high = map(math.log, ASPECT)
    assert log_aspect.min() > low - 0.03
    assert log_aspect.max() < high + 0.03
    shares = torch.histc(log_aspect, 10, low, high)
    assert (shares / shares.mean() - 1).abs().max() < 0.1


@given(ratio=ratios, height=sides, width=sides, seed=seeds)
def test_corner_sides_and_pixels_describe_the_mask(ratio, height, width, seed) -> None:
    drawn = draw_blocks(
        torch.full((4,), ratio, dtype=torch.float64), height, width, generator_for(seed)
    )
    mask = block_mask(drawn, height, width)
    for i in range(4):
        pixels = mask[i].nonzero()
        assert len(pixels) == drawn.pixels[i]
        if len(pixels):
            assert pixels.amin(dim=0).tolist() == [drawn.top[i], drawn.left[i]]
            sides_found = pixels.amax(dim=0) - pixels.amin(dim=0) + 1
            # A lone column is the last one, too, and may end early.
            height_found = drawn.height[i] if drawn.width[i] > 1 else drawn.pixels[i]
            assert sides_found.tolist() == [height_found, drawn.width[i]]


@pytest.mark.parametrize("fill", ["mean", "noise", "blur", "patch"])
def test_gradients_reach_the_faces_where_they_are_seen(pictures, fill) -> None:
    """And a face in double precision stays in it."""
    faces = pictures(3, 1, 8, 8).double().requires_grad_()
    covered, mask = block(faces, 0.3, fill, generator_for(2))
    assert covered.dtype == torch.float64
    covered.where(~mask[:, None], 0).sum().backward()
    assert torch.equal(faces.grad[:, 0], (~mask).double())
    with torch.no_grad():
        again, _ = block(faces, 0.3, fill, generator_for(2))
    assert torch.equal(again, covered)
