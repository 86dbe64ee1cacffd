"""occfer: facial expressions under occlusion.

A readable implementation of Xi Yan (2022), fine-grained occluded facial expression recognition
based on contrastive learning: OCL (§2.2), FGW (§2.3) and LGDS (§2.4).

Each name is imported when it is first asked for (PEP 562), so that a command can say in one
sentence what goes wrong meanwhile, and whoever needs one idea waits for no other.
"""

import importlib
import importlib.metadata
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from occfer import occlusion, recipes
    from occfer.attention import ChannelSpatialAttention
    from occfer.data import FaceSet, load_faces
    from occfer.emotions import EMOTIONS
    from occfer.engine.evaluate import evaluate
    from occfer.engine.finetune import finetune
    from occfer.engine.models import load_encoder, load_model, save_model
    from occfer.engine.predict import predict
    from occfer.engine.pretrain import pretrain
    from occfer.fgw import FGW, FGWOutput, PlainClassifier
    from occfer.lgds import LocalGlobalLoss, restrain_loss
    from occfer.ocl import Encoder, nt_xent
    from occfer.regions import five_regions
    from occfer.views import TwoViews

__all__ = [
    "EMOTIONS",
    "FGW",
    "ChannelSpatialAttention",
    "Encoder",
    "FGWOutput",
    "FaceSet",
    "LocalGlobalLoss",
    "PlainClassifier",
    "TwoViews",
    "evaluate",
    "finetune",
    "five_regions",
    "load_encoder",
    "load_faces",
    "load_model",
    "nt_xent",
    "occlusion",
    "predict",
    "pretrain",
    "recipes",
    "restrain_loss",
    "save_model",
]

_MODULES = {
    "attention": ("ChannelSpatialAttention",),
    "data": ("FaceSet", "load_faces"),
    "emotions": ("EMOTIONS",),
    "engine.evaluate": ("evaluate",),
    "engine.finetune": ("finetune",),
    "engine.models": ("load_encoder", "load_model", "save_model"),
    "engine.predict": ("predict",),
    "engine.pretrain": ("pretrain",),
    "fgw": ("FGW", "FGWOutput", "PlainClassifier"),
    "lgds": ("LocalGlobalLoss", "restrain_loss"),
    "ocl": ("Encoder", "nt_xent"),
    "regions": ("five_regions",),
    "views": ("TwoViews",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        found = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    elif name == "__version__" and (installed := _installed()):
        found = installed
    elif not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}"):
        return importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def _installed() -> str | None:
    try:
        return importlib.metadata.version(__name__)
    except importlib.metadata.PackageNotFoundError:
        return None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
