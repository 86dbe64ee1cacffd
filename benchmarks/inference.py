"""``predict`` of one face: an exported network in onnxruntime against PyTorch as it is."""

import json
import tempfile
from collections import Counter
from pathlib import Path

import onnxruntime
import torch
from _harness import THREADS, Contest, Sides, run
from _profile import shares
from torch import nn

from occfer import FGW, predict
from occfer.engine.export import OnnxClassifier, export_onnx
from occfer.fgw import PlainClassifier

CALLS = 10


def sides(network: nn.Module) -> Sides:
    network = network.eval().to(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as folder:
        path = export_onnx(network, Path(folder) / "network.onnx")
        exported, found = OnnxClassifier(path, THREADS), nodes(path)
    face = torch.randint(0, 256, (3, exported.side, exported.side), dtype=torch.uint8)

    def predicted(model: nn.Module) -> None:
        for _ in range(CALLS):
            predict(model, face)

    return Sides(
        lambda: predicted(exported), lambda: predicted(network), CALLS, profile_ours=lambda: found
    )


def nodes(path: Path) -> dict[str, float]:
    """Shares of onnxruntime's time by kind of node, as its own profiler counts them."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling = THREADS, True
    options.profile_file_prefix = str(path)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (pictures,) = session.get_inputs()
    face = torch.rand(1, *pictures.shape[1:]).numpy()
    for _ in range(CALLS):
        session.run(None, {pictures.name: face})
    times = Counter()
    for event in json.loads(Path(session.end_profiling()).read_text()):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times[event["args"]["op_name"]] += event["dur"]
    return shares(times)


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
