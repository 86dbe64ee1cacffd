"""Networks for machines without PyTorch: one ONNX file, checked before it gets its name.

``onnx`` and ``onnxscript`` write the file and ``onnxruntime`` runs it; ``pip install
'occfer[onnx]'`` installs the three.
"""

import copy
import importlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from occfer.data.align import SIZE
from occfer.emotions import EMOTIONS
from occfer.fgw import FGW, FGWOutput, PlainClassifier, PlainOutput
from occfer.files import writable
from occfer.randomness import generator_for

TOLERANCE = 1e-4
"""The largest difference from PyTorch, in any output, that an exported file may show."""
OUTPUTS = {kind.__name__: said for kind, said in ((FGW, FGWOutput), (PlainClassifier, PlainOutput))}
# Kept in the file, so that whoever runs it knows what goes in and what comes out.
ABOUT = "occfer"


def export_onnx(model: nn.Module, path: str | Path, side: int = SIZE) -> Path:
    """Write a classifier as one ONNX file, and compare it with PyTorch first.

    The file takes ``images`` [B, 3, side, side], float32 in [0, 1], for any B, and gives the fields
    of :class:`occfer.FGWOutput` by name, or ``logits`` alone for a plain network. A file that is
    there is replaced only by one that passed.

    Args:
        model: an FGW or a plain classifier; it is left as it was.
        path: of the file, such as ``model.onnx``.
        side: of the square pictures in pixels; the default is what :func:`occfer.predict` cuts out.

    Raises:
        ValueError: another network, one of other classes, a side that is none, or a file that
            differs from PyTorch by more than 1e-4.
        ImportError: the packages are not installed.
    """
    if type(model).__name__ not in OUTPUTS:
        raise ValueError(
            f"an exported network should be one of {', '.join(OUTPUTS)}, got a "
            f"{type(model).__name__}; pass what occfer.finetune or occfer.load_model gave."
        )
    if side < 1:
        raise ValueError(f"side should be at least 1 pixel, got {side}; 112 is predict's.")
    classes = model.options["num_classes"]
    if classes != len(EMOTIONS):
        raise ValueError(
            f"an exported network should know the {len(EMOTIONS)} classes {', '.join(EMOTIONS)}, "
            f"got one of {classes}; pass one that was made with num_classes={len(EMOTIONS)}."
        )
    for package in ("onnx", "onnxscript", "onnxruntime"):
        _needs(package)
    path = writable(Path(path))
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    model = copy.deepcopy(model).cpu().eval()
    try:
        _write(model, draft, side)
        _compare(model, OnnxClassifier(draft), side)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return path


class OnnxClassifier(nn.Module):
    """An exported file as a network, for :func:`occfer.predict` and :func:`occfer.evaluate`.

    Args:
        path: what :func:`export_onnx` wrote.
        threads: of onnxruntime; all cores where left out.

    Called with images [B, C, side, side]; returns what the exported network returned.
    """

    def __init__(self, path: str | Path, threads: int | None = None):
        super().__init__()
        # Whoever runs a network asks its parameters where they lie.
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)
        runtime = _needs("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path} should be an exported network, but is no file.")
        try:
            self.session = runtime.InferenceSession(
                os.fspath(path), options, providers=["CPUExecutionProvider"]
            )
            about = json.loads(self.session.get_modelmeta().custom_metadata_map[ABOUT])
            self.output, self.side = OUTPUTS[about["network"]], int(about["side"])
            if tuple(about["classes"]) != EMOTIONS:
                raise ValueError(f"its classes are {', '.join(about['classes'])}")
            names = [
                [each.name for each in side]
                for side in (self.session.get_inputs(), self.session.get_outputs())
            ]
            if names != [["images"], list(self.output._fields)]:
                raise ValueError(f"it takes {names[0]} and gives {names[1]}")
        except Exception as damage:  # onnxruntime has a class of its own for each of its errors
            raise ValueError(
                f"{path} should be a network that occfer export wrote, but cannot be read "
                f"({_first_line(damage)}); export it again."
            ) from damage

    def forward(self, images: Float[Tensor, "batch colours height width"]):
        if images.shape[2:] != (self.side, self.side):
            raise ValueError(
                f"this file takes pictures of {self.side} x {self.side} pixels, got "
                f"{images.shape[2]} x {images.shape[3]}; resize them, or export with another side."
            )
        pixels = images.float().expand(-1, 3, -1, -1).contiguous().numpy()
        found = self.session.run(list(self.output._fields), {"images": pixels})
        return self.output(*map(torch.from_numpy, found))


def _write(model: nn.Module, path: Path, side: int) -> None:
    images = _pictures(2, side)
    with torch.no_grad(), warnings.catch_warnings():
        # The matrices that cut regions are kept for the next call; they have to be made outside of
        # the exporter, whose tensors hold no numbers.
        model(images)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        program = torch.onnx.export(
            model,
            (images,),
            dynamo=True,
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            input_names=["images"],
            output_names=list(OUTPUTS[type(model).__name__]._fields),
            verbose=False,
        )
    about = {"network": type(model).__name__, "side": side, "classes": list(EMOTIONS)}
    program.model.metadata_props[ABOUT] = json.dumps(about)
    program.save(path)


@torch.no_grad()
def _compare(model: nn.Module, exported: OnnxClassifier, side: int) -> None:
    for batch in (1, 3):
        images = _pictures(batch, side)
        for name, ours, theirs in zip(
            exported.output._fields, model(images), exported(images), strict=True
        ):
            difference = (ours - theirs).abs().max().item()
            if not difference <= TOLERANCE:
                raise ValueError(
                    f"the exported network should agree with PyTorch to {TOLERANCE}, but its "
                    f"{name} differ by {difference:.2g}; the file was not kept."
                )


def _pictures(batch: int, side: int) -> Float[Tensor, "batch 3 side side"]:
    return torch.rand(batch, 3, side, side, generator=generator_for(batch, side))


def _needs(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as missing:
        raise ImportError(
            f"ONNX files need the package {package}, which is not installed; "
            "pip install 'occfer[onnx]' installs it."
        ) from missing


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
