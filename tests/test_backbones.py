import os
import re

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision.transforms.v2.functional import normalize

from occfer.backbones import WEIGHTS, Backbone
from occfer.randomness import seeded_modules

NAMES = ("resnet18", "vgg16", "densenet121", "mobilenet_v2")
MOBILENET_FILE = "mobilenet_v2-b0353104.pth"


def imagenet_normalised(images: Tensor) -> Tensor:
    return normalize(images, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def extractor(name: str, network: nn.Module) -> nn.Module:
    """torchvision's network up to its last feature map."""
    if name == "resnet18":
        return nn.Sequential(*list(network.children())[:-2])
    relu = [nn.ReLU()] if name == "densenet121" else []
    return nn.Sequential(network.features, *relu)


def torchvision_network(name: str, seed: int = 0, **options) -> nn.Module:
    """Random weights, and batch statistics that are not those of a fresh network."""
    with seeded_modules(seed):
        network = torchvision.models.get_model(name, weights=None, **options)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, std=0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


@pytest.mark.parametrize("name", NAMES)
def test_published_networks_are_torchvision_s(name, pictures) -> None:
    theirs = extractor(name, torchvision_network(name))
    ours = Backbone(name).eval()
    # Both hold the same layers in the same order, under names of their own.
    weights = zip(ours.stages.state_dict(), theirs.state_dict().values(), strict=True)
    ours.stages.load_state_dict(dict(weights))
    images = pictures(2, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(imagenet_normalised(images)))


@pytest.fixture
def weights_cache(tmp_path, monkeypatch):
    """torch.hub's folder of downloaded weights, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_pretrained_weights_arrive_where_torchvision_puts_them(
    name, weights_cache, pictures
) -> None:
    weights = torchvision.models.get_weight(WEIGHTS[name])
    state = torchvision_network(name).state_dict()
    if name == "densenet121":  # the published file is older than the names in the code
        old = re.compile(r"(denselayer\d+\.(?:norm|conv))([12])\.")
        state = {old.sub(r"\1.\2.", key): value for key, value in state.items()}
        state = {key: value for key, value in state.items() if "num_batches" not in key}
        assert any("norm.1." in key for key in state)
    torch.save(state, weights_cache / os.path.basename(weights.url))
    theirs = extractor(name, torchvision.models.get_model(name, weights=weights).eval())
    ours = Backbone(name, pretrained=True).eval()
    images = pictures(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(imagenet_normalised(images)))


def test_real_imagenet_weights_of_mobilenet(shared_data, weights_cache, pictures) -> None:
    file = shared_data / "weights" / MOBILENET_FILE
    if not file.is_file():
        pytest.skip(f"needs weights/{MOBILENET_FILE} beside the data sets")
    (weights_cache / MOBILENET_FILE).symlink_to(file)
    weights = torchvision.models.get_weight(WEIGHTS["mobilenet_v2"])
    theirs = torchvision.models.mobilenet_v2(weights=weights).eval().features
    ours = Backbone("mobilenet_v2", pretrained=True).eval()
    images = pictures(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(imagenet_normalised(images)))


class Intruder:
    """Unpickling one makes a folder; no weights file may do anything like it."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_a_weights_file_that_runs_code_is_refused(weights_cache, tmp_path) -> None:
    trace = tmp_path / "was-here"
    url = torchvision.models.get_weight(WEIGHTS["resnet18"]).url
    torch.save({"conv1.weight": Intruder(trace)}, weights_cache / os.path.basename(url))
    with pytest.raises(Exception, match="Weights only load failed"):
        Backbone("resnet18", pretrained=True)
    assert not trace.exists()


def test_weights_that_do_not_fit_are_refused(weights_cache) -> None:
    url = torchvision.models.get_weight(WEIGHTS["resnet18"]).url
    state = torchvision_network("resnet18").state_dict()
    state["surplus"] = state.pop("conv1.weight")
    torch.save(state, weights_cache / os.path.basename(url))
    with pytest.raises(RuntimeError, match=r"\['conv1.weight'\] are missing and \['surplus'\]"):
        Backbone("resnet18", pretrained=True)


# Stages


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("resnet18", [64, 128, 256, 512]),
        ("vgg16", [64, 128, 256, 512, 512]),
        ("densenet121", [128, 256, 512, 1024]),
        ("mobilenet_v2", [16, 24, 32, 96, 1280]),
    ],
)
def test_stages_have_the_published_channels(name, channels) -> None:
    backbone = Backbone(name)
    assert backbone.stage_channels == channels
    assert backbone.channels == channels[-1]


def test_every_stage_is_shown_once_and_may_be_replaced(pictures) -> None:
    backbone = Backbone("resnet18", width=8).eval()
    seen = []

    def look(stage: int, features: Tensor) -> Tensor:
        seen.append((stage, tuple(features.shape)))
        return features

    images = pictures(2, 3, 64, 64)
    assert torch.equal(backbone(images, look), backbone(images))
    assert seen == [(0, (2, 8, 16, 16)), (1, (2, 16, 8, 8)), (2, (2, 32, 4, 4)), (3, (2, 64, 2, 2))]
    silenced = backbone(images, lambda stage, x: x * 0 if stage == 3 else x)
    assert not silenced.any()


