"""OCL, occlusion-aware contrastive learning (§2.2): encoder, projector and the loss of (1).

Two views of one face, each with its own occlusion, are pulled together; the views of all other
faces in the batch are pushed away. What survives in the encoder is what both views share, which
is the face and its expression rather than whatever covers it.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from occfer.backbones import Backbone
from occfer.pretrained import Pretrained


class Encoder(Pretrained):
    """Enc(·) of §2.2: a backbone and global average pooling; one vector per face.

    Args:
        backbone, width, stem, pretrained: see :class:`occfer.backbones.Backbone`.
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        width: int | None = None,
        stem: str = "imagenet",
        pretrained: bool = False,
    ):
        super().__init__()
        self.backbone = Backbone(backbone, width=width, stem=stem, pretrained=pretrained)
        self.channels = self.backbone.channels

    def forward(
        self, images: Float[Tensor, "batch colours height width"]
    ) -> Float[Tensor, "batch channels"]:
        return self.backbone(images).mean(dim=(2, 3))


class Projector(nn.Module):
    """Proj(·) of §2.2: one hidden layer, as in SimCLR; thrown away after pre-training.

    The loss is free to forget in z what it does not need (colour, pose), while h keeps it.
    """

    def __init__(self, channels: int = 512, hidden: int = 512, dimensions: int = 128):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channels, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, dimensions),
        )

    def forward(self, h: Float[Tensor, "batch channels"]) -> Float[Tensor, "batch dimensions"]:
        return self.layers(h)


class OCL(nn.Module):
    """What pre-training trains: Proj(Enc(·)). Only the encoder is kept."""

    def __init__(self, encoder: Encoder, projector: Projector):
        super().__init__()
        self.encoder = encoder
        self.projector = projector

    def forward(
        self, views: Float[Tensor, "batch colours height width"]
    ) -> Float[Tensor, "batch dimensions"]:
        return self.projector(self.encoder(views))


def nt_xent(
    z1: Float[Tensor, "batch dimensions"],
    z2: Float[Tensor, "batch dimensions"],
    temperature: float = 0.2,
    gather: Callable[[Tensor], Tensor] | None = None,
    check: bool = True,
) -> Float[Tensor, ""]:
    """Equation (1), the normalised temperature-scaled cross-entropy, averaged over all 2N views.

    For each of the 2N views the other view of the same face is the right answer among the 2N − 1
    remaining views; cosine similarity over ``temperature`` is the logit. The paper prints (1)
    without −log, which would push the two views apart; this is the −log it means (Chen et al.,
    SimCLR, 2020, eq. 1).

    Args:
        z1, z2: projections of the two views; row n of both belongs to face n. They need not be
            normalised; the largest number of a row should be above 1e-6. Half precision is raised
            to float32 first.
        temperature: τ > 0.
        gather: with several processes, what joins one tensor of each into one, gradients
            included; then every face of every process is a negative. With Fabric that is
            ``lambda z: fabric.all_gather(z, sync_grads=True).flatten(0, 1)``.
        check: look for numbers that are not finite, for which a GPU has to be waited for. Without
            it such numbers give a loss that is not finite either.

    Raises:
        ValueError: for τ ≤ 0, different shapes, or numbers that are not finite.
    """
    if not temperature > 0:
        raise ValueError(
            f"temperature must be greater than 0, got {temperature}; 0.1 to 0.5 are usual."
        )
    if z1.shape != z2.shape or z1.ndim != 2:
        raise ValueError(
            "z1 and z2 must be projections of the same faces with one shape [N, D], got "
            f"{list(z1.shape)} and {list(z2.shape)}; pass both views of one batch."
        )
    if gather is not None:
        z1, z2 = gather(z1), gather(z2)
    with torch.autocast(z1.device.type, enabled=False):
        z = torch.cat([z1, z2])
        z = z if z.dtype == torch.float64 else z.float()
        # Squares of very large numbers overflow. Over a power of two no digit of a row changes, and
        # the bounds keep the gradient of a row of zeros small.
        largest = z.detach().abs().amax(dim=1, keepdim=True).clamp(min=1e-6)
        z = F.normalize(z * (2 * torch.frexp(largest).mantissa / largest), dim=1, eps=0.5)
        if check and not bool(torch.isfinite(z).all()):
            raise ValueError(
                "z1 and z2 must be finite, got NaN or infinity; lower the learning rate or look "
                "for broken pictures in the batch."
            )
        similarity = z @ z.T / temperature
        itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
        logits = similarity.masked_fill(itself, float("-inf"))
        other_view = torch.arange(len(z), device=z.device).roll(len(z1))
        return F.cross_entropy(logits, other_view)
