"""The five points of faces that are cut out already and may be small, such as FER2013's (§3.1).

MTCNN looks for faces of twenty pixels and more inside a picture; a face of 48 pixels that fills
its picture to the edge is none to it. So each face is enlarged and given a margin first. Where no
face is found even so, the fallback is the mean of the points found on the others of the same set,
and where there are none, the template of ``align``; which points are a fallback stands beside
them.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image
from tqdm.auto import tqdm

from occfer.data.align import SIZE, TEMPLATE
from occfer.data.detect import Detector
from occfer.data.faceset import FaceSet

# The side of an enlarged face, and of the margin on each side of it, filled with its edge.
ENLARGED, MARGIN = 144, 36
BATCH = 64


def add_landmarks(
    faces: FaceSet,
    min_score: float = 0.7,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> FaceSet:
    """The same faces with landmarks.

    Args:
        faces: cut out, one face each; landmarks they have are replaced.
        min_score: probability of being a face below which the fallback is taken.
        device: of the networks.
        progress: show a bar.

    Returns:
        The set with two extras more: ``landmark_score``, the probability of being a face, and
        ``landmark_found``, False where the landmarks are the fallback.
    """
    # A face fills most of its picture: smaller ones are not looked for.
    detector = Detector(min_face=ENLARGED // 3, device=device)
    points = np.full((len(faces), 5, 2), np.nan, np.float32)
    scores = np.zeros(len(faces), np.float32)
    with tqdm(total=len(faces), desc="landmarks", unit="face", disable=not progress) as bar:
        for start in range(0, len(faces), BATCH):
            batch = faces.images[start : start + BATCH].cpu().numpy()
            found = detector([_enlarged(pixels) for pixels in batch])
            for place, each in enumerate(found, start):
                if len(each) and each.scores[0] >= min_score:
                    scores[place] = each.scores[0]
                    points[place] = _on_the_face(each.landmarks[0], faces.size)
            bar.update(len(batch))
    there = scores > 0
    points[~there] = points[there].mean(axis=0) if there.any() else _template(faces.size)
    found = {"landmark_score": torch.from_numpy(scores), "landmark_found": torch.from_numpy(there)}
    extras = {key: value.to(faces.device) for key, value in found.items()}
    return replace(
        faces,
        landmarks=torch.from_numpy(points).to(faces.device),
        extras={**faces.extras, **extras},
    )


def _enlarged(pixels: UInt8[np.ndarray, "c h w"]) -> UInt8[np.ndarray, "_ _ 3"]:
    image = Image.fromarray(pixels.transpose(1, 2, 0).repeat(3 // len(pixels), axis=2))
    large = np.asarray(image.resize((ENLARGED, ENLARGED), Image.Resampling.BICUBIC))
    return np.pad(large, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode="edge")


def _on_the_face(
    points: Float32[np.ndarray, "5 2"], size: tuple[int, int]
) -> Float32[np.ndarray, "5 2"]:
    """Points on the enlarged face, in the pixels of the face as it was."""
    return (points - MARGIN + 0.5) * (np.array(size[::-1]) / ENLARGED).astype(np.float32) - 0.5


def _template(size: tuple[int, int]) -> Float32[np.ndarray, "5 2"]:
    return ((TEMPLATE + 0.5) * np.array(size[::-1]) / SIZE - 0.5).astype(np.float32)
