import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from occfer.occlusion import ITEMS, draw_variation, wear
from occfer.occlusion.fitting import canonical_landmarks, fit_head
from occfer.randomness import generator_for

MASKS = ("surgical_mask", "n95", "cloth_mask")
seeds = st.integers(0, 2**31)
items = st.sampled_from(list(ITEMS))


def face_at(height: int, width: int, batch: int = 1) -> torch.Tensor:
    """Landmarks of a face that looks at the viewer and fills the picture."""
    unit = min(height, width) / 3.2
    points = torch.tensor([[-0.5, 0], [0.5, 0], [0, 0.61], [-0.42, 1.12], [0.42, 1.12]])
    centre = torch.tensor([width / 2, height * 0.36])
    return (points * unit + centre).expand(batch, -1, -1).clone()


def turned_head(yaw: float, pitch: float, roll: float, scale=30.0) -> torch.Tensor:
    """Landmarks of the canonical head in a known pose, by rotation matrices."""
    yaw, pitch, roll = map(math.radians, (yaw, pitch, roll))
    points = torch.tensor(
        [[-0.5, 0, 0], [0.5, 0, 0], [0, 0.61, 0.54], [-0.43, 1.12, 0.08], [0.43, 1.12, 0.08]]
    ).double()
    nod = [[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]]
    turn = [[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]]
    tilt = [[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]]
    rotation = (
        torch.tensor(tilt).double() @ torch.tensor(turn).double() @ torch.tensor(nod).double()
    )
    return ((points @ rotation.T)[:, :2] * scale + torch.tensor([56, 40]))[None]


def at(mask: torch.Tensor, point: torch.Tensor) -> bool:
    x, y = point.round().long().tolist()
    return bool(mask[y, x])


# The fit


@given(
    yaw=st.floats(-45, 45), roll=st.floats(-60, 60), scale=st.floats(8, 200), x=st.floats(-50, 150)
)
def test_yaw_is_read_off_the_landmarks_whatever_roll_size_and_place(yaw, roll, scale, x) -> None:
    head = fit_head(turned_head(yaw, 0, roll, scale) + x)
    assert math.degrees(head.yaw) == pytest.approx(yaw, abs=0.01)
    assert math.degrees(head.pitch) == pytest.approx(0, abs=0.01)
    assert head.scale.item() == pytest.approx(scale, rel=1e-3)


@given(yaw=st.floats(-30, 30), pitch=st.floats(-15, 15), roll=st.floats(-40, 40))
def test_eyes_nose_and_mouth_of_the_model_come_to_lie_on_the_face_s(yaw, pitch, roll) -> None:
    landmarks = turned_head(yaw, pitch, roll)
    fitted = fit_head(landmarks).project(canonical_landmarks())[0]
    measured = torch.cat([landmarks[0, :3], landmarks[0, 3:].mean(dim=0, keepdim=True)])
    # In eye distances of 30 pixels.
    assert (fitted - measured).norm(dim=1).max() / 30 < 0.15


@given(yaw=st.floats(-45, 45), roll=st.floats(-60, 60))
def test_what_stands_out_in_front_of_a_face_turns_with_it(yaw, roll) -> None:
    landmarks = turned_head(yaw, 0, roll)
    peak = fit_head(landmarks).project(torch.tensor([[0.0, 0.0, 1.0]]))[0, 0]
    yaw, roll = math.radians(yaw), math.radians(roll)
    ahead = torch.tensor([math.cos(roll), math.sin(roll)]) * math.sin(yaw) * 30
    assert torch.allclose(peak.float(), ahead + torch.tensor([56.0, 40.0]), atol=0.05)


def test_yaw_agrees_with_the_known_poses_of_rendered_people(synthfer_test) -> None:
    truth = synthfer_test.extras["pose"][:, 0]
    found = fit_head(synthfer_test.landmarks).yaw.rad2deg()
    assert (found - truth).abs().mean() < 4
    assert torch.corrcoef(torch.stack([found, truth]))[0, 1] > 0.95


