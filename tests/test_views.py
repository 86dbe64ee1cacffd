import math
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tv
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from occfer.occlusion.blocks import Blocks
from occfer.randomness import generator_for
from occfer.recipes import GENTLE_VIEWS, ViewRecipe
from occfer.views import LUMA, RandomView, TwoViews, ViewParameters, as_float, luminance, resample

SIZE = 24
STILL = RandomView(
    size=SIZE, crop=(1, 1), crop_aspect=(1, 1), flip=0, jitter=0, grey=0, occlusion=0
)
"""Draws nothing but the whole face as it is."""


def still(batch: int, size: int = SIZE, **changes) -> ViewParameters:
    """Identity parameters; a changed one holds for every face of the batch."""
    found = replace(STILL, size=size).draw(batch, generator_for(0))
    changed = {
        name: torch.as_tensor(value).expand_as(getattr(found, name))
        for name, value in changes.items()
    }
    return replace(found, **changed)


def same(a: ViewParameters, b: ViewParameters) -> bool:
    def tensors(parameters: ViewParameters) -> list[Tensor]:
        values = [getattr(parameters, field.name) for field in fields(parameters)]
        return [torch.as_tensor(v) for v in values if not isinstance(v, Blocks)] + list(
            vars(parameters.blocks).values()
        )

    return all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))


# Replaying


@pytest.mark.usefixtures("global_chance")
@given(seed=st.integers(0, 2**31), channels=st.sampled_from([1, 3]), one_view=st.booleans())
def test_the_same_generator_state_gives_the_same_views(pictures, seed, channels, one_view) -> None:
    faces = pictures(4, channels, 20, 30, seed=seed)
    two_views = TwoViews(SIZE, one_view, rotation=15.0)
    generator = generator_for(seed)
    state = generator.get_state()
    first = two_views(faces, generator)
    assert not torch.equal(generator.get_state(), state)
    again = two_views(faces, generator.set_state(state))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for view in first:
        assert view.shape == (4, channels, SIZE, SIZE)
        assert view.dtype == torch.float32
        assert view.min() >= 0
        assert view.max() <= 1
    assert not torch.equal(*first)


@given(seed=st.integers(0, 2**31))
def test_drawing_then_applying_is_calling_and_may_be_repeated(pictures, seed) -> None:
    faces = pictures(3, 3, 20, 20, seed=seed)
    two_views = TwoViews(SIZE)
    parameters = two_views.draw(3, generator_for(seed))
    assert all(map(same, parameters, two_views.draw(3, generator_for(seed))))
    assert not same(*parameters)
    called = two_views(faces, generator_for(seed))
    for _ in range(2):
        applied = two_views.apply(faces, parameters)
        assert all(torch.equal(a, b) for a, b in zip(called, applied, strict=True))


@pytest.mark.usefixtures("global_chance")
def test_without_a_generator_every_call_differs(pictures) -> None:
    two_views = TwoViews(SIZE)
    faces = pictures(2, 3, 20, 20)
    assert not torch.equal(two_views(faces)[0], two_views(faces)[0])


@pytest.mark.parametrize("channels", [1, 3])
def test_bytes_and_floats_give_the_same_views(pictures, channels) -> None:
    pixels = (pictures(4, channels, 20, 20) * 255).round().byte()
    two_views = TwoViews(SIZE)
    from_bytes = two_views(pixels, generator_for(1))
    from_floats = two_views(pixels.float() / 255, generator_for(1))
    assert all(torch.equal(a, b) for a, b in zip(from_bytes, from_floats, strict=True))


def test_autocast_leaves_the_pixels_alone(pictures) -> None:
    faces, two_views = pictures(4, 3, 20, 20), TwoViews(SIZE)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = *two_views(faces, generator_for(0)), luminance(faces)
    exact = *two_views(faces, generator_for(0)), luminance(faces)
    for ours, expected in zip(mixed, exact, strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, expected)


def test_faces_are_left_alone(pictures) -> None:
    faces = pictures(4, 3, SIZE, SIZE)
    before = faces.clone()
    TwoViews(SIZE)(faces, generator_for(0))
    assert torch.equal(faces, before)


# Drawing


