"""From a picture to the expressions on it: find faces, align them, and ask a network.

A tensor holds faces that are cut out already. Everything else, a file, a folder, a picture or a
camera's frame, is searched by MTCNN and aligned to one template first, unless told otherwise.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, UInt8
from PIL import Image
from torch import Tensor, nn
from tqdm.auto import tqdm

from occfer.data import pictures
from occfer.data.align import moved
from occfer.data.extract import PART, Choice, Extracted, Extractor
from occfer.data.sources import PICTURES
from occfer.emotions import EMOTIONS
from occfer.engine.evaluate import probabilities_of, require_classifier
from occfer.engine.export import OnnxClassifier
from occfer.engine.training import channels_last, evaluating
from occfer.views import as_float

Source = Tensor | np.ndarray | Image.Image | str | Path


class NoFace(ValueError):
    """A picture on which no face was taken."""


@dataclass(frozen=True)
class Faces:
    """Faces found on pictures, a row each.

    ``names`` of the pictures they are from, as paths; ``boxes`` (left, top, right, bottom) and
    ``landmarks`` in pixels of the picture, the first pixel's centre being (0, 0); ``matrices`` take
    a point of the picture to one of ``images``, the aligned faces. ``rejected`` says of each face
    and picture that was passed over why.
    """

    names: tuple[str, ...]
    boxes: Float32[np.ndarray, "faces 4"]
    scores: Float32[np.ndarray, " faces"]
    landmarks: Float32[np.ndarray, "faces 5 2"]
    matrices: Float64[np.ndarray, "faces 2 3"]
    images: UInt8[Tensor, "faces 3 size size"]
    rejected: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Prediction:
    """What a network says of B faces.

    ``probabilities`` [B, 7]; ``region_probabilities`` [B, K, 7], the votes of the regions, and
    ``attention`` [B, K, h, w], their maps, for FGW, ``None`` for a plain network. ``faces`` says
    where each face lies, where they had to be found; ``occfer.saliency.on_pictures`` brings the
    maps there.
    """

    probabilities: Float[Tensor, "batch classes"]
    region_probabilities: Float[Tensor, "batch regions classes"] | None = None
    attention: Float[Tensor, "batch regions map_height map_width"] | None = None
    faces: Faces | None = None

    @property
    def emotions(self) -> list[str]:
        """The name of the most probable expression of each face."""
        return [EMOTIONS[label] for label in self.probabilities.argmax(dim=1).tolist()]


def predict(
    model: nn.Module, source: Source, aligned: bool | None = None, choice: Choice | None = None
) -> Prediction:
    """Probabilities of the seven expressions for every face of a source.

    Faces are cut out as :mod:`occfer.data.align` does. A network that learnt from faces cut out
    otherwise reads these worse than its own.

    Args:
        model: a trained network, as :func:`occfer.finetune` or :func:`occfer.load_model` gives.
        source: a picture file, a folder of them at any depth, a PIL picture, an array [H, W] or
            [H, W, 3] of uint8 such as a camera's frame (RGB), or a tensor [C, H, W] or
            [B, C, H, W], uint8 or float in [0, 1].
        aligned: whether the source shows faces that are cut out already, one a picture. Where left
            out, tensors do and all else does not.
        choice: which of the faces found are taken; all of at least 40 pixels where left out.

    Raises:
        BadPicture: no picture could be read; or, of faces that are cut out already, one could not,
            since nothing would say which faces the rows are of.
        NoFace: no face was found on those that could.
        ValueError: faces of a folder that are cut out already are not all of one size.
    """
    require_classifier(model)
    if aligned or (aligned is None and isinstance(source, Tensor)):
        faces, images = None, as_faces(source)
    else:
        faces = find_faces(source, choice or Choice(), next(model.parameters()).device)
        images = faces.images
    # As many at a time as are searched at a time.
    with _cores_left_to(model), evaluating(model):
        parts = [_ask(model, as_float(part)) for part in images.split(PART)]
    joined = [
        None if each[0] is None else torch.cat(each)
        for each in zip(*(vars(part).values() for part in parts), strict=True)
    ]
    return Prediction(*joined[:3], faces)


def find_faces(source: Source, choice: Choice, device: torch.device | str = "cpu") -> Faces:
    """The faces on a picture, or on those of a folder, aligned; see :func:`predict`."""
    if isinstance(source, Tensor):
        raise ValueError(
            "a tensor should hold faces that are cut out already; pass a picture in which to "
            "search as an array [H, W, 3] of uint8."
        )
    named = _pictures(source)
    extractor, found = _extractor(choice, str(device)), []
    starts = range(0, len(named), PART)
    for start in tqdm(starts, desc="faces", unit="part", disable=len(starts) < 2):
        found.append(extractor(named[start : start + PART]))
    what = str(source) if isinstance(source, str | Path) else "the picture"
    rejected = [each for part in found for each in part.rejected]
    # Faces that were rejected have names of their own.
    names = {name for name, _ in named}
    unread = [why for name, why in rejected if name in names and why != "no face"]
    if len(unread) == len(named):
        raise pictures.BadPicture("; ".join(unread[:3]))
    return _joined(found, choice, what)


@lru_cache(maxsize=4)
def _extractor(choice: Choice, device: str) -> Extractor:
    return Extractor(choice, device)


def _joined(found: Sequence[Extracted], choice: Choice, what: str) -> Faces:
    rejected = tuple(each for part in found for each in part.rejected)
    images = [image for part in found for image in part.images]
    if not images:
        why = "; ".join(sorted({reason for _, reason in rejected})[:3])
        raise NoFace(
            f"{what} should show a face of at least {choice.min_face} pixels a side, but none was "
            f"taken ({why}); pass aligned=True, or --aligned, if a face is cut out already."
        )
    matrices = np.stack([each for part in found for each in part.matrices])
    aligned = [each for part in found for each in part.landmarks]
    return Faces(
        tuple(name.rsplit("#", 1)[0] for part in found for name in part.ids),
        np.array([each for part in found for each in part.boxes], np.float32),
        np.array([each for part in found for each in part.scores], np.float32),
        np.stack([moved(p, _inverse(m)) for p, m in zip(aligned, matrices, strict=True)]),
        matrices,
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2),
        rejected,
    )


def _inverse(matrix: Float64[np.ndarray, "2 3"]) -> Float64[np.ndarray, "2 3"]:
    return np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]


def _pictures(source: Source) -> list[tuple[str, Callable[[], np.ndarray]]]:
    """Names of pictures, and what reads each."""
    if isinstance(source, str | Path):
        return [(str(path), lambda path=path: pictures.load(path, "RGB")) for path in files(source)]
    if isinstance(source, Image.Image):
        return [("picture", lambda: np.asarray(pictures.upright(source, "RGB")))]
    picture = Image.fromarray(_as_pixels(source))
    return [("picture", lambda: np.asarray(picture.convert("RGB")))]


def files(source: str | Path) -> list[Path]:
    """A picture file, or those of a folder at any depth, in order; hidden ones are left out.

    Those of a format that is not read, such as .gif, are among them, so that whoever reads says so.
    """
    path = Path(source)
    if not str(source):
        raise ValueError(
            "a source should be a picture or a folder of them, but its name is empty; write . for "
            "the folder you stand in."
        )
    if not path.exists():
        raise FileNotFoundError(
            f"{path} should be a picture or a folder of them, but is not there."
        )
    if not path.is_dir():
        return [path]
    found = sorted(
        each
        for each in path.rglob("*")
        if each.suffix.lower() in PICTURES
        and pictures.visible(each.relative_to(path))
        and not each.is_dir()
    )
    if not found:
        raise ValueError(
            f"{path} should hold pictures ({', '.join(pictures.SUFFIXES)}), but holds none."
        )
    return found


def as_faces(source: Source) -> Float[Tensor, "batch colours height width"]:
    """Pictures that show a face each, cut out already → [B, C, H, W] float in [0, 1].

    Args:
        source: as for :func:`predict`; the pictures of a folder need one size.
    """
    if isinstance(source, str | Path):
        loaded = [pictures.load(path, "RGB") for path in files(source)]
        sizes = {each.shape[:2] for each in loaded}
        if len(sizes) > 1:
            raise ValueError(
                f"faces that are cut out already should have one size to be one batch, got "
                f"{sorted(sizes)[:3]}; pass them one by one."
            )
        source = torch.from_numpy(np.stack(loaded)).permute(0, 3, 1, 2)
    elif isinstance(source, Image.Image):
        source = np.asarray(pictures.upright(source, "RGB"))
    if not isinstance(source, Tensor):
        pixels = _as_pixels(source)
        pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
        source = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    _check_range(source)
    return as_float(source[None] if source.ndim == 3 else source)


def _check_range(pixels: Tensor) -> None:
    """Pixels from 0 to 255 as floats would be answered too, and wrongly."""
    if pixels.dtype == torch.uint8:
        return
    # Resampling may leave [0, 1] by a little; a NaN lies nowhere.
    if pixels.is_floating_point() and bool(((pixels > -0.1) & (pixels < 1.1)).all()):
        return
    ends = (
        f" from {pixels.min():.4g} to {pixels.max():.4g}"
        if pixels.numel() and not pixels.is_complex()
        else ""
    )
    raise ValueError(
        f"a tensor should be uint8, or float in [0, 1], got {pixels.dtype}{ends}; convert it, as "
        "in x.float() / 255."
    )


def _as_pixels(array: np.ndarray) -> np.ndarray:
    if not isinstance(array, np.ndarray):
        raise ValueError(
            "a source should be a file, a folder, a picture, an array or a tensor, got a "
            f"{type(array).__name__}; pass pictures one by one, or as a tensor [B, C, H, W]."
        )
    fits = array.size and (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3)))
    if array.dtype != np.uint8 or not fits:
        raise ValueError(
            f"an array should be uint8 [H, W] or [H, W, C] with 1 or 3 channels, got "
            f"{array.dtype} with shape {list(array.shape)}; pass tensors for batches and floats."
        )
    return array[:, :, 0] if array.shape[2:] == (1,) else array


@contextmanager
def _cores_left_to(model: nn.Module) -> Iterator[None]:
    """A network in onnxruntime brings its own threads, and PyTorch keeps to one meanwhile.

    Threads that have done their share of a tensor go on looking for work for some milliseconds, on
    the cores that the network needs; that took longer than the network itself.
    """
    if not isinstance(model, OnnxClassifier):
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@torch.inference_mode()
def _ask(model: nn.Module, images: Float[Tensor, "batch colours height width"]) -> Prediction:
    device = next(model.parameters()).device
    output = model(channels_last(images.to(device)))
    regions = getattr(output, "region_logits", None)
    return Prediction(
        probabilities_of(output.logits),
        None if regions is None else regions.float().softmax(dim=2).cpu(),
        None if regions is None else output.attention.float().cpu(),
    )
