"""What a saliency map is worth: where its mass lies, and whether the network needs what it marks.

Deletion and insertion are those of Petsiuk et al., RISE, BMVC 2018. Two maps that know nothing of
the network are their controls: chance, and a Gaussian in the middle, where faces are.
"""

import torch
from jaxtyping import Bool, Float, Int64
from scipy.stats import rankdata
from torch import Generator, Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from occfer.engine.training import evaluating

Map = Float[Tensor, "batch height width"]
Images = Float[Tensor, "batch colours height width"]
STEPS = 10


def occluder_ratio(
    saliency: Map, covered: Bool[Tensor, "batch height width"]
) -> Float[Tensor, " batch"]:
    """Share of the saliency on the occluder, divided by the occluder's share of the picture.

    An even map gets 1. So does, in the mean, one that knows nothing of the face; but where
    occluders lie in the middle more often than at the edges, a map that always looks at the middle
    gets more without knowing of them. Whether a network looks away from an occluder is seen
    against its own map of the uncovered face, laid on the same mask. NaN for a face without
    occluder, or a map that is 0 everywhere.
    """
    saliency = saliency.double()
    on_it = (saliency * covered).sum(dim=(1, 2)) / saliency.sum(dim=(1, 2))
    return (on_it / covered.double().mean(dim=(1, 2))).float()


def deletion(
    model: nn.Module,
    images: Images,
    saliency: Map,
    classes: Int64[Tensor, " batch"],
    generator: Generator,
    steps: int = STEPS,
) -> Float[Tensor, "batch points"]:
    """The probability of a class as the most salient pixels are replaced by the picture's mean.

    Returns ``steps`` + 1 points, from the whole picture to an empty one; a low curve is good.
    Pixels of equal saliency go in random order, drawn from ``generator``; a map that is not finite
    raises a ValueError.
    """
    empty = images.mean(dim=(2, 3), keepdim=True).expand_as(images)
    return _curve(model, images, empty, saliency, classes, generator, steps)


def insertion(
    model: nn.Module,
    images: Images,
    saliency: Map,
    classes: Int64[Tensor, " batch"],
    generator: Generator,
    steps: int = STEPS,
) -> Float[Tensor, "batch points"]:
    """The probability of a class as the most salient pixels come back into a blurred picture.

    The blur's σ is a tenth of the side. A high curve is good. Otherwise as :func:`deletion`.
    """
    side = min(images.shape[2:])
    blurred = gaussian_blur(images, 2 * (side // 5) + 1, side / 10)
    return _curve(model, blurred, images, saliency, classes, generator, steps)


@torch.no_grad()
def _curve(model, before, after, saliency, classes, generator, steps) -> Tensor:
    if not bool(saliency.isfinite().all()):
        raise ValueError(
            "saliency must be finite, but holds NaN or infinity: such a map ranks no pixels; leave "
            "those faces out."
        )
    rank = _ranks(saliency, generator)
    total = rank[0].numel()
    points = []
    with evaluating(model):
        for step in range(steps + 1):
            changed = (rank < step * total / steps)[:, None]
            probabilities = model(after.where(changed, before)).logits.float().softmax(dim=1)
            points.append(probabilities.gather(1, classes[:, None]))
    return torch.cat(points, dim=1)


def _ranks(saliency: Map, generator: Generator) -> Int64[Tensor, "batch height width"]:
    """0 for the most salient pixel of each face; equal ones in random order."""
    flat = saliency.flatten(1)
    shuffled = torch.rand(flat.shape, generator=generator, device=generator.device).argsort(dim=1)
    shuffled = shuffled.to(flat.device)
    order = flat.gather(1, shuffled).argsort(dim=1, descending=True, stable=True)
    places = torch.arange(flat.shape[1], device=flat.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, shuffled.gather(1, order), places).view_as(saliency)


def area(curves: Float[Tensor, "batch points"]) -> Float[Tensor, " batch"]:
    """Mean height of each curve (trapezia), in [0, 1]."""
    return torch.trapezoid(curves, dx=1 / (curves.shape[1] - 1), dim=1)


def rank_correlation(first: Map, second: Map) -> Float[Tensor, " batch"]:
    """Spearman's ρ between two maps of each face: do they rank its pixels alike?

    1 for the same order, −1 for the opposite; equal values share their mean rank. NaN where a map
    is constant, for it ranks nothing.
    """
    ranks = [rankdata(each.flatten(1).cpu().numpy(), axis=1) for each in (first, second)]
    a, b = (torch.from_numpy(each - each.mean(axis=1, keepdims=True)) for each in ranks)
    together = (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1))
    return together.float().to(first.device)


def random_map(like: Map, generator: Generator) -> Map:
    """A map by chance, independent from pixel to pixel.

    Networks' maps are enlarged from few cells. Next to them such fine noise is a weak control of
    deletion and a strong one of insertion, for it spoils, or lets be seen, a little everywhere at
    once; :func:`occfer.saliency.coarse_random_map` is as coarse as they are.
    """
    return torch.rand(like.shape, generator=generator, device=generator.device).to(like.device)


def centred_map(like: Map) -> Map:
    """The same Gaussian for every face, σ a quarter of each side."""
    height, width = like.shape[1:]
    y, x = (
        torch.exp(-(((torch.arange(n) + 0.5) / n - 0.5) ** 2) / (2 * 0.25**2))
        for n in (height, width)
    )
    return torch.outer(y, x).to(like.device).expand(like.shape)
