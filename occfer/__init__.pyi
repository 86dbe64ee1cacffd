from . import occlusion, recipes
from .attention import ChannelSpatialAttention
from .data import FaceSet, load_faces
from .emotions import EMOTIONS
from .engine.evaluate import evaluate
from .engine.finetune import finetune
from .engine.models import load_encoder, load_model, save_model
from .engine.predict import predict
from .engine.pretrain import pretrain
from .fgw import FGW, FGWOutput, PlainClassifier
from .lgds import LocalGlobalLoss, restrain_loss
from .ocl import Encoder, nt_xent
from .regions import five_regions
from .views import TwoViews

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
