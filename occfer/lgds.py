"""LGDS, local–global deep supervision (§2.4): the classifier FC(·) and the losses (7)–(10).

The fused feature r_g should know the expression better than any single region does. For (8) to
mean that, regions and fusion have to be scored by the same classifier; how one FC(·) can take a
vector of D and one of K·D numbers is what :class:`SlicedHead` answers.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

Head = Literal["sliced", "separate", "separate+ce"]
Fusion = Literal["concat", "mean"]
HEADS: tuple[Head, ...] = ("sliced", "separate", "separate+ce")


class SlicedHead(nn.Module):
    """One FC(·) for r_g and every r_k: W = [W_1 … W_K] and b on the concatenation.

    A region is scored with its own slice, z_k = K·W_k r_k + b; then z_g = W r_g + b is exactly
    the mean of the z_k, and P(r_k) of (7) says what the classifier would do had every region
    voted like region k.
    """

    def __init__(self, channels: int, regions: int = 5, num_classes: int = 7):
        super().__init__()
        self.fc = nn.Linear(regions * channels, num_classes)

    def forward(
        self, features: Float[Tensor, "batch regions channels"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch regions classes"]]:
        regions = features.shape[1]
        slices = self.fc.weight.unflatten(1, (regions, -1))
        votes = torch.einsum("bkd,ykd->bky", features, slices)
        return votes.sum(dim=1) + self.fc.bias, regions * votes + self.fc.bias


class MeanHead(nn.Module):
    """FC(·) on the mean of the regions; the same FC scores each region alone."""

    def __init__(self, channels: int, regions: int = 5, num_classes: int = 7):
        super().__init__()
        self.fc = nn.Linear(channels, num_classes)

    def forward(
        self, features: Float[Tensor, "batch regions channels"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch regions classes"]]:
        return self.fc(features.mean(dim=1)), self.fc(features)


class SeparateHead(nn.Module):
    """Two classifiers, one on the fused feature and one shared by the regions.

    The trap of (8): if nothing but (8) trains the region classifier, the cheapest way to satisfy
    it is to make the regions bad. ``separate+ce`` trains it by cross-entropy, too.
    """

    def __init__(
        self, channels: int, regions: int = 5, num_classes: int = 7, fusion: Fusion = "concat"
    ):
        super().__init__()
        self.fusion = fusion
        self.fused = nn.Linear(channels * (regions if fusion == "concat" else 1), num_classes)
        self.region = nn.Linear(channels, num_classes)

    def forward(
        self, features: Float[Tensor, "batch regions channels"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch regions classes"]]:
        fused = features.flatten(1) if self.fusion == "concat" else features.mean(dim=1)
        return self.fused(fused), self.region(features)


def classification_head(
    head: Head, fusion: Fusion, channels: int, regions: int, num_classes: int
) -> nn.Module:
    """The FC(·) of (7) by name: features [B, K, D] → logits [B, Y], region logits [B, K, Y]."""
    if head not in HEADS or fusion not in ("concat", "mean"):
        raise ValueError(
            f"head must be one of {', '.join(HEADS)} and fusion 'concat' or 'mean', got "
            f"{head!r} and {fusion!r}."
        )
    if head == "sliced":
        layer = SlicedHead if fusion == "concat" else MeanHead
        return layer(channels, regions, num_classes)
    return SeparateHead(channels, regions, num_classes, fusion)


def at_least_single(logits: Float[Tensor, "*shape classes"]) -> Float[Tensor, "*shape classes"]:
    """Half precision is raised to float32; float64 stays."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def true_class_probability(
    logits: Float[Tensor, "*shape classes"], targets: Int[Tensor, " batch"]
) -> Float[Tensor, "*shape"]:
    """Equation (7): the softmax probability of each sample's true class, float32 of half logits."""
    probability = at_least_single(logits).softmax(dim=-1)
    index = targets.view(-1, *[1] * (logits.ndim - 1)).expand(*logits.shape[:-1], 1)
    return probability.gather(-1, index).squeeze(-1)


def restrain_loss(
    logits: Float[Tensor, "batch classes"],
    region_logits: Float[Tensor, "batch regions classes"],
    targets: Int[Tensor, " batch"],
    detach_regions: bool = False,
) -> Float[Tensor, ""]:
    """Equation (8): Σ_k max(0, P(r_k) − P(r_g)), summed over regions, averaged over the batch.

    Zero for every face whose fused feature is at least as sure of the truth as each region.

    Args:
        logits: of the fused feature r_g.
        region_logits: of the K regions.
        targets: true classes, int64.
        detach_regions: let the loss raise P(r_g) only, and not lower P(r_k).
    """
    fused = true_class_probability(logits, targets)
    region = true_class_probability(region_logits, targets)
    if detach_regions:
        region = region.detach()
    return F.relu(region - fused[:, None]).sum(dim=1).mean()


class LocalGlobalLoss(nn.Module):
    """Equation (10): L = L_cls + λ L_restrain.

    Args:
        weight: λ ≥ 0; the paper's is 0.5, and 0 leaves the cross-entropy (9) alone.
        detach_regions: see :func:`restrain_loss`.
        region_ce: add the regions' own cross-entropy, as the head ``separate+ce`` asks.

    Called with an :class:`occfer.fgw.FGWOutput` (or anything with ``logits`` and
    ``region_logits``) and targets [B]; computed in float32, or in float64 where the logits are.
    """

    def __init__(self, weight: float = 0.5, detach_regions: bool = False, region_ce: bool = False):
        super().__init__()
        if not weight >= 0:
            raise ValueError(f"weight is λ of (10) and must be at least 0, got {weight}.")
        self.weight = weight
        self.detach_regions = detach_regions
        self.region_ce = region_ce

    def forward(self, output, targets: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        logits, region_logits = map(at_least_single, (output.logits, output.region_logits))
        loss = F.cross_entropy(logits, targets)
        if self.weight:
            loss = loss + self.weight * restrain_loss(
                logits, region_logits, targets, self.detach_regions
            )
        if self.region_ce:
            each = targets[:, None].expand(-1, region_logits.shape[1])
            loss = loss + F.cross_entropy(region_logits.flatten(0, 1), each.flatten())
        return loss