@given(seed=st.integers(0, 2**31))
def test_every_parameter_lies_within_its_bounds(seed) -> None:
    view = RandomView(size=40, rotation=20.0, crop=(0.2, 0.8), occlusion=1.0, hue=0.15)
    drawn = view.draw(256, generator_for(seed))
    area = drawn.extent.prod(dim=1)
    # A wide crop that would leave the face is narrowed, so only the upper bound is always kept.
    assert (area <= 0.8 + 1e-5).all()
    unclamped = (drawn.extent < 1).all(dim=1)
    assert (area[unclamped] >= 0.2 - 1e-5).all()
    aspect = (drawn.extent[:, 0] / drawn.extent[:, 1])[unclamped]
    assert ((aspect >= 3 / 4 - 1e-4) & (aspect <= 4 / 3 + 1e-4)).all()
    assert (drawn.centre - drawn.extent / 2 >= -1e-6).all()
    assert (drawn.centre + drawn.extent / 2 <= 1 + 1e-6).all()
    assert drawn.angle.abs().max() <= math.radians(20)
    for name, spread in {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4}.items():
        factor = getattr(drawn, name)
        assert ((factor >= 1 - spread - 1e-6) & (factor <= 1 + spread + 1e-6)).all(), name
    assert drawn.hue.abs().max() <= 0.15
    assert ((drawn.occlusion >= 0.05 - 1e-6) & (drawn.occlusion <= 0.30 + 1e-6)).all()


def test_coins_fall_as_often_as_the_recipe_says() -> None:
    drawn = RandomView(size=8).draw(20_000, generator_for(0))
    shares = {
        "flip": (drawn.flip, 0.5),
        "grey": (drawn.grey, 0.2),
        "occlusion": (drawn.occlusion > 0, 0.5),
        "jitter": (drawn.brightness != 1, 0.8),
    }
    for name, (coins, probability) in shares.items():
        assert coins.double().mean() == pytest.approx(probability, abs=0.015), name


def test_one_coin_decides_over_all_colours() -> None:
    drawn = RandomView(size=8).draw(1000, generator_for(0))
    changed = torch.stack([drawn.brightness != 1, drawn.contrast != 1, drawn.hue != 0])
    assert (changed[0] == changed).all()


def test_parameters_cover_their_ranges_evenly() -> None:
    # Crops so small that none has to be cut to the picture.
    view = RandomView(size=8, crop=(0.2, 0.7), rotation=20.0, jitter=1.0, occlusion=1.0)
    drawn = view.draw(20_000, generator_for(0))
    position = (drawn.centre - 0.5) / ((1 - drawn.extent) / 2)
    values = []
    turn, ratio = math.radians(20), math.log(4 / 3)
    for value, low, high in [
        (drawn.brightness, 0.6, 1.4),
        (drawn.contrast, 0.6, 1.4),
        (drawn.saturation, 0.6, 1.4),
        (drawn.hue, -0.1, 0.1),
        (drawn.occlusion, 0.05, 0.3),
        (drawn.extent.prod(dim=1), 0.2, 0.7),
        ((drawn.extent[:, 0] / drawn.extent[:, 1]).log(), -ratio, ratio),
        (drawn.angle, -turn, turn),
        (position[:, 0], -1, 1),
        (position[:, 1], -1, 1),
    ]:
        quantiles = torch.quantile(value, torch.linspace(0, 1, 11))
        assert quantiles == pytest.approx(torch.linspace(low, high, 11), abs=0.02 * (high - low))
        values.append(value)
    # And none follows another one.
    assert torch.corrcoef(torch.stack(values)).numpy() == pytest.approx(np.eye(10), abs=0.04)


def test_a_block_in_a_view_has_the_aspect_that_the_recipe_says() -> None:
    view = RandomView(size=112, occlusion=1.0, occlusion_aspect=(2.0, 2.0))
    blocks = view.draw(1000, generator_for(0)).blocks
    torch.testing.assert_close(
        blocks.height / blocks.width, torch.full((1000,), 2.0), atol=0.15, rtol=0
    )


def test_both_views_of_a_face_are_drawn_independently() -> None:
    first, second = TwoViews(SIZE, rotation=15.0).draw(5000, generator_for(0))
    for name in ("brightness", "occlusion", "hue", "centre", "extent", "angle", "flip"):
        pair = [getattr(view, name).float().view(5000, -1).T for view in (first, second)]
        for one, other in zip(*pair, strict=True):
            assert abs(torch.corrcoef(torch.stack([one, other]))[0, 1]) < 0.05, name
    assert first.fill_seed != second.fill_seed