def test_what_has_turned_away_stops_at_the_outline_of_the_head() -> None:
    head = fit_head(turned_head(30, 0, 0))
    around = torch.stack(
        [torch.linspace(-180, 180, 73), torch.full((73,), 0.3), torch.zeros(73)], 1
    )
    reached = head.wrap(around)[0, :, 0]
    outline = head.outline(steps=200)[0]
    level = outline[(outline[:, 1] - head.wrap(around)[0, 36, 1]).abs() < 1.5, 0]
    assert reached.max() <= level.max() + 0.5
    assert reached.min() >= level.min() - 0.5


# The mask


@pytest.mark.parametrize("item", ITEMS)
@pytest.mark.parametrize(
    ("channels", "height", "width"), [(3, 112, 112), (1, 48, 48), (3, 100, 80), (1, 61, 90)]
)
def test_without_shadows_the_mask_is_where_pixels_changed(
    pictures, item, channels, height, width
) -> None:
    # Random pixels of 24 bits: none equals the paint over it by accident.
    faces = pictures(2, channels, height, width).double()
    before = faces.clone()
    covered, mask = wear(faces, face_at(height, width, 2), item, generator_for(1), shadows=False)
    assert torch.equal(faces, before)
    assert mask.dtype == torch.bool
    assert torch.equal((covered != faces).any(dim=1), mask)
    assert 0.01 < mask.double().mean() < 0.7
    assert covered.min() >= 0
    assert covered.max() <= 1


@pytest.mark.parametrize("item", ITEMS)
def test_shadows_only_darken_and_only_what_is_bare(pictures, item) -> None:
    faces = pictures(2, 3, 64, 64)
    flat, mask = wear(faces, face_at(64, 64, 2), item, generator_for(2), shadows=False)
    shaded, same = wear(faces, face_at(64, 64, 2), item, generator_for(2))
    assert torch.equal(mask, same)
    assert (shaded <= flat + 1e-6).all()
    assert (shaded < faces - 1e-3)[~mask[:, None].expand_as(faces)].any()


@pytest.mark.parametrize("item", ["sunglasses", *MASKS])
@pytest.mark.parametrize("yaw", [-30, -15, 0, 15, 30])
@pytest.mark.parametrize("roll", [-25, 0, 25])
def test_on_turned_heads_too_the_landmarks_that_it_is_for_are_covered(item, yaw, roll) -> None:
    landmarks = turned_head(yaw, 0, roll).float()
    points = landmarks[0, :2] if item == "sunglasses" else landmarks[0, 2:]
    bare = landmarks[0, 3:] if item == "sunglasses" else landmarks[0, :2]
    for seed in range(3):
        _, mask = wear(torch.full((1, 3, 112, 112), 0.5), landmarks, item, generator_for(seed))
        assert all(at(mask[0], point) for point in points)
        assert not any(at(mask[0], point) for point in bare)


@pytest.mark.slow
@pytest.mark.parametrize("item", ["sunglasses", *MASKS])
def test_on_rendered_people_the_landmarks_that_it_is_for_are_covered(synthfer_test, item) -> None:
    chosen = synthfer_test[:64]
    faces, landmarks = chosen.images.float() / 255, chosen.landmarks
    _, mask = wear(faces, landmarks, item, generator_for(0))
    points = landmarks[:, :2] if item == "sunglasses" else landmarks[:, 2:]
    x, y = points.round().long().clamp(0, 47).unbind(dim=2)
    hit = mask[torch.arange(len(mask))[:, None], y, x]
    # A smirk may leave one corner of a mouth beside a narrow mask.
    assert hit.float().mean() > 0.97


@given(item=items, seed=seeds)
@settings(max_examples=12)
def test_clear_glasses_leave_the_eyes_in_sight_and_nothing_hides_a_whole_face(item, seed) -> None:
    landmarks = face_at(64, 64)
    _, mask = wear(torch.full((1, 3, 64, 64), 0.5), landmarks, item, generator_for(seed))
    assert mask.double().mean() < 0.7
    _, frames = wear(torch.full((1, 3, 64, 64), 0.5), landmarks, "glasses", generator_for(seed))
    assert frames.double().mean() < 0.25
    assert not any(at(frames[0], eye) for eye in landmarks[0, :2])


# Chance


