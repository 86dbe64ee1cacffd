"""Area averages by a table of sums are PyTorch's own, to the last bit."""

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from occfer.data.areas import AreaSums


def by_pytorch(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    picture = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float()
    return F.interpolate(picture, size=size, mode="area")[0].permute(1, 2, 0).numpy()


@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.data(),
)
def test_wholes_and_parts_of_any_size(size, wanted, data) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    sums = AreaSums(pixels)
    assert np.array_equal(sums.whole(wanted), by_pytorch(pixels, wanted))
    top, left = (data.draw(st.integers(0, side - 1)) for side in size)
    bottom, right = (
        data.draw(st.integers(start + 1, side))
        for start, side in zip((top, left), size, strict=True)
    )
    boxes = np.array([[left, top, right, bottom], [0, 0, size[1], size[0]]], np.int32)
    part, whole = sums.parts(boxes, (24, 24))
    assert np.array_equal(part, by_pytorch(pixels[top:bottom, left:right], (24, 24)))
    assert np.array_equal(whole, by_pytorch(pixels, (24, 24)))


@given(st.integers(1, 60), st.integers(1, 60))
def test_a_single_pixel(height, width) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    assert np.array_equal(AreaSums(pixels).whole((1, 1)), by_pytorch(pixels, (1, 1)))


def test_sums_beyond_32_bits_are_still_right() -> None:
    pixels = np.full((3000, 3000, 3), 255, np.uint8)
    pixels[2990:] = 7
    sums = AreaSums(pixels)
    assert (sums.whole((10, 10))[:9] == 255).all()
    assert (sums.parts(np.array([[2900, 2990, 3000, 3000]], np.int32), (2, 2)) == 7).all()


def test_no_boxes_are_no_parts() -> None:
    sums = AreaSums(np.zeros((4, 5, 3), np.uint8))
    assert sums.parts(np.zeros((0, 4), np.int32), (24, 24)).shape == (0, 24, 24, 3)
