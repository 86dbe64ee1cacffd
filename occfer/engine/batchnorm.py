"""Batch normalisation over the batches of all processes (Ioffe & Szegedy, 2015).

With N faces spread over several processes, each would normalise by the mean and the spread of its
own few. Synchronised, all use those of the whole batch, as one process with N faces would.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from occfer.engine.team import summed


class SharedBatchNorm(_BatchNorm):
    """``nn.BatchNorm`` of one or two dimensions whose statistics are those of all processes.

    ``nn.SyncBatchNorm`` runs on GPUs only; this is the same in plain operations, for CPUs.
    """

    def _check_input_dim(self, values: Tensor) -> None:
        if values.ndim not in (2, 4):
            raise ValueError(f"expected [N, C] or [N, C, H, W], got {list(values.shape)}.")

    def forward(self, values: Tensor) -> Tensor:
        if not (self.training and dist.is_initialized()):
            return super().forward(values)
        self._check_input_dim(values)
        axes = [axis for axis in range(values.ndim) if axis != 1]
        shape = [1, -1, *([1] * (values.ndim - 2))]
        count = values.new_tensor(float(values.numel() / values.shape[1]))
        sums = summed(torch.cat([values.sum(axes), count[None]]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = values - mean.view(shape)
        # In two passes: the difference of two large means would lose the digits of a small one.
        variance = summed(centred.square().sum(axes)) / count
        self._remember(mean.detach(), variance.detach(), count)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale.view(shape) + self.bias.view(shape)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)


def synchronised(model: nn.Module, device: torch.device) -> nn.Module:
    """The network with every batch normalisation shared by all processes; weights stay."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            shared = SharedBatchNorm(child.num_features, child.eps, child.momentum).to(child.weight)
            shared.load_state_dict(child.state_dict())
            setattr(model, name, shared)
        else:
            synchronised(child, device)
    return model