@pytest.mark.parametrize("item", ITEMS)
def test_a_face_s_item_does_not_depend_on_its_neighbours(pictures, item) -> None:
    faces, landmarks = pictures(3, 3, 48, 48).double(), face_at(48, 48, 3).double()
    landmarks += torch.rand(3, 5, 2, generator=generator_for(4))
    variation = draw_variation(3, generator_for(5))
    together, masks = wear(faces, landmarks, item, variation=variation)
    for row in (0, 2):
        one = slice(row, row + 1)
        alone, mask = wear(faces[one], landmarks[one], item, variation=variation[one])
        torch.testing.assert_close(alone, together[one], rtol=0, atol=1e-9)
        assert torch.equal(mask, masks[one])


@given(item=items, seed=seeds)
@settings(max_examples=8)
@pytest.mark.usefixtures("global_chance")
def test_the_same_generator_state_dresses_alike(pictures, item, seed) -> None:
    faces = pictures(2, 1, 40, 40)
    first, mask = wear(faces, face_at(40, 40, 2), item, generator_for(seed))
    again, same = wear(faces, face_at(40, 40, 2), item, generator_for(seed))
    assert torch.equal(first, again)
    assert torch.equal(mask, same)


def test_items_come_in_many_looks(pictures) -> None:
    faces = torch.full((12, 3, 48, 48), 0.5)
    for item in ITEMS:
        covered, _ = wear(faces, face_at(48, 48, 12), item, generator_for(0))
        different = (covered[1:] - covered[:-1]).abs().amax(dim=(1, 2, 3))
        assert (different > 0.02).all()


# Light


def test_a_grey_picture_gets_a_grey_item(pictures) -> None:
    grey = pictures(4, 1, 48, 48).expand(-1, 3, -1, -1)
    for item in ITEMS:
        covered, _ = wear(grey, face_at(48, 48, 4), item, generator_for(0))
        assert (covered.amax(dim=1) - covered.amin(dim=1)).max() < 1e-5
    coloured, mask = wear(pictures(4, 3, 48, 48), face_at(48, 48, 4), "scarf", generator_for(0))
    assert (coloured.amax(dim=1) - coloured.amin(dim=1))[mask].max() > 0.1


def test_an_item_is_brighter_on_the_side_the_light_comes_from() -> None:
    ramp = torch.linspace(0.9, 0.2, 64).expand(1, 3, 64, 64)
    for flip in (False, True):
        face = ramp.flip(-1) if flip else ramp
        covered, mask = wear(face, face_at(64, 64), "surgical_mask", generator_for(3))
        luma = covered.mean(dim=1)[0].where(mask[0], torch.nan)
        left, right = luma[:, :32].nanmean(), luma[:, 32:].nanmean()
        assert (right > 1.2 * left) if flip else (left > 1.2 * right)


def test_a_dark_picture_gets_a_dark_item(pictures) -> None:
    bright = 0.3 + 0.6 * pictures(2, 3, 48, 48)
    levels = []
    for factor in (1.0, 0.3):
        covered, mask = wear(bright * factor, face_at(48, 48, 2), "n95", generator_for(0))
        levels.append(covered.mean(dim=1)[mask].mean())
    assert levels[1] < 0.75 * levels[0]


# What cannot be dressed


def test_landmarks_may_lie_outside_of_the_picture(pictures) -> None:
    faces = pictures(2, 3, 48, 48)
    for shift in (-30.0, 30.0, 500.0):
        for item in ITEMS:
            covered, mask = wear(faces, face_at(48, 48, 2) + shift, item, generator_for(0))
            assert covered.isfinite().all()
            assert not (shift == 500 and mask.any())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_missing_landmarks_are_named_in_one_sentence(pictures, bad) -> None:
    landmarks = face_at(48, 48, 3)
    landmarks[1, 4, 0] = bad
    with pytest.raises(ValueError, match=r"1 of 3 faces lack some \(the first is face 1\); detect"):
        wear(pictures(3, 3, 48, 48), landmarks)


