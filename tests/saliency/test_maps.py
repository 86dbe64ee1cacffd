"""Maps come back to where their regions were cut; Grad-CAM against a second version."""

import pytest
import torch
import torch.nn.functional as F

from occfer import FGW, PlainClassifier, five_regions
from occfer.randomness import seeded_modules
from occfer.regions import region_boxes
from occfer.saliency import attention_map, bring_back, coarse_random_map, deletion, grad_cam
from occfer.saliency.maps import _require_classes, last_stage

SMALL = dict(width=8, stem="small", size=48)


def fgw(**options) -> FGW:
    with seeded_modules(0):
        return FGW(**SMALL, **options).eval()


def plain(**options) -> PlainClassifier:
    with seeded_modules(0):
        return PlainClassifier(**SMALL, **options).eval()


def test_a_part_that_was_frozen_stays_frozen(pictures) -> None:
    """Also where a map cannot be made."""
    model, images = fgw().train(), pictures(2, 3, 48, 48)
    model.backbone.eval()
    before = {name: module.training for name, module in model.named_modules()}
    classes, chance = torch.zeros(2, dtype=torch.int64), torch.Generator()
    asks = [
        lambda shown: attention_map(model, shown),
        lambda shown: grad_cam(model, shown, classes),
        lambda shown: coarse_random_map(model, shown, chance),
        lambda shown: deletion(model, shown, torch.rand(2, 48, 48), classes, chance, 1),
    ]
    for ask in asks:
        ask(images)
        assert {name: module.training for name, module in model.named_modules()} == before
        handle = model.register_forward_hook(fails)
        with handle, pytest.raises(RuntimeError, match="broken"):
            ask(images)
        assert {name: module.training for name, module in model.named_modules()} == before


def fails(*_) -> None:
    raise RuntimeError("broken")


@pytest.mark.parametrize("share", ["side", "area"])
@pytest.mark.parametrize("regions", [1, 4, 5, 6])
def test_a_constant_map_stays_constant(regions, share) -> None:
    fused = bring_back(torch.full((2, regions, 3, 3), 0.4), 45, 61, share=share)
    torch.testing.assert_close(fused, torch.full((2, 45, 61), 0.4))


def test_a_map_of_the_whole_face_is_interpolated(pictures) -> None:
    maps = pictures(3, 1, 3, 4)
    expected = F.interpolate(maps, (48, 60), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(bring_back(maps, 48, 60), expected)


@pytest.mark.parametrize("region", range(5))
def test_a_planted_peak_lands_on_its_pixel(region) -> None:
    """A bright pixel cut out by region k lies brightest in map k where it lay in the picture."""
    top, left, height, width = (region_boxes()[region] * 40).tolist()
    y, x = int(top + 0.3 * height), int(left + 0.7 * width)
    picture = torch.zeros(1, 1, 40, 40)
    picture[0, 0, y, x] = 1
    cut = five_regions(picture, 30)[:, :, 0]
    alone = torch.zeros_like(cut)
    alone[:, region] = cut[:, region]
    # The average over overlaps would favour pixels that few regions see.
    coverage = sum(bring_back(one_hot(k), 40, 40) > 0 for k in range(5))
    back = bring_back(alone, 40, 40) * coverage
    assert divmod(int(back.argmax()), 40) == (y, x)


def one_hot(region: int) -> torch.Tensor:
    return F.one_hot(torch.tensor(region), 5).float()[None, :, None, None].expand(1, 5, 30, 30)


def test_overlaps_are_averaged_and_the_rest_is_untouched() -> None:
    """Only the top-left region says 1: alone it decides in the corner, elsewhere with others."""
    fused = bring_back(one_hot(0), 40, 40)[0]
    assert fused[0, 0] == 1
    assert fused[20, 20] == pytest.approx(1 / 5)
    assert fused[35:, 35:].max() == 0


def test_pixels_that_no_region_sees_are_0() -> None:
    """Four corners of 40 % leave a cross between them."""
    fused = bring_back(torch.full((1, 4, 2, 2), 0.4), 50, 50, corner=0.4)[0]
    outside = (torch.arange(50) - 24.5).abs() > 5
    torch.testing.assert_close(fused, 0.4 * torch.outer(outside, outside).float())


def test_ramps_come_back_as_ramps() -> None:
    """A linear picture, cut and laid back, is the picture where no region's border is near.

    The filter widens where a map is larger than its box, which bends a ramp by a thousandth.
    """
    ramp = torch.linspace(0, 1, 48).expand(1, 1, 48, 48) + torch.linspace(0, 2, 48)[:, None]
    back = bring_back(five_regions(ramp, 48)[:, :, 0], 48, 48)
    inner = slice(14, 34)
    torch.testing.assert_close(back[0, inner, inner], ramp[0, 0, inner, inner], atol=4e-3, rtol=0)


def test_attention_map_is_the_networks_own_brought_back(pictures) -> None:
    model, images = fgw(share="area").train(), pictures(2, 3, 56, 56)
    found = attention_map(model, images)
    assert model.training
    expected = bring_back(model.eval()(images).attention, 56, 56, share="area")
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, bring_back(model(images).attention, 56, 56))


