import math
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from occfer.regions import five_regions, region_boxes, resampling_matrix

CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")


def resized(part: Tensor, size: int) -> Tensor:
    """PyTorch's own resampling: its filter widens where, and only where, it shrinks."""
    shrinks = min(part.shape[-2:]) > size
    return F.interpolate(
        part, (size, size), mode="bilinear", align_corners=False, antialias=shrinks
    )


def sliced(images: Tensor, corner: float, centre: float) -> list[Tensor]:
    """The five parts of (2), where they fall on whole pixels."""
    height, width = images.shape[-2:]
    h, w = round(corner * height), round(corner * width)
    ch, cw = round(centre * height), round(centre * width)
    top, left = (height - ch) // 2, (width - cw) // 2
    assert abs(h - corner * height) + abs(w - corner * width) < 1e-9, "choose whole pixels"
    assert abs((height - centre * height) / 2 - top) < 1e-9, "choose whole pixels"
    assert abs((width - centre * width) / 2 - left) < 1e-9, "choose whole pixels"
    return [
        images[..., :h, :w],
        images[..., :h, width - w :],
        images[..., height - h :, :w],
        images[..., height - h :, width - w :],
        images[..., top : top + ch, left : left + cw],
    ]


@pytest.mark.parametrize("size", [7, 24, 30, 34, 48, 112])
@pytest.mark.parametrize("shape", [(40, 40), (40, 80), (120, 40)])
def test_the_paper_s_boxes_are_slices_resized(pictures, shape, size) -> None:
    images = pictures(2, 3, *shape).double()
    found = five_regions(images, size)
    assert found.shape == (2, 5, 3, size, size)
    parts = sliced(images, 0.75, 0.85)
    # A side that shrinks beside one that grows is the reference sampler's business, below.
    for number, part in enumerate(parts):
        if (part.shape[-2] > size) == (part.shape[-1] > size):
            torch.testing.assert_close(found[:, number], resized(part, size))


@given(quarter=st.integers(1, 12), seed=st.integers(0, 2**31))
def test_boxes_of_their_own_size_are_plain_slices(pictures, quarter, seed) -> None:
    """A region as large as its output needs no resampling at all."""
    images = pictures(1, 2, 4 * quarter, 4 * quarter, seed=seed)
    found = five_regions(images, 2 * quarter, corner=0.5, centre=0.5)
    for number, part in enumerate(sliced(images, 0.5, 0.5)):
        torch.testing.assert_close(found[:, number], part, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [12, 24, 36])
def test_shares_of_the_area_are_square_roots_of_the_side(pictures, size) -> None:
    images = pictures(2, 3, 48, 48)
    by_area = five_regions(images, size, corner=0.75**2, centre=0.5**2, share="area")
    for number, part in enumerate(sliced(images, 0.75, 0.5)):
        expected = resized(part, size)
        torch.testing.assert_close(by_area[:, number], expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize(("share", "power"), [("side", 2), ("area", 1)])
def test_boxes_cover_what_the_paper_says(share, power) -> None:
    boxes = region_boxes(share=share)
    covered = boxes[:, 2] * boxes[:, 3]
    assert covered.tolist() == pytest.approx([0.75**power] * 4 + [0.85**power])
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= 1 + 1e-12).all()
    # The centre is in the middle; opposite corners touch opposite borders.
    assert (2 * boxes[4, :2] + boxes[4, 2:]).tolist() == pytest.approx([1, 1])
    assert (boxes[3, :2] + boxes[3, 2:]).tolist() == pytest.approx([1, 1])


# Boxes between pixels


def sampled(line: np.ndarray, start: float, extent: float, size: int) -> np.ndarray:
    """Straight from the definition, in float64: one sample after the other.

    Growing: linear interpolation between the centres of the pixels inside of the box, constant
    beyond them. Shrinking: the mean of those pixels under a triangle as wide as two samples.
    """
    inside = [i for i in range(len(line)) if start < i + 0.5 < start + extent]
    step = extent / size
    places = [start + (n + 0.5) * step for n in range(size)]
    if step <= 1:
        return np.interp(places, [i + 0.5 for i in inside], line[inside])
    found = []
    for place in places:
        weight = {i: 1 - abs(i + 0.5 - place) / step for i in inside}
        weight = {i: w for i, w in weight.items() if w > 0}
        found.append(sum(w * line[i] for i, w in weight.items()) / sum(weight.values()))
    return np.array(found)


