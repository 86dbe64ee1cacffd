"""Closed forms of every measure."""

import math
from typing import NamedTuple

import pytest
import torch
from scipy import stats
from scipy.ndimage import gaussian_filter
from torch import nn

from occfer.saliency import (
    area,
    centred_map,
    deletion,
    insertion,
    occluder_ratio,
    part_masks,
    part_shares,
    random_map,
    rank_correlation,
)


def chance() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def covered() -> torch.Tensor:
    """A quarter, a tenth and nothing of three faces of 20 x 20."""
    masks = torch.zeros(3, 20, 20, dtype=torch.bool)
    masks[0, :10, :10] = True
    masks[1, 5:7] = True
    return masks


def test_a_uniform_map_has_ratio_one(covered) -> None:
    ratio = occluder_ratio(torch.full((3, 20, 20), 0.3), covered)
    assert ratio[:2].tolist() == pytest.approx([1, 1])
    assert ratio[2].isnan()


def test_a_map_on_the_occluder_has_one_over_its_share_and_beside_it_zero(covered) -> None:
    assert occluder_ratio(covered.float(), covered)[:2].tolist() == pytest.approx([4, 10])
    assert occluder_ratio((~covered).float(), covered)[:2].tolist() == [0, 0]
    assert occluder_ratio(torch.zeros(3, 20, 20), covered).isnan().all()


class Said(NamedTuple):
    logits: torch.Tensor


class Planted(nn.Module):
    """Certain of class 1 while a given square of 4 x 4 pixels is bright; else of class 0."""

    def forward(self, images: torch.Tensor) -> Said:
        bright = images[:, 0, 2:6, 2:6].mean(dim=(1, 2))
        return Said(torch.stack([torch.zeros_like(bright), 100 * (bright - 0.9)], dim=1))


@pytest.fixture
def planted() -> tuple[torch.Tensor, torch.Tensor]:
    """Two faces of 20 x 20 whose square is bright, and the map that knows it."""
    images = torch.zeros(2, 1, 20, 20)
    images[:, :, 2:6, 2:6] = 1
    return images, images[:, 0].clone()


def test_deletion_and_insertion_of_a_planted_model(planted) -> None:
    """The square is 4 % of the face: 25 steps of 4 % take it away, or bring it, with the first."""
    images, saliency = planted
    options = dict(classes=torch.ones(2, dtype=torch.int64), steps=25)
    down = deletion(Planted(), images, saliency, generator=chance(), **options)
    assert down.shape == (2, 26)
    torch.testing.assert_close(down, torch.tensor([[1.0] + [0.0] * 25] * 2), atol=1e-3, rtol=0)
    assert area(down).tolist() == pytest.approx([0.02, 0.02], abs=1e-3)
    up = insertion(Planted(), images, saliency, generator=chance(), **options)
    torch.testing.assert_close(up, torch.tensor([[0.0] + [1.0] * 25] * 2), atol=1e-3, rtol=0)
    assert area(up).tolist() == pytest.approx([0.98, 0.98], abs=1e-3)
    worst = deletion(Planted(), images, -saliency, generator=chance(), **options)
    assert area(worst).tolist() == pytest.approx([0.98, 0.98], abs=1e-3)


def test_equal_saliency_goes_in_random_order(planted) -> None:
    """With a constant map each face loses its square little by little, each in its own way."""
    images, saliency = planted

    class Left(nn.Module):
        def forward(self, images: torch.Tensor) -> Said:
            bright = images[:, 0, 2:6, 2:6].mean(dim=(1, 2))
            return Said(torch.stack([(1 - bright).log(), bright.log()], dim=1).clamp(min=-50))

    constant = torch.ones_like(saliency)
    curves = deletion(Left(), images, constant, torch.tensor([1, 1]), chance(), steps=4)
    assert not torch.equal(curves[0], curves[1])
    assert (curves.diff(dim=1) < 0).all()
    # What it says is how bright the square is: 1 at first, and in the end 4 %, as all of the face.
    torch.testing.assert_close(curves[:, [0, -1]], torch.tensor([[1, 0.04]] * 2))
    again = deletion(Left(), images, constant, torch.tensor([1, 1]), chance(), steps=4)
    assert torch.equal(curves, again)


@pytest.mark.parametrize("measure", [deletion, insertion])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_map_that_ranks_nothing_is_refused(pictures, measure, value) -> None:
    saliency = pictures(2, 8, 8)
    saliency[1, 3, 4] = value
    with pytest.raises(ValueError, match="must be finite"):
        measure(Witness(), pictures(2, 3, 8, 8), saliency, torch.tensor([0, 1]), chance())


class Witness(nn.Module):
    """Keeps what it is shown, and says the same of everything."""

    def __init__(self):
        super().__init__()
        self.shown: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> Said:
        assert not self.training
        self.shown.append(images)
        return Said(torch.zeros(len(images), 7))