@pytest.mark.parametrize("name", NAMES)
def test_half_the_width_is_half_the_channels_everywhere(name) -> None:
    published = {"mobilenet_v2": 32}.get(name, 64)
    full, half = Backbone(name), Backbone(name, width=published // 2)
    expected = [channels // 2 for channels in full.stage_channels]
    if name == "mobilenet_v2":  # rounded to eights, and the last convolution is never narrowed
        expected = [8, 16, 16, 48, 1280]
    assert half.stage_channels == expected
    assert sum(p.numel() for p in half.parameters()) < sum(p.numel() for p in full.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_published_width_may_be_named(name) -> None:
    width = {"mobilenet_v2": 32}.get(name, 64)
    with seeded_modules(0):
        unnamed = Backbone(name).state_dict()
    with seeded_modules(0):
        named = Backbone(name, width=width).state_dict()
    assert unnamed.keys() == named.keys()
    assert all(torch.equal(unnamed[key], named[key]) for key in unnamed)


@pytest.mark.parametrize(("stem", "side"), [("small", 3), ("imagenet", 2)])
def test_the_small_stem_leaves_a_3x3_map_of_a_48_pixel_face(stem, side, pictures) -> None:
    backbone = Backbone("resnet18", width=8, stem=stem).eval()
    assert backbone(pictures(2, 3, 48, 48)).shape == (2, 64, side, side)


def test_a_densenet_can_have_it_too(pictures) -> None:
    faces = pictures(2, 3, 48, 48)
    published, small = (
        Backbone("densenet121", width=16, stem=stem) for stem in ("imagenet", "small")
    )
    assert published.eval()(faces).shape[-2:] == (1, 1)
    assert small.eval()(faces).shape == (2, published.channels, 3, 3)


def test_a_resnet_on_112_pixels_ends_in_a_4x4_map(pictures) -> None:
    assert Backbone("resnet18", width=8).eval()(pictures(1, 3, 112, 112)).shape[-2:] == (4, 4)


@pytest.mark.parametrize("name", NAMES)
def test_grey_is_colour_with_three_equal_channels(name, pictures) -> None:
    backbone = Backbone(name, width=16).eval()
    grey = pictures(2, 1, 64, 64)
    assert torch.equal(backbone(grey), backbone(grey.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_network_tells_pictures_apart(name, pictures) -> None:
    with seeded_modules(0):
        backbone = Backbone(name)
    with torch.no_grad():
        pooled = backbone(pictures(8, 3, 64, 64)).mean(dim=(2, 3))
    assert pooled.std(dim=0).mean() > 1e-3 * pooled.mean()


def test_building_leaves_batch_statistics_and_mode_alone() -> None:
    backbone = Backbone("resnet18", width=8)
    assert backbone.training
    assert int(backbone.state_dict()["stages.0.1.num_batches_tracked"]) == 0


# Any timm network


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050", "convnext_atto"])
def test_any_convolutional_network_of_timm(name, pictures) -> None:
    with seeded_modules(0):
        ours = Backbone(name).eval()
    with seeded_modules(0):
        theirs = timm.create_model(name, features_only=True).eval()
    images = pictures(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs(imagenet_normalised(images))[-1]
        torch.testing.assert_close(ours(images), expected)
    assert ours.channels == expected.shape[1] == theirs.feature_info.channels()[-1]


@pytest.mark.parametrize("name", ["efficientnet_b1", "resnet18.a1_in1k"])
def test_pictures_are_normalised_as_the_network_of_timm_learnt_them(name) -> None:
    backbone, learnt = Backbone(name), timm.get_pretrained_cfg(name)
    for ours, theirs in ((backbone.mean, learnt.mean), (backbone.std, learnt.std)):
        assert ours.flatten().tolist() == pytest.approx(theirs)
    assert len(backbone.stages) == 1


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "mixer_s32_224", "inception_v4"])
def test_a_network_without_feature_maps_is_refused(name) -> None:
    with pytest.raises(ValueError, match=rf"{name}.*convolutional"):
        Backbone(name)


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(name="resnet17"), "backbone must be one of resnet18, .* got 'resnet17'"),
        (dict(name="resnet18.mine"), "backbone must be one of resnet18, .* got 'resnet18.mine'"),
        (dict(name="resnet18", width=0), "width is a positive number .* got 0 for 'resnet18'"),
        (dict(name="resnet18", width=4), "at least 8 channels, but of width=4 resnet18 .* with 4;"),
        (dict(name="densenet121", width=8), "but of width=8 densenet121 has some with 4; choose"),
        (dict(name="resnet10t", width=16), "width is .* got 16 for 'resnet10t'; leave it out"),
        (dict(name="resnet18", stem="big"), "stem must be 'imagenet', or 'small' .* got 'big'"),
        (
            dict(name="vgg16", stem="small"),
            "'small' for resnet18 and densenet121, got 'small' for 'vgg16'",
        ),
        (dict(name="resnet18", width=16, pretrained=True), "as published only, got width=16"),
        (dict(name="resnet18", stem="small", pretrained=True), "got width=None and stem='small'"),
    ],
)
def test_what_cannot_be_built_is_refused(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        Backbone(**arguments)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            torch.zeros(1, 3, 48, 48, dtype=torch.uint8),
            r"got \[1, 3, 48, 48\] of torch.uint8; divide",
        ),
        (torch.zeros(1, 4, 48, 48), r"1 or 3 channels, .* got \[1, 4, 48, 48\] of torch.float32"),
    ],
)
def test_what_is_no_picture_is_refused(images, message, unchecked) -> None:
    backbone = Backbone("resnet18", width=8)
    with pytest.raises(ValueError, match=message):
        unchecked(Backbone.forward)(backbone, images)
