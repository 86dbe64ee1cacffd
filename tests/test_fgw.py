import itertools
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from occfer.fgw import FGW, FGWOutput, PlainClassifier
from occfer.lgds import HEADS, Fusion, LocalGlobalLoss
from occfer.ocl import Encoder
from occfer.randomness import seeded_modules
from occfer.regions import five_regions

SMALL = dict(width=8, stem="small", size=24)


def network(seed: int = 0, **options) -> FGW:
    with seeded_modules(seed):
        return FGW(**{**SMALL, **options})


def wake(model: nn.Module, images: torch.Tensor) -> nn.Module:
    """Give batch normalisation statistics of its own, then evaluation mode."""
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(images)
    return model.eval()


@pytest.mark.parametrize("attention_after", [-1, -2, 0])
@pytest.mark.parametrize("attention", ["shared", "per_region", "none"])
@pytest.mark.parametrize("regions", [1, 4, 5, 6])
def test_all_regions_at_once_are_one_region_at_a_time(
    pictures, regions, attention, attention_after
) -> None:
    images = pictures(3, 3, 32, 36)
    model = network(regions=regions, attention=attention, attention_after=attention_after)
    wake(model, images)
    output = model(images)
    crops = five_regions(images, SMALL["size"], regions)
    stage = attention_after % 4
    for k in range(regions):
        seen = {}

        def weigh(number, features, k=k, seen=seen):
            if number != stage or attention == "none":
                return features
            csa = model.attention.csa[k] if attention == "per_region" else model.attention.csa
            features, maps = csa(features)
            seen["map"] = maps.spatial[:, 0]
            return features

        alone = model.backbone(crops[:, k], after_stage=weigh).mean(dim=(2, 3))
        torch.testing.assert_close(output.features[:, k], alone, atol=1e-5, rtol=1e-5)
        if attention == "none":
            assert (output.attention == 1).all()
        else:
            torch.testing.assert_close(output.attention[:, k], seen["map"], atol=1e-5, rtol=1e-5)
    logits, region_logits = model.head(output.features)
    torch.testing.assert_close(output.logits, logits)
    torch.testing.assert_close(output.region_logits, region_logits)


@pytest.mark.parametrize("fusion", ["concat", "mean"])
def test_the_fused_logits_are_the_mean_of_the_regions_logits(pictures, fusion) -> None:
    output = network(fusion=fusion).eval()(pictures(4, 3, 32, 32))
    torch.testing.assert_close(output.logits, output.region_logits.mean(dim=1))


