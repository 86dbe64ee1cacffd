"""occfer: facial expressions under occlusion.

A readable implementation of Xi Yan (2022), fine-grained occluded facial expression recognition
based on contrastive learning: OCL (§2.2), FGW (§2.3) and LGDS (§2.4).
"""

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