@pytest.mark.parametrize("recipe", [ViewRecipe(), GENTLE_VIEWS])
def test_a_recipe_s_fields_are_arguments_of_a_view(pictures, recipe) -> None:
    view = RandomView(size=SIZE, **asdict(recipe))
    assert {name: getattr(view, name) for name in asdict(recipe)} == asdict(recipe)


# Geometry


@pytest.mark.parametrize("channels", [1, 3])
def test_identity_parameters_give_the_face_back(pictures, channels) -> None:
    faces = pictures(3, channels, SIZE, SIZE)
    torch.testing.assert_close(STILL.apply(faces, still(3)), faces, atol=2e-6, rtol=0)


@given(top=st.integers(0, 15), left=st.integers(0, 21), size=st.integers(4, 17), flip=st.booleans())
def test_a_crop_on_whole_pixels_is_a_slice(pictures, top, left, size, flip) -> None:
    height, width = 32, 38
    face = pictures(1, 3, height, width)
    drawn = still(
        1,
        size,
        centre=[(left + size / 2) / width, (top + size / 2) / height],
        extent=[size / width, size / height],
        flip=flip,
    )
    expected = face[:, :, top : top + size, left : left + size]
    expected = tv.horizontal_flip(expected) if flip else expected
    found = replace(STILL, size=size).apply(face, drawn)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_quarter_turn_is_rot90(pictures, quarters) -> None:
    face = pictures(1, 3, SIZE, SIZE)
    turned = STILL.apply(face, still(1, angle=quarters * math.pi / 2))
    torch.testing.assert_close(turned, face.rot90(quarters, (2, 3)), atol=2e-5, rtol=0)