@pytest.mark.parametrize("fusion", ["concat", "mean"])
def test_they_are_in_mixed_precision_too(pictures, fusion) -> None:
    model, images = network(fusion=fusion).eval(), pictures(4, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(images)
    assert output.logits.dtype == torch.float32
    torch.testing.assert_close(output.logits, output.region_logits.mean(dim=1), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("head", "fusion", "attention", "attention_after"),
    itertools.product(HEADS, get_args(Fusion), ["shared", "per_region", "none"], [-1, -2]),
)
def test_every_combination_learns_from_its_loss(
    pictures, head, fusion, attention, attention_after
) -> None:
    model = network(head=head, fusion=fusion, attention=attention, attention_after=attention_after)
    images, targets = pictures(4, 1, 28, 28), torch.arange(4)
    output = model(images)
    side = {-1: 2, -2: 3}[attention_after]
    assert output.logits.shape == (4, 7)
    assert output.region_logits.shape == (4, 5, 7)
    assert output.features.shape == (4, 5, 64)
    assert output.attention.shape == (4, 5, side, side)
    loss = LocalGlobalLoss(region_ce=head == "separate+ce")(output, targets)
    loss.backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert not missing
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 1e-3 * parameter.grad
    after = LocalGlobalLoss(region_ce=head == "separate+ce")(model(images), targets)
    assert after < loss


@pytest.mark.parametrize("shape", [(1, 24, 24), (3, 24, 24), (3, 31, 57), (1, 100, 40)])
def test_faces_of_any_size_and_either_colour(pictures, shape) -> None:
    output = network().eval()(pictures(2, *shape))
    assert output.features.shape == (2, 5, 64)


def test_grey_is_colour_with_three_equal_channels(pictures) -> None:
    model, grey = network().eval(), pictures(2, 1, 32, 32)
    for one, three in zip(model(grey), model(grey.repeat(1, 3, 1, 1)), strict=True):
        torch.testing.assert_close(one, three)


def test_the_paper_s_network_has_five_maps_of_512_channels_and_4x4_pixels(pictures) -> None:
    output = FGW().eval()(pictures(1, 3, 100, 100))
    assert isinstance(output, FGWOutput)
    assert output.features.shape == (1, 5, 512)
    assert output.attention.shape == (1, 5, 4, 4)
    assert output.logits.shape == (1, 7)
    assert FGW().head.fc.weight.shape == (7, 5 * 512)


@pytest.mark.parametrize("backbone", ["vgg16", "densenet121", "mobilenet_v2", "resnet10t"])
def test_every_backbone_can_be_looked_through(pictures, backbone) -> None:
    width = {} if backbone == "resnet10t" else dict(width=16)
    model = FGW(backbone, size=32, **width).eval()
    output = model(pictures(2, 3, 40, 40))
    assert output.features.shape == (2, 5, model.backbone.channels)
    assert output.attention.shape == (2, 5, 1, 1)


def test_shared_attention_has_one_module_and_per_region_five() -> None:
    def weights(model: nn.Module) -> int:
        return sum(p.numel() for p in model.attention.parameters())

    one = 2 * 64 * 4 + 2 * 49  # two layers 64→4→64, one 7x7 convolution of two maps
    assert weights(network()) == one
    assert weights(network(attention="per_region")) == 5 * one
    assert weights(network(attention="none")) == 0


def test_corner_centre_and_share_reach_the_regions(pictures) -> None:
    images = pictures(2, 3, 40, 40)
    whole = network(corner=1.0, centre=1.0).eval()(images)
    torch.testing.assert_close(whole.features, whole.features[:, :1].expand(-1, 5, -1))
    by_area = network(corner=0.75**2, centre=0.85**2, share="area").eval()(images)
    torch.testing.assert_close(by_area.features, network().eval()(images).features)


# Starting from OCL


def test_both_networks_take_over_an_encoder(pictures) -> None:
    images = pictures(4, 3, 24, 24)
    with seeded_modules(5):
        encoder = Encoder("resnet18", width=8, stem="small")
    wake(encoder, images)
    expected = encoder(images)
    plain = PlainClassifier("resnet18", width=8, stem="small", size=24)
    plain.load_encoder(encoder)
    torch.testing.assert_close(plain.eval().encoder(images), expected)
    torch.testing.assert_close(plain(images).logits, plain.fc(expected))
    # One region that is the whole face, unweighted: then FGW sees what the encoder sees.
    model = network(regions=1, attention="none")
    model.load_encoder(encoder)
    torch.testing.assert_close(model.eval()(images).features[:, 0], expected)


@pytest.mark.parametrize("shape", [(48, 48), (30, 20), (24, 24)])
def test_the_plain_network_sees_the_whole_face_at_its_own_size(pictures, shape) -> None:
    plain = PlainClassifier("resnet18", width=8, stem="small", size=24)
    images = pictures(4, 3, *shape)
    seen = []
    plain.encoder.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    plain(images)
    expected = F.interpolate(images, (24, 24), mode="bilinear", antialias=min(shape) > 24)
    if shape != (30, 20):  # one side shrinks, one grows: only the size is compared
        torch.testing.assert_close(seen[0], expected)
    assert seen[0].shape == expected.shape


@pytest.mark.parametrize("method", ["plain", "fgw"])
def test_an_encoder_of_another_shape_is_refused(method) -> None:
    model = network() if method == "fgw" else PlainClassifier(width=8, stem="small")
    with pytest.raises(ValueError, match=r"encoder .* with 128 channels it does not fit 64; "):
        model.load_encoder(Encoder("resnet18", width=16, stem="small"))


# Errors


@pytest.mark.parametrize("attention_after", [-5, 4])
def test_attention_sits_after_a_stage_that_exists(attention_after) -> None:
    with pytest.raises(ValueError, match=rf"one of the 4 stages .* got {attention_after}; "):
        network(attention_after=attention_after)


def test_an_unknown_attention_is_refused() -> None:
    with pytest.raises(ValueError, match=r"attention must be 'shared', .* got 'global'"):
        network(attention="global")


def test_unknown_regions_are_refused_when_the_network_is_built() -> None:
    with pytest.raises(ValueError, match=r"regions must be one of \[1, 4, 5, 6\], got 3"):
        network(regions=3)
