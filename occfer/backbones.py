"""Z(·) of (3): the convolutional networks that turn a picture into a feature map.

The paper uses ResNet18 and VGG16 and compares with DenseNet; MobileNetV2 and every convolutional
network of timm can stand in. Each of the four is cut into stages, so that attention can sit between
any two, and can be built narrower than published, so that two CPU cores are enough to learn on. A
network of timm is a single stage.
"""

from collections.abc import Callable
from itertools import pairwise

import timm
import torch
import torchvision
from jaxtyping import Float
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

WEIGHTS = {
    "resnet18": "ResNet18_Weights.IMAGENET1K_V1",
    "vgg16": "VGG16_Weights.IMAGENET1K_V1",
    "densenet121": "DenseNet121_Weights.IMAGENET1K_V1",
    "mobilenet_v2": "MobileNet_V2_Weights.IMAGENET1K_V1",
}
SMALL_STEMS = ("resnet18", "densenet121")
PUBLISHED_WIDTH = {"resnet18": 64, "vgg16": 64, "densenet121": 64, "mobilenet_v2": 32}
PROBE = 64
"""Side in pixels of the picture that tells how many channels each stage has."""
FEWEST_CHANNELS = 8
"""Of a convolution in a network of chosen width. With fewer, oneDNN's backward pass writes past the
end of its memory on processors with AVX2 and without AVX-512 (seen with PyTorch 2.14)."""