@pytest.mark.parametrize("degrees", [-30.0, -7.0, 12.5, 45.0])
def test_a_turn_is_torchvision_s_where_no_border_shows(pictures, degrees) -> None:
    face = pictures(1, 3, 41, 41)
    ours = replace(STILL, size=41).apply(face, still(1, 41, angle=math.radians(degrees)))
    theirs = tv.rotate(face, degrees, tv.InterpolationMode.BILINEAR)
    inner = slice(14, 27)
    torch.testing.assert_close(
        ours[..., inner, inner], theirs[..., inner, inner], atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(("height", "width"), [(60, 120), (120, 60)])
@pytest.mark.parametrize("degrees", [20, -75])
def test_a_turn_keeps_angles_where_a_face_is_not_square(height, width, degrees) -> None:
    """Each pixel of the face holds its own place, so a view says where its pixels came from."""
    places = torch.meshgrid(torch.arange(1.0 * height), torch.arange(1.0 * width), indexing="ij")
    angle, extent, size = math.radians(degrees), torch.tensor([0.4, 0.3]), 31
    drawn = still(1, size, angle=angle, extent=extent)
    seen = [resample(each[None, None], drawn, size)[0, 0] for each in places]
    # From the middle of the view, in pixels of the face.
    steps = (torch.arange(size) - (size - 1) / 2) / size
    x, y = steps[None, :] * extent[0] * width, steps[:, None] * extent[1] * height
    down, across = (
        place - (side - 1) / 2 for place, side in zip(seen, (height, width), strict=True)
    )
    torch.testing.assert_close(across, x * math.cos(angle) - y * math.sin(angle), atol=1e-4, rtol=0)
    torch.testing.assert_close(down, x * math.sin(angle) + y * math.cos(angle), atol=1e-4, rtol=0)


def test_outside_of_the_face_its_border_goes_on(pictures) -> None:
    face, half = pictures(1, 3, SIZE, SIZE), SIZE // 2
    shifted = STILL.apply(face, still(1, centre=[0.0, 0.5]))
    border = face[..., :1].expand(-1, -1, -1, half)
    expected = torch.cat([border, face[..., :half]], dim=-1)
    torch.testing.assert_close(shifted, expected, atol=2e-5, rtol=0)


# Colour


@pytest.fixture
def muted(pictures) -> Tensor:
    """Colours in [0.3, 0.6], so that moderate changes stay clear of 0 and 1."""
    return 0.3 + 0.3 * pictures(3, 3, SIZE, SIZE)


@pytest.mark.parametrize("factor", [0.6, 0.9, 1.4])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_a_colour_factor_is_torchvision_s(muted, name, factor) -> None:
    ours = STILL.apply(muted, still(3, **{name: factor}))
    theirs = getattr(tv, f"adjust_{name}")(muted, factor)
    # torchvision rounds the luminance of red to 0.2989.
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_factors_follow_one_another_as_in_torchvision(muted) -> None:
    ours = STILL.apply(muted, still(3, brightness=1.2, contrast=0.7, saturation=1.3))
    theirs = tv.adjust_contrast(tv.adjust_brightness(muted, 1.2), 0.7)
    torch.testing.assert_close(ours, tv.adjust_saturation(theirs, 1.3), atol=2e-4, rtol=0)


def test_greyscale_is_torchvision_s(muted) -> None:
    ours = STILL.apply(muted, still(3, grey=True))
    torch.testing.assert_close(ours, tv.rgb_to_grayscale(muted, 3), atol=1e-4, rtol=0)


@given(hue=st.floats(-0.5, 0.5))
def test_a_turn_of_the_hue_keeps_the_luminance(pictures, hue) -> None:
    muted = 0.4 + 0.1 * pictures(2, 3, SIZE, SIZE)
    turned = STILL.apply(muted, still(2, hue=hue))
    luma = torch.tensor(LUMA)[:, None, None]
    torch.testing.assert_close((turned * luma).sum(1), (muted * luma).sum(1), atol=1e-5, rtol=0)


def test_a_full_circle_of_hue_is_the_identity_and_half_of_it_is_not(muted) -> None:
    torch.testing.assert_close(STILL.apply(muted, still(3, hue=1.0)), muted, atol=1e-5, rtol=0)
    half = STILL.apply(muted, still(3, hue=0.5))
    assert (half - muted).abs().mean() > 0.05
    torch.testing.assert_close(STILL.apply(half, still(3, hue=0.5)), muted, atol=1e-4, rtol=0)


@given(hue=st.floats(-0.5, 0.5), saturation=st.floats(0, 2), grey=st.booleans())
def test_grey_has_neither_hue_nor_saturation(pictures, hue, saturation, grey) -> None:
    levels = pictures(2, 1, SIZE, SIZE)
    drawn = still(2, hue=hue, saturation=saturation, grey=grey)
    three = STILL.apply(levels.expand(-1, 3, -1, -1), drawn)
    torch.testing.assert_close(three, levels.expand(-1, 3, -1, -1), atol=1e-5, rtol=0)
    torch.testing.assert_close(STILL.apply(levels, drawn), levels, atol=1e-5, rtol=0)


@given(brightness=st.floats(0.6, 1.4), contrast=st.floats(0.6, 1.4))
def test_one_grey_channel_looks_like_three_equal_ones(pictures, brightness, contrast) -> None:
    levels = pictures(2, 1, SIZE, SIZE)
    drawn = still(2, brightness=brightness, contrast=contrast)
    three = STILL.apply(levels.expand(-1, 3, -1, -1), drawn)
    one = STILL.apply(levels, drawn)
    torch.testing.assert_close(one.expand(-1, 3, -1, -1), three, atol=1e-5, rtol=0)


# Occlusion


@given(
    seed=st.integers(0, 2**31),
    fill=st.sampled_from(["black", "constant", "noise", "texture", "mixed"]),
)
def test_occlusion_covers_exactly_the_drawn_share(seed, fill) -> None:
    view = replace(STILL, occlusion=0.7, fill=fill)
    # No fill of 0, of 1/255 steps or of random floats is this number.
    faces = torch.full((16, 3, SIZE, SIZE), 1 / math.pi)
    drawn = view.draw(16, generator_for(seed))
    changed = ((view.apply(faces, drawn) - faces).abs() > 1e-6).any(dim=1).sum(dim=(1, 2))
    exact = drawn.occlusion.double() * SIZE**2
    assert ((changed - exact).abs() <= 0.5).all()
    assert (changed[drawn.occlusion == 0] == 0).all()


def test_colours_are_changed_after_a_block_was_laid_over_them() -> None:
    view = replace(STILL, occlusion=1.0, fill="constant", grey=1.0)
    faces, drawn = torch.full((8, 3, SIZE, SIZE), 0.5), view.draw(8, generator_for(0))
    coloured = view.apply(faces, replace(drawn, grey=torch.zeros(8, dtype=torch.bool)))
    grey = view.apply(faces, drawn)
    in_colour, in_grey = ((v.amax(dim=1) - v.amin(dim=1)).max() for v in (coloured, grey))
    assert in_colour > 0.1
    assert in_grey < 1e-5


def test_one_view_leaves_the_second_uncovered(pictures) -> None:
    two_views = TwoViews(SIZE, one_view=True, occlusion=1.0)
    first, second = two_views.draw(64, generator_for(0))
    assert (first.occlusion > 0).all()
    assert (second.occlusion == 0).all()
    assert (second.blocks.pixels == 0).all()
    calm = dict(crop=(1, 1), crop_aspect=(1, 1), flip=0, jitter=0, grey=0)
    faces = pictures(4, 3, SIZE, SIZE)
    covered, whole = TwoViews(SIZE, one_view=True, occlusion=1.0, **calm)(faces, generator_for(0))
    torch.testing.assert_close(whole, faces, atol=2e-6, rtol=0)
    assert ((covered - faces).abs() > 1e-3).any(dim=1).flatten(1).any(dim=1).all()


def test_by_default_both_views_are_occluded_half_of_the_time() -> None:
    first, second = TwoViews(SIZE).draw(4000, generator_for(0))
    both = ((first.occlusion > 0) & (second.occlusion > 0)).double().mean()
    assert both == pytest.approx(0.25, abs=0.03)


# Errors


@pytest.mark.parametrize("name", ["flip", "jitter", "grey", "occlusion"])
@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_a_probability_lies_between_0_and_1(name, value) -> None:
    with pytest.raises(ValueError, match=rf"{name} is a probability .* got {value}"):
        RandomView(**{name: value})


@pytest.mark.parametrize("name", ["crop", "occlusion_area"])
@pytest.mark.parametrize("value", [(-0.1, 0.5), (0.6, 0.5), (0.5, 1.1)])
def test_a_share_of_the_area_lies_between_0_and_1(name, value) -> None:
    with pytest.raises(ValueError, match=f"{name} bounds a share of the area"):
        RandomView(**{name: value})


def test_views_and_crops_hold_something() -> None:
    with pytest.raises(ValueError, match="must be positive, got 0"):
        RandomView(size=0)
    with pytest.raises(ValueError, match=r"must be positive, got 112 and 0\.0"):
        RandomView(crop=(0.0, 1.0))


@pytest.mark.parametrize("name", ["crop_aspect", "occlusion_aspect"])
@pytest.mark.parametrize("value", [(0.0, 1.0), (2.0, 1.0), (1.0, math.inf), (math.nan, 1.0)])
def test_a_ratio_of_sides_lies_between_0_and_infinity(name, value) -> None:
    with pytest.raises(ValueError, match=f"{name} bounds a ratio of sides"):
        RandomView(**{name: value})


@pytest.mark.parametrize("name", ["rotation", "brightness", "contrast", "saturation", "hue"])
@pytest.mark.parametrize("value", [-3.0, math.nan, math.inf])
def test_a_spread_is_a_positive_number(name, value) -> None:
    with pytest.raises(ValueError, match=f"{name} says how far .* got {value}"):
        RandomView(**{name: value})


def test_a_hue_turns_by_half_a_circle_at_most() -> None:
    with pytest.raises(ValueError, match=r"hue must be at most 0\.5, .* got 9"):
        RandomView(hue=9.0)


def test_a_fill_is_known_before_it_is_drawn() -> None:
    with pytest.raises(ValueError, match=r"fill must be one of black, .* got 'foo'"):
        RandomView(fill="foo", occlusion=0.0)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_faces_are_bytes_or_floats(dtype, unchecked) -> None:
    with pytest.raises(ValueError, match=f"uint8 from 0 to 255, or floats .* got {dtype}; convert"):
        unchecked(as_float)(torch.ones(1, 3, 8, 8, dtype=dtype))


@pytest.mark.parametrize("shape", [(20, 20), (3, 20, 20), (2, 20, 20, 3), (2, 4, 20, 20)])
def test_faces_have_four_axes_and_one_or_three_channels(shape, unchecked) -> None:
    with pytest.raises(ValueError, match=r"faces must be .* got shape .* missing axis"):
        unchecked(as_float)(torch.zeros(shape))
