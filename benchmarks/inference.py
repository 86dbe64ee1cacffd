"""``predict`` of one face: an exported network in onnxruntime against PyTorch as it is."""

import tempfile
from pathlib import Path

import torch
from _harness import THREADS, Contest, Sides, run
from torch import nn

from occfer import FGW, predict
from occfer.engine.export import OnnxClassifier, export_onnx
from occfer.fgw import PlainClassifier

CALLS = 10


def sides(network: nn.Module) -> Sides:
    network = network.eval().to(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as folder:
        exported = OnnxClassifier(export_onnx(network, Path(folder) / "network.onnx"), THREADS)
    face = torch.randint(0, 256, (3, exported.side, exported.side), dtype=torch.uint8)

    def predicted(model: nn.Module) -> None:
        for _ in range(CALLS):
            predict(model, face)

    return Sides(lambda: predicted(exported), lambda: predicted(network), CALLS)


if __name__ == "__main__":
    peer, asked = "eager PyTorch", {"cpu": 1.5}
    run(
        "inference",
        [
            Contest("predict one face, ResNet18, onnxruntime", peer,
                    lambda _: sides(PlainClassifier("resnet18")), asked),
            Contest("predict one face, FGW of ResNet18, onnxruntime", peer,
                    lambda _: sides(FGW("resnet18")), asked),
        ],
    )  # fmt: skip