@given(
    height=st.integers(4, 30),
    width=st.integers(4, 30),
    size=st.integers(1, 40),
    corner=st.floats(0.5, 1),
    centre=st.floats(0.5, 1),
    share=st.sampled_from(["side", "area"]),
    seed=st.integers(0, 2**31),
)
def test_boxes_between_pixels_follow_the_definition(
    pictures, height, width, size, corner, centre, share, seed
) -> None:
    picture = pictures(1, 1, height, width, seed=seed).double()
    found = five_regions(picture, size, corner=corner, centre=centre, share=share)[0, :, 0]
    root = math.sqrt if share == "area" else float
    c, m = root(corner), root(centre)
    places = [(0, 0, c), (0, 1 - c, c), (1 - c, 0, c), (1 - c, 1 - c, c)]
    places.append(((1 - m) / 2, (1 - m) / 2, m))
    for region, (top, left, side) in zip(found, places, strict=True):
        rows = np.apply_along_axis(
            sampled, 1, picture[0, 0].numpy(), left * width, side * width, size
        )
        expected = np.apply_along_axis(sampled, 0, rows, top * height, side * height, size)
        np.testing.assert_allclose(region.numpy(), expected, atol=1e-9)


@given(
    length=st.integers(2, 60),
    size=st.integers(1, 60),
    start=st.floats(0, 0.4),
    extent=st.floats(0.5, 0.6),
)
def test_every_sample_is_an_average(length, size, start, extent) -> None:
    matrix = resampling_matrix(start * length, extent * length, length, size)
    assert matrix.shape == (size, length)
    assert (matrix >= 0).all()
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(size, dtype=torch.float64))


# Invariants


@given(
    value=st.floats(0, 1),
    height=st.integers(4, 40),
    width=st.integers(4, 40),
    size=st.integers(1, 50),
    regions=st.sampled_from([1, 4, 5, 6]),
)
def test_a_constant_picture_stays_constant(value, height, width, size, regions) -> None:
    found = five_regions(torch.full((2, 3, height, width), value), size, regions)
    assert found.shape == (2, regions, 3, size, size)
    torch.testing.assert_close(found, torch.full_like(found, value), atol=1e-6, rtol=0)


def test_regions_come_in_the_order_of_reading() -> None:
    """Of four quadrants worth 1, 2, 3 and 4 each corner region shows its own in full."""
    quadrants = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).repeat_interleave(20, 0)
    picture = quadrants.repeat_interleave(20, 1)[None, None]
    found = five_regions(picture, 30)[0, :, 0]
    for number, (row, column) in enumerate([(0, 0), (0, -1), (-1, 0), (-1, -1)]):
        assert found[number, row, column] == pytest.approx(number + 1, abs=1e-5)
        # Two thirds of each side, so 4/9 of the region, belong to its own quadrant.
        own = (found[number] - (number + 1)).abs() < 1e-4
        assert own.double().mean() == pytest.approx(4 / 9)
    assert found[4].mean() == pytest.approx(2.5, abs=1e-5)


def test_other_layouts_leave_out_or_add_regions(pictures) -> None:
    picture = pictures(1, 3, 40, 40)
    five = five_regions(picture, 24)
    whole = five_regions(picture, 24, regions=1)
    torch.testing.assert_close(whole[:, 0], resized(picture, 24), atol=2e-6, rtol=0)
    torch.testing.assert_close(five_regions(picture, 24, regions=4), five[:, :4])
    torch.testing.assert_close(
        five_regions(picture, 24, regions=6), torch.cat([five, whole], dim=1)
    )


@given(seed=st.integers(0, 2**31), size=st.integers(2, 40))
def test_a_mirrored_face_has_mirrored_regions(pictures, seed, size) -> None:
    picture = pictures(1, 3, 23, 31, seed=seed)
    found = five_regions(picture, size)
    mirrored = five_regions(picture.flip(-1), size).flip(-1)
    torch.testing.assert_close(mirrored[:, [1, 0, 3, 2, 4]], found, atol=1e-6, rtol=0)


