"""Maps of found faces lie on the picture where the faces lie."""

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from occfer.engine.predict import predict
from occfer.fgw import FGW, PlainClassifier
from occfer.saliency import attention_map, on_pictures
from occfer.saliency.pictures import laid_on

SMALL = dict(width=8, stem="small", size=24)


def turned(scale: float, angle: float, shift: tuple[float, float]) -> torch.Tensor:
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    return torch.tensor([[[a, -b, shift[0]], [b, a, shift[1]]]], dtype=torch.float64)


def test_a_map_of_ones_covers_as_much_as_its_face() -> None:
    """The area of a similar square, and each pixel is inside of it or not."""
    matrix = turned(0.5, 0.4, (3.0, -8.0))
    laid = laid_on(torch.ones(1, 20, 20), matrix, 100, 120)
    assert set(laid.unique().tolist()) == {0.0, 1.0}
    assert laid.sum().item() == pytest.approx(20 * 20 / 0.5**2, rel=0.01)


def test_a_map_that_moves_by_whole_pixels_is_copied() -> None:
    maps = torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(0))
    laid = laid_on(maps, turned(1.0, 0.0, (-4.0, -2.0)), 12, 15)
    torch.testing.assert_close(laid[:, 2:8, 4:10], maps)
    laid[:, 2:8, 4:10] = 0
    assert not laid.any()


def test_a_ramp_stays_the_ramp_of_the_place_it_comes_from() -> None:
    """Bilinear resampling keeps linear functions, away from the border."""
    matrix = turned(0.7, -0.3, (5.0, 9.0))
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    laid = laid_on((2 * x + 3 * y)[None], matrix, 50, 60)[0]
    for row, column in ((20, 20), (10, 30), (25, 33)):
        place = matrix[0, :, :2] @ torch.tensor([column, row]).double() + matrix[0, :, 2]
        assert ((place > 1) & (place < 38)).all()
        expected = (2 * place[0] + 3 * place[1]).item()
        assert laid[row, column].item() == pytest.approx(expected, abs=1e-4)


def test_attention_on_a_photograph_is_that_of_the_face() -> None:
    model = FGW(corner=0.6, share="area", **SMALL).eval()
    photograph = np.ascontiguousarray(astronaut()[:300, 80:380])
    found = predict(model, photograph)
    laid = on_pictures(model, found, 300, 300)
    assert laid.shape == (1, 300, 300)
    of_the_face = attention_map(model, found.faces.images / 255)
    for point in found.faces.landmarks[0]:
        column, row = np.round(point).astype(int)
        u, v = found.faces.matrices[0] @ [column, row, 1]
        near = of_the_face[0, int(v) : int(v) + 2, int(u) : int(u) + 2]
        assert near.min() - 1e-5 <= laid[0, row, column] <= near.max() + 1e-5
    assert laid[0, -1, -1] == 0
    cut_out = predict(model, found.faces.images)
    by_plain = predict(PlainClassifier(**SMALL), photograph)
    for without in (cut_out, by_plain):
        with pytest.raises(ValueError, match="need an FGW's prediction on a picture that was"):
            on_pictures(model, without, 300, 300)