@pytest.mark.parametrize("training", [False, True])
def test_what_the_network_is_shown_from_the_first_picture_to_the_last(pictures, training) -> None:
    """Each face loses its pixels to its own mean colour, or gets them back into its own blur."""
    images, saliency = pictures(2, 3, 40, 40), pictures(2, 40, 40, seed=1)
    shown = {}
    for measure in (deletion, insertion):
        witness = Witness().train(training)
        measure(witness, images, saliency, torch.tensor([1, 2]), chance(), steps=4)
        assert witness.training == training
        shown[measure] = torch.stack(witness.shown)
    # Every picture is made of the first and the last; a quarter of the pixels changes at a time.
    for pixels in shown.values():
        new = (pixels == pixels[-1]).all(dim=2)
        assert new.float().mean(dim=(2, 3)).tolist() == [[n / 4] * 2 for n in range(5)]
        assert torch.equal(pixels, torch.where(new[:, :, None], pixels[-1], pixels[0]))
    assert torch.equal(shown[deletion][0], images)
    assert torch.equal(shown[insertion][-1], images)
    for face, empty, blurred in zip(images, shown[deletion][-1], shown[insertion][0], strict=True):
        for channel, colour, soft in zip(face, empty, blurred, strict=True):
            torch.testing.assert_close(colour, channel.mean().expand(40, 40))
            expected = gaussian_filter(channel.numpy(), sigma=4, truncate=2, mode="mirror")
            torch.testing.assert_close(soft, torch.from_numpy(expected), atol=1e-5, rtol=0)


def test_area_is_the_mean_height() -> None:
    curves = torch.tensor([[1.0, 1, 1, 1, 1], [1, 0.75, 0.5, 0.25, 0], [0, 1, 0, 1, 0]])
    assert area(curves).tolist() == pytest.approx([1, 0.5, 0.5])


def test_controls() -> None:
    like = torch.zeros(2, 20, 30)
    middle = centred_map(like)
    torch.testing.assert_close(middle, middle.flip(1, 2))
    assert middle[0, 10, 15] > middle[0, 10, 20] > middle[0, 0, 20] > middle[0, 0, 0] > 0
    # The logarithm of a Gaussian is a parabola whose curvature is 1 / σ², here of 5 and 7.5 pixels.
    for dim, sigma in ((0, 5), (1, 7.5)):
        bend = middle[0].double().log().diff(n=2, dim=dim)
        torch.testing.assert_close(bend, torch.full_like(bend, -1 / sigma**2), atol=1e-5, rtol=0)
    drawn = random_map(like, chance())
    assert drawn.shape == like.shape
    assert torch.equal(drawn, random_map(like, chance()))


LANDMARKS = torch.tensor([[40.0, 50], [72, 50], [56, 68], [44, 84], [68, 84]])


def test_every_pixel_belongs_to_one_part() -> None:
    masks = part_masks(torch.stack([LANDMARKS, LANDMARKS + 8]), 112, 112)
    assert (masks.sum(dim=1) == 1).all()
    for (x, y), part in zip(LANDMARKS.int().tolist(), (1, 1, 2, 3, 3), strict=True):
        assert masks[0, part, y, x]
    assert masks[0, 0, 38, 40]
    # The parts move with the face.
    assert torch.equal(masks[0, 3, :-8, :-8], masks[1, 3, 8:, 8:])


def test_the_boxes_of_a_face_whose_eyes_are_100_pixels_apart() -> None:
    """Two brows of 90 x 35 and eyes of 70 x 40; a nose of 60 x 85 of which the eyes keep twice
    15 x 20; a mouth of 130 x 70 of which the nose keeps 60 x 10."""
    face = torch.tensor([[100.0, 100], [200, 100], [150, 160], [110, 210], [190, 210]])
    *parts, rest = part_masks(face[None], 300, 300)[0].sum(dim=(1, 2)).tolist()
    assert parts == [6300, 5600, 5100 - 600, 9100 - 600]
    assert rest == 300 * 300 - sum(parts)


def test_a_mirrored_face_has_mirrored_parts() -> None:
    """Of a head that is tilted, so that left and right differ."""
    tilt = torch.tensor([[0.3, 4.1], [0.3, -3.2], [1.3, 0.2], [0.4, 3.3], [0.2, -2.4]])
    face = LANDMARKS + tilt
    mirrored = torch.stack([111 - face[:, 0], face[:, 1]], dim=1)[[1, 0, 2, 4, 3]]
    one, other = part_masks(torch.stack([face, mirrored]), 112, 112)
    assert torch.equal(one, other.flip(-1))


def test_shares_sum_to_one_and_find_a_planted_part() -> None:
    masks = part_masks(LANDMARKS[None], 112, 112)
    constant = part_shares(torch.full((1, 112, 112), 0.2), masks)
    torch.testing.assert_close(constant, masks.float().mean(dim=(2, 3)))
    assert constant.sum().item() == pytest.approx(1)
    for part in range(5):
        found = part_shares(masks[:, part].float(), masks)[0]
        assert found.tolist() == [float(part == other) for other in range(5)]
    assert part_shares(torch.zeros(1, 112, 112), masks).isnan().all()


def test_rank_correlation_against_scipy() -> None:
    first, second = (
        random_map(torch.zeros(3, 6, 7), chance()),
        torch.rand(3, 6, 7).round(decimals=1),
    )
    second[1] = first[1] ** 3 + 2
    second[2] = -first[2]
    found = rank_correlation(first, second)
    expected = [
        stats.spearmanr(a.flatten(), b.flatten()).statistic
        for a, b in zip(first, second, strict=True)
    ]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)
    assert found[1:].tolist() == pytest.approx([1, -1])
    assert rank_correlation(first, torch.ones_like(first)).isnan().all()