def by_hooks(model, stage, images, classes, **cut):
    """Grad-CAM one face after the other, straight from its paper."""
    found = []
    for image, label in zip(images, classes.tolist(), strict=True):
        seen = []
        handle = stage.register_forward_hook(lambda _, __, output, seen=seen: seen.append(output))
        logit = model(image[None]).logits[0, label]
        handle.remove()
        (gradient,) = torch.autograd.grad(logit, seen[0])
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        cam = (weights * seen[0]).sum(dim=1).relu().detach()
        found.append(bring_back(cam[None], *image.shape[1:], **cut)[0])
    return torch.stack(found)


@pytest.mark.parametrize(
    ("build", "cut"), [(fgw, {}), (fgw, dict(corner=0.6, share="area")), (plain, {})]
)
def test_grad_cam_against_hooks(build, cut, pictures) -> None:
    model, images, classes = build(**cut), pictures(3, 3, 56, 56), torch.tensor([2, 0, 6])
    stage = (model.backbone if build is fgw else model.encoder.backbone).stages[-1]
    expected = by_hooks(model, stage, images, classes, **cut)
    torch.testing.assert_close(grad_cam(model, images, classes), expected)
    assert expected.max() > 0
    predicted = model(images).logits.argmax(dim=1)
    torch.testing.assert_close(grad_cam(model, images), grad_cam(model, images, predicted))


@pytest.mark.parametrize("backbone", ["vgg16", "densenet121", "mobilenet_v2", "resnet10t"])
def test_grad_cam_of_other_backbones(backbone, pictures) -> None:
    with seeded_modules(1):
        width = None if backbone == "resnet10t" else 16
        model = PlainClassifier(backbone, size=64, width=width).eval()
    images, classes = pictures(2, 3, 64, 64), torch.tensor([1, 4])
    expected = by_hooks(model, model.encoder.backbone.stages[-1], images, classes)
    torch.testing.assert_close(grad_cam(model, images, classes), expected)


def test_grad_cam_leaves_the_network_as_it_was(pictures) -> None:
    model = fgw().train()
    model.head.requires_grad_(False)
    stage = model.backbone.stages[-1]
    kept = {parameter: torch.ones_like(parameter) for parameter in stage.parameters()}
    for parameter, gradient in kept.items():
        parameter.grad = gradient
    required = [parameter.requires_grad for parameter in model.parameters()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.inference_mode(False), torch.no_grad():
        grad_cam(model, pictures(2, 3, 48, 48))
    assert model.training
    assert [parameter.requires_grad for parameter in model.parameters()] == required
    assert all((parameter.grad == 1).all() for parameter in kept)
    assert all(p.grad is None for p in model.parameters() if p not in kept)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not stage._forward_hooks


@pytest.mark.parametrize("wrong", [[0, -1, 2], [0, 1, 7]])
def test_grad_cam_knows_seven_classes(wrong, pictures) -> None:
    with pytest.raises(ValueError, match="one class from 0 to 6 for each of 3 faces, got"):
        grad_cam(plain(), pictures(3, 3, 48, 48), torch.tensor(wrong))


@pytest.mark.parametrize("wrong", [[1], [1, 2], [1, 2, 3, 4]])
def test_grad_cam_needs_a_class_for_each_face(wrong) -> None:
    """As without the checks of shapes that tests run with."""
    with pytest.raises(ValueError, match="one class from 0 to 6 for each of 3 faces, got"):
        _require_classes(torch.tensor(wrong), 3)


def test_without_attention_the_map_is_1_everywhere(pictures) -> None:
    found = attention_map(fgw(attention="none"), pictures(2, 3, 48, 48))
    torch.testing.assert_close(found, torch.ones(2, 48, 48))


@pytest.mark.parametrize(("build", "regions"), [(fgw, 5), (plain, 1)])
def test_a_coarse_map_by_chance_has_one_number_for_each_cell(build, regions, pictures) -> None:
    """It is what 3 x 3 numbers a region make, as many as the last stage has cells here."""
    model, images = build().train(), pictures(3, 3, 96, 96)
    found = coarse_random_map(model, images, torch.Generator().manual_seed(3))
    drawn = torch.rand(3, regions, 3, 3, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(found, bring_back(drawn, 96, 96))
    assert model.training
    assert not last_stage(model)._forward_hooks


def test_no_attention_to_bring_back(pictures) -> None:
    with pytest.raises(ValueError, match="got a PlainClassifier; take grad_cam"):
        attention_map(plain(), pictures(1, 3, 48, 48))
    with pytest.raises(ValueError, match="got a Linear"):
        grad_cam(torch.nn.Linear(2, 2), pictures(1, 3, 48, 48))