def test_eyes_on_top_of_each_other_are_refused(pictures) -> None:
    landmarks = face_at(48, 48, 2)
    landmarks[1, 1] = landmarks[1, 0] + 1
    with pytest.raises(ValueError, match=r"at least 2 pixels apart, but those of face 1 are 1\.41"):
        wear(pictures(2, 3, 48, 48), landmarks)


@pytest.mark.parametrize(
    "points",
    [
        [[10, 20], [30, 20], [20, 20], [15, 20], [25, 20]],
        [[10, 10], [30, 30], [20, 20], [15, 15], [25, 25]],
        [[10, 20.5], [31, 10.2], [20, 15.59524], [20, 15.59524], [20, 15.59524]],
    ],
)
def test_landmarks_on_one_line_are_refused(pictures, points) -> None:
    landmarks = face_at(48, 48, 3)
    landmarks[2] = torch.tensor(points)
    with pytest.raises(ValueError, match=r"must not lie on one line, but those of face 2 do"):
        wear(pictures(3, 3, 48, 48), landmarks)


@pytest.mark.parametrize("turns", range(4))
def test_left_and_right_exchanged_are_refused_however_the_picture_is_turned(
    pictures, turns: int
) -> None:
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]]).matrix_power(turns)
    sound = (face_at(48, 48, 3) - 24) @ turn + 24
    wear(pictures(3, 3, 48, 48), sound)
    swapped = sound[:, [1, 0, 2, 4, 3]]
    wear(pictures(3, 3, 48, 48), torch.cat([sound[:2], swapped[2:]]))  # one may be found wrongly
    with pytest.raises(ValueError, match=r"but 2 of 3 faces .* \(the first is face 1\); swap"):
        wear(pictures(3, 3, 48, 48), torch.cat([sound[:1], swapped[1:]]))


def test_landmarks_out_of_this_world_are_refused(pictures) -> None:
    with pytest.raises(ValueError, match=r"within 1e\+09 pixels .* those of face 0 do not"):
        wear(pictures(1, 3, 48, 48), face_at(48, 48) * 1e20)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, 1.1])
def test_a_variation_that_nobody_draws_is_refused(pictures, bad) -> None:
    variation = draw_variation(2, generator_for(0))
    variation[1, 3] = bad
    with pytest.raises(ValueError, match=r"variation must lie in \[0, 1\]"):
        wear(pictures(2, 3, 48, 48), face_at(48, 48, 2), variation=variation)


@pytest.mark.parametrize("item", ITEMS)
def test_no_faces_get_no_items(item) -> None:
    covered, mask = wear(torch.zeros(0, 3, 40, 48), torch.zeros(0, 5, 2), item, generator_for(0))
    assert covered.shape == (0, 3, 40, 48)
    assert mask.shape == (0, 40, 48)


@pytest.mark.parametrize("item", ITEMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_painted_like_single(pictures, item, dtype) -> None:
    faces = pictures(2, 3, 48, 48).to(dtype)
    covered, mask = wear(faces, face_at(48, 48, 2), item, generator_for(3))
    expected, same = wear(faces.float(), face_at(48, 48, 2), item, generator_for(3))
    assert torch.equal(covered, expected.to(dtype))
    assert torch.equal(mask, same)


def test_an_unknown_item_and_other_shapes_are_refused(pictures, unchecked) -> None:
    faces, bare = pictures(2, 3, 24, 24), unchecked(wear)
    with pytest.raises(ValueError, match=r"item must be one of surgical_mask, .*; got 'monocle'"):
        bare(faces, face_at(24, 24, 2), "monocle")
    with pytest.raises(ValueError, match=r"landmarks must be \[2, 5, 2\], .* got \[1, 5, 2\]"):
        bare(faces, face_at(24, 24, 1))
    with pytest.raises(ValueError, match=r"images must be \[batch, 1 or 3 channels"):
        bare(faces[:, :2], face_at(24, 24, 2))
    with pytest.raises(ValueError, match=r"images must be of a floating-point type .*uint8"):
        bare((faces * 255).byte(), face_at(24, 24, 2))
    with pytest.raises(ValueError, match=r"variation must be \[2, 12\], got \[2, 3\]"):
        bare(faces, face_at(24, 24, 2), variation=torch.zeros(2, 3))