class Backbone(nn.Module):
    """A feature extractor: pictures in [0, 1] → feature map.

    Args:
        name: ``resnet18``, ``vgg16``, ``densenet121``, ``mobilenet_v2``, or any timm name, such as
            ``resnet18.a1_in1k``, where what follows the point names timm's weights.
        width: channels of the first convolution; all others scale with it. ``None`` is the
            published width (64; 32 for MobileNetV2). Only for the four named networks.
        stem: ``imagenet`` as published (the map is 1/32 of the picture); ``small``, for
            ResNet18 and DenseNet-121, replaces the 7x7 convolution and pooling by one 3x3
            convolution of stride 2, so that a 48-pixel face still ends in a 3x3 map.
        pretrained: start from ImageNet weights (torchvision's for the four named networks).

    Attributes:
        stages: ``nn.ModuleList``; the picture passes through them in order.
        mean, std: of each colour, by which pictures are normalised: ImageNet's, or what a network
            of timm was trained with.
        stage_channels: channels after each stage; ``channels`` are those of the last.
    """

    def __init__(
        self,
        name: str = "resnet18",
        width: int | None = None,
        stem: str = "imagenet",
        pretrained: bool = False,
    ):
        super().__init__()
        _check(name, width, stem, pretrained)
        build = BUILDERS.get(name, _any_timm)
        self.stages = nn.ModuleList(build(name, width, stem, pretrained))
        if width is not None:
            _check_channels(name, width, self.stages)
        colours = getattr(self.stages[0], "colours", (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
        for statistic, values in zip(("mean", "std"), colours, strict=True):
            self.register_buffer(statistic, torch.tensor(values).view(1, 3, 1, 1))
        try:
            self.stage_channels = self._measure()
        except (AssertionError, RuntimeError) as reason:
            raise ValueError(
                f"{name} should be a convolutional network, which takes pictures of any size, also "
                f"of {PROBE} pixels, but: {str(reason).rstrip('.')}. Choose another."
            ) from reason
        self.channels = self.stage_channels[-1]

    def forward(
        self,
        images: Float[Tensor, "batch colours height width"],
        after_stage: Callable[[int, Tensor], Tensor] | None = None,
    ) -> Float[Tensor, "batch channels map_height map_width"]:
        """Run all stages; ``after_stage(number, features)`` may replace what a stage returns.

        Grey pictures (one channel) are repeated to three.

        Raises:
            ValueError: pictures of bytes or other whole numbers, or of other than 1 or 3 channels.
        """
        if not images.is_floating_point() or images.shape[1] not in (1, 3):
            raise ValueError(
                "images must be [batch, 1 or 3 channels, height, width] of a floating-point type "
                f"in [0, 1], got {list(images.shape)} of {images.dtype}; divide bytes by 255."
            )
        features = (images.expand(-1, 3, -1, -1) - self.mean) / self.std
        for number, stage in enumerate(self.stages):
            features = stage(features)
            if after_stage is not None:
                features = after_stage(number, features)
        return features

    @torch.no_grad()
    def _measure(self) -> list[int]:
        channels: list[int] = []

        def note(_: int, features: Tensor) -> Tensor:
            channels.append(features.shape[1])
            return features

        training = self.training
        self.eval()
        self.forward(torch.zeros(1, 3, PROBE, PROBE), after_stage=note)
        self.train(training)
        return channels


def _resnet18(name: str, width: int | None, stem: str, pretrained: bool) -> list[nn.Module]:
    width = width or 64
    small = stem == "small"
    kernel = dict(kernel_size=3, padding=1) if small else dict(kernel_size=7, padding=3)
    net = nn.ModuleDict(
        {
            "conv1": nn.Conv2d(3, width, stride=2, bias=False, **kernel),
            "bn1": nn.BatchNorm2d(width),
            "layer1": _two_blocks(width, width, stride=1),
            "layer2": _two_blocks(width, 2 * width, stride=2),
            "layer3": _two_blocks(2 * width, 4 * width, stride=2),
            "layer4": _two_blocks(4 * width, 8 * width, stride=2),
        }
    )
    _initialise(net)
    if pretrained:
        _load(net, _imagenet(name))
    first = [net["conv1"], net["bn1"], nn.ReLU(inplace=True)]
    if not small:
        first.append(nn.MaxPool2d(3, stride=2, padding=1))
    return [nn.Sequential(*first, *net["layer1"]), net["layer2"], net["layer3"], net["layer4"]]


def _two_blocks(channels_in: int, channels: int, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or channels_in != channels:
        shortcut = nn.Sequential(
            nn.Conv2d(channels_in, channels, 1, stride=stride, bias=False),
            nn.BatchNorm2d(channels),
        )
    return nn.Sequential(
        BasicBlock(channels_in, channels, stride, shortcut), BasicBlock(channels, channels)
    )


def _vgg16(name: str, width: int | None, stem: str, pretrained: bool) -> list[nn.Module]:
    scale = (width or 64) / 64
    plan = [
        layer if layer == "M" else max(1, round(layer * scale))
        for layer in torchvision.models.vgg.cfgs["D"]
    ]
    features = torchvision.models.vgg.make_layers(plan)
    _initialise(features)
    if pretrained:
        _load(features, _imagenet(name, under="features."))
    return _split(features, lambda layer: isinstance(layer, nn.MaxPool2d))


def _densenet121(name: str, width: int | None, stem: str, pretrained: bool) -> list[nn.Module]:
    first = width or 64
    features = torchvision.models.DenseNet(
        growth_rate=max(1, first // 2), block_config=(6, 12, 24, 16), num_init_features=first
    ).features
    if stem == "small":
        features.conv0 = nn.Conv2d(3, first, 3, stride=2, padding=1, bias=False)
        nn.init.kaiming_normal_(features.conv0.weight)
        del features.pool0
    if pretrained:
        _load(features, _renamed_densenet(_imagenet(name, under="features.")))
    features.add_module("relu5", nn.ReLU(inplace=True))
    return _split(features, lambda layer: "Transition" in type(layer).__name__)


def _mobilenet_v2(name: str, width: int | None, stem: str, pretrained: bool) -> list[nn.Module]:
    features = torchvision.models.mobilenet_v2(width_mult=(width or 32) / 32).features
    if pretrained:
        _load(features, _imagenet(name, under="features."))
    ends = (0, 2, 4, 7, 14, len(features))  # where the map is halved
    return [nn.Sequential(*features[start:end]) for start, end in pairwise(ends)]


def _any_timm(name: str, width: int | None, stem: str, pretrained: bool) -> list[nn.Module]:
    """A timm network as its own feature stages (timm's ``features_only``)."""
    net = timm.create_model(name, features_only=True, pretrained=pretrained)
    return [_LastFeature(net)]


class _LastFeature(nn.Module):
    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net
        self.colours = net.pretrained_cfg["mean"], net.pretrained_cfg["std"]

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)[-1]


BUILDERS = {
    "resnet18": _resnet18,
    "vgg16": _vgg16,
    "densenet121": _densenet121,
    "mobilenet_v2": _mobilenet_v2,
}


def _initialise(net: nn.Module) -> None:
    """As torchvision's ResNets and VGGs begin. PyTorch's own convolutions begin smaller: without
    batch normalisation, all pictures then look alike behind thirteen of them."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _split(layers: nn.Sequential, ends_stage: Callable[[nn.Module], bool]) -> list[nn.Module]:
    stages, current = [], []
    for layer in layers:
        current.append(layer)
        if ends_stage(layer):
            stages, current = [*stages, nn.Sequential(*current)], []
    return [*stages, nn.Sequential(*current)] if current else stages


def _check(name: str, width: int | None, stem: str, pretrained: bool) -> None:
    in_timm = timm.is_model(name) and ("." not in name or timm.is_model_pretrained(name))
    if name not in BUILDERS and not in_timm:
        raise ValueError(
            f"backbone must be one of {', '.join(BUILDERS)} or a timm name, got {name!r}; "
            "timm.list_models(pretrained=True) lists those that have weights."
        )
    if width is not None and (name not in BUILDERS or width < 1):
        raise ValueError(
            f"width is a positive number of first channels of {', '.join(BUILDERS)}, got "
            f"{width} for {name!r}; leave it out for other networks."
        )
    if stem not in ("imagenet", "small") or (stem == "small" and name not in SMALL_STEMS):
        raise ValueError(
            f"stem must be 'imagenet', or 'small' for {' and '.join(SMALL_STEMS)}, got {stem!r} "
            f"for {name!r}."
        )
    changed = width not in (None, PUBLISHED_WIDTH.get(name)) or stem == "small"
    if pretrained and changed:
        raise ValueError(
            f"ImageNet weights exist for {name} as published only, got width={width} and "
            f"stem={stem!r}; leave both at their defaults or set pretrained=False."
        )


def _check_channels(name: str, width: int, stages: nn.Module) -> None:
    convolutions = (module for module in stages.modules() if isinstance(module, nn.Conv2d))
    fewest = min(each.out_channels for each in convolutions)
    if fewest < FEWEST_CHANNELS:
        raise ValueError(
            f"every convolution needs at least {FEWEST_CHANNELS} channels, but of width={width} "
            f"{name} has some with {fewest}; choose a larger width."
        )


def _imagenet(name: str, under: str = "") -> dict[str, Tensor]:
    """torchvision's ImageNet weights below one prefix; checked against the hash in their name."""
    weights = torchvision.models.get_weight(WEIGHTS[name])
    state = weights.get_state_dict(check_hash=True, map_location="cpu", weights_only=True)
    return {key.removeprefix(under): value for key, value in state.items() if key.startswith(under)}


def _renamed_densenet(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's file predates its module names: ``norm.1`` there is ``norm1`` here."""
    for old in ("norm.1", "norm.2", "conv.1", "conv.2"):
        state = {key.replace(old, old.replace(".", "")): value for key, value in state.items()}
    return state


def _load(net: nn.Module, state: dict[str, Tensor]) -> None:
    missing, unexpected = net.load_state_dict(state, strict=False)
    classifier = {"fc.weight", "fc.bias"}
    if set(missing) or set(unexpected) - classifier:
        raise RuntimeError(
            f"the ImageNet weights should fit the network, but {sorted(missing)} are missing and "
            f"{sorted(set(unexpected) - classifier)} are left over; update torchvision."
        )
