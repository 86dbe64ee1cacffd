"""CUDA graphs: a GPU is handed a whole pass at once, and no longer waits for Python.

ResNet18 forward and backward is some five hundred kernels. Python starts one in about ten
microseconds, and of small batches a modern GPU computes one in less. The kernels of the first
whole batch are therefore recorded, and every batch of that length is a replay of the record.
"""

from typing import Any

import torch
from torch import Tensor, nn

from occfer.engine.failures import NO_MEMORY


class Replayed:
    """A network's call, recorded for batches of one length while it is trained.

    Every other batch, such as the last one of an epoch, and every evaluation is computed as the
    network is written. What a replay returns, the next one overwrites.

    Args:
        network: it has to lie on a GPU by the first call, and to stay there.
        length: of the batches to record, as the network is given them.
        compiled: record what ``torch.compile`` makes of the network.

    Raises:
        ValueError: the network could not be recorded, such as one whose next step depends on a
            number that only the GPU has.
    """

    def __init__(self, network: nn.Module, length: int, compiled: bool = False):
        self._network, self._length = network, length
        self._written = network._call_impl
        self._whole = torch.compile(self._written, dynamic=False) if compiled else self._written
        self._record: nn.Module | None = None

    def __call__(self, images: Tensor) -> Any:
        trained = self._network.training and torch.is_grad_enabled()
        if not trained or len(images) != self._length:
            return self._written(images)
        if self._record is None:
            self._record = recorded(_Pass(self._network, self._whole), images)
        return self._record(images)


class _Pass(nn.Module):
    """One call of a network, as what is recorded; its weights are the network's."""

    def __init__(self, network: nn.Module, call):
        super().__init__()
        self.network, self._call = network, call

    def forward(self, images: Tensor) -> Any:
        return self._call(images)


def recorded(network: nn.Module, images: Tensor) -> nn.Module:
    """Record forward and backward pass for batches like this one; statistics stay as they are."""
    _let_gradients_cross_streams()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    mixed = dict(dtype=torch.get_autocast_dtype("cuda"), enabled=torch.is_autocast_enabled("cuda"))
    try:
        with torch.autocast("cuda", **mixed, cache_enabled=False):
            torch.cuda.make_graphed_callables(network, (images.clone(),), allow_unused_input=True)
    except RuntimeError as reason:
        if NO_MEMORY.search(str(reason)):
            raise
        raise ValueError(
            f"the network could not be recorded as a CUDA graph ({reason}); if it runs with "
            "cuda_graphs=False in its recipe, set that."
        ) from reason
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            buffer.copy_(before[name])
    return network


def _let_gradients_cross_streams() -> None:
    # A record keeps the nodes that take in its gradients, and with them the stream it was made on.
    # Autograd waits between the two streams, and need not warn of it.
    warn = getattr(torch.autograd.graph, "set_warn_on_accumulate_grad_stream_mismatch", None)
    if warn is not None:
        warn(False)