@given(seed=st.integers(0, 2**31))
def test_cutting_is_linear_and_keeps_faces_apart(pictures, seed) -> None:
    a, b = pictures(3, 2, 20, 24, seed=seed), pictures(3, 2, 20, 24, seed=seed + 1)
    together = five_regions(2 * a - 0.5 * b, 16)
    torch.testing.assert_close(together, 2 * five_regions(a, 16) - 0.5 * five_regions(b, 16))
    alone = torch.cat([five_regions(face[None], 16) for face in a])
    torch.testing.assert_close(five_regions(a, 16), alone)


def test_gradients_reach_every_pixel(pictures) -> None:
    image = pictures(1, 1, 6, 7).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: five_regions(x, 5), (image,))
    five_regions(image, 5).sum().backward()
    assert (image.grad > 0).all()


def test_gradients_flow_after_the_same_shape_was_seen_in_inference_mode(pictures) -> None:
    image = pictures(1, 1, 37, 41)
    with torch.inference_mode():
        five_regions(image, 13)
    image.requires_grad_()
    five_regions(image, 13).sum().backward()
    assert (image.grad > 0).all()


@pytest.mark.parametrize("size", [13, 60])
def test_an_exported_cut_is_the_cut(pictures, size) -> None:
    class Cut(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return five_regions(images, size)

    images = pictures(2, 3, 37, 41)
    here = five_regions(images, size)
    exported = torch.export.export(Cut(), (images,), strict=False).module()
    torch.testing.assert_close(exported(images), here, atol=1e-6, rtol=0)


COMPILED = """
import torch
from occfer import five_regions
cut = lambda images: five_regions(images, 13)
images = torch.rand(2, 3, 37, 41)
compiled = torch.compile(cut, backend="eager", fullgraph=True)
torch.testing.assert_close(compiled(images), cut(images), atol=1e-6, rtol=0)
"""


@pytest.mark.slow
def test_a_compiler_sees_one_graph() -> None:
    """In a process of its own: the checks of shapes in this one break a graph in many places."""
    run = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]


def test_regions_lie_one_behind_the_other_as_a_backbone_takes_them(pictures) -> None:
    regions = five_regions(pictures(2, 3, 20, 20), 24)
    assert regions.flatten(0, 1).data_ptr() == regions.data_ptr()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_type_of_the_pixels_is_kept(pictures, dtype) -> None:
    picture = pictures(1, 3, 40, 40)
    found = five_regions(picture.to(dtype), 24)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), five_regions(picture, 24), atol=1e-2, rtol=0)


def test_autocast_leaves_the_pixels_alone(pictures) -> None:
    images = pictures(2, 3, 48, 48)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = five_regions(images, 32)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, five_regions(images, 32))


# Errors


def test_bytes_are_no_pixels_to_average(unchecked) -> None:
    with pytest.raises(ValueError, match=r"floating-point type .* got torch.uint8; divide bytes"):
        unchecked(five_regions)(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), 8)


@pytest.mark.parametrize("regions", [0, 2, 3, 7])
def test_only_known_layouts_are_cut(regions) -> None:
    with pytest.raises(ValueError, match=rf"regions must be one of \[1, 4, 5, 6\], got {regions}"):
        region_boxes(regions)


@pytest.mark.parametrize(("corner", "centre"), [(0, 0.85), (1.1, 0.85), (0.75, 0), (0.75, -1)])
def test_a_region_is_a_part_of_the_picture(corner, centre) -> None:
    with pytest.raises(ValueError, match=r"corner and centre are shares .* in \(0, 1\], got"):
        region_boxes(corner=corner, centre=centre)


def test_a_share_is_one_of_side_or_area(unchecked) -> None:
    with pytest.raises(ValueError, match="share must be 'side' or 'area', got 'volume'"):
        unchecked(region_boxes)(share="volume")


def test_a_region_without_any_pixel_is_refused(pictures) -> None:
    with pytest.raises(ValueError, match="holds no pixel"):
        five_regions(pictures(1, 3, 2, 2), 8, corner=0.2)


def test_the_size_of_a_region_is_positive(pictures) -> None:
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        five_regions(pictures(1, 3, 8, 8), 0)
