"""Does a face detector that never saw a rendering agree with the mesh? MTCNN on SynthFER.

``python -m tools.synthfer.quality`` shows MTCNN (Zhang et al., "Joint face detection and alignment
using multitask cascaded convolutional networks", 2016; facenet-pytorch's weights and thresholds)
every face of a split and writes the record that the data card reads. The protocol is the same for
all faces: the picture is continued by ``MARGIN`` pixels of its border on every side, because the
crop leaves no surroundings and MTCNN was trained with some, then enlarged by each of
``ENLARGEMENTS`` with bicubic interpolation. The one that counts is ``GOAL_ENLARGEMENT``; the others
show what the size of the picture does. A face is found where the largest box holds the tip of its
nose; the error of a landmark is its distance from the mesh's, as a share of the distance of the
mesh's eyes in the picture.
"""

from __future__ import annotations

import argparse
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from occfer.data import FaceSet, load_faces
from occfer.data.synthfer import PACK_SHA256
from occfer.emotions import EMOTIONS
from occfer.engine.records import Record, environment

MARGIN = 28  # pixels, a quarter of the picture
ENLARGEMENTS = (1, 2, 4)
GOAL_ENLARGEMENT = 4
GOAL_FOUND, GOAL_MEDIAN = 0.98, 0.05

LANDMARKS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
NOSE = 2
YAW_EDGES = (-35.0, -20.0, -7.0, 7.0, 20.0, 35.0)  # degrees
INTENSITY_EDGES = (0.3, 0.5, 0.7, 1.0)


def make_detector() -> object:
    """MTCNN as facenet-pytorch ships it, on the CPU."""
    from facenet_pytorch import MTCNN

    return MTCNN(keep_all=False, device="cpu")


def show(detector: object, picture: np.ndarray, enlargement: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest face that a detector sees in a picture, uint8 [H, W, 3].

    Returns:
        ``(box, points)`` in the picture's own pixels, the centre of the first at (0, 0): left, top,
        right, bottom [4], and the five landmarks [5, 2]; NaN where it sees none.
    """
    wide = np.pad(picture, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), "edge")
    height, width = (enlargement * side for side in wide.shape[:2])
    large = Image.fromarray(wide).resize((width, height), Image.Resampling.BICUBIC)
    boxes, _, points = detector.detect(large, landmarks=True)
    if boxes is None:
        return np.full(4, np.nan), np.full((5, 2), np.nan)

    def back(values: object) -> np.ndarray:
        return (np.array(values, float) + 0.5) / enlargement - 0.5 - MARGIN

    return back(boxes[0].tolist()), back(points[0].tolist())


def show_all(
    faces: FaceSet, enlargement: int, detector: object | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """:func:`show` for every face: boxes float32 [N, 4] and points float32 [N, 5, 2]."""
    detector = detector or make_detector()
    pictures = tqdm(faces.images, desc=f"x{enlargement}", unit="face", disable=None)
    seen = [show(detector, picture.permute(1, 2, 0).numpy(), enlargement) for picture in pictures]
    boxes, points = zip(*seen, strict=True)
    return np.array(boxes, np.float32), np.array(points, np.float32)


def found(boxes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Which boxes [N, 4] hold the nose of the landmarks [N, 5, 2], bool [N]."""
    nose = truth[:, NOSE]
    return ((boxes[:, :2] <= nose) & (nose <= boxes[:, 2:])).all(1)


def offsets(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Where ``points`` [N, 5, 2] lie as seen from the true ones, [N, 5, 2]: along the line of the
    eyes, to the right of the picture, and across it, downwards, in shares of the eyes' distance."""
    eyes = truth[:, 1] - truth[:, 0]
    along = eyes / (eyes**2).sum(1, keepdims=True)
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    return np.einsum("npk,nak->npa", points - truth, np.stack([along, across], 1))


def errors(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distances [N, 5] of the points from the true ones, in shares of the eyes' distance."""
    return np.linalg.norm(offsets(points, truth), axis=-1)


def summary(boxes: np.ndarray, points: np.ndarray, faces: FaceSet) -> dict:
    """How often faces are found, how far off the landmarks of the found ones are (medians over
    all landmarks), and where they lie on the whole; over all faces and by class, yaw, intensity,
    shade and glasses."""
    truth = faces.landmarks.numpy().astype(np.float64)
    held, error, offset = found(boxes, truth), errors(points, truth), offsets(points, truth)
    labels, yaw = faces.labels.numpy(), faces.extras["pose"][:, 0].numpy()
    intensity, shade = faces.extras["intensity"].numpy(), faces.extras["shade"].numpy()
    glasses = faces.extras["glasses"].numpy()

    def over(which: np.ndarray) -> dict:
        good = which & held
        return {
            "count": int(which.sum()),
            "found": _rounded(held[which].mean()) if which.any() else None,
            "median_error": _rounded(np.median(error[good])) if good.any() else None,
        }

    turns = _bins(yaw, YAW_EDGES)
    return {
        **over(np.ones(len(faces), bool)),
        "median_of_face_means": _rounded(np.median(error[held].mean(1))),
        "median_error_by_landmark": _by_landmark(np.median(error[held], 0)),
        "median_offset_by_landmark": _by_landmark(np.median(offset[held], 0)),
        "median_offset_by_yaw": {
            name: _by_landmark(np.median(offset[held & turn], 0))
            for name, turn in turns.items()
            if (held & turn).any()
        },
        "by_class": {name: over(labels == label) for label, name in enumerate(EMOTIONS)},
        "by_yaw": {name: over(turn) for name, turn in turns.items()},
        "by_intensity": {
            name: over(which) for name, which in _bins(intensity, INTENSITY_EDGES).items()
        },
        "by_shade": {str(value): over(shade == value) for value in range(10)},
        "by_glasses": {"without": over(glasses == 0), "with": over(glasses == 1)},
    }


def make_record(faces: FaceSet, seen: dict[int, tuple[np.ndarray, np.ndarray]]) -> dict:
    """The record's values: protocol, versions, and a summary each enlargement.

    Args:
        faces: what was shown.
        seen: enlargement → :func:`show_all`'s boxes and points.
    """
    return {
        "experiment": "synthfer",
        "name": "mtcnn",
        "protocol": {
            "margin": MARGIN,
            "enlargements": list(seen),
            "goal": {"enlargement": GOAL_ENLARGEMENT, "found": GOAL_FOUND, "median": GOAL_MEDIAN},
        },
        "data": {faces.split: faces.describe()},
        "pack_sha256": PACK_SHA256,
        "environment": {
            **environment(),
            **{tool: version(tool) for tool in ("facenet-pytorch", "pillow")},
        },
        "metrics": {str(times): summary(*there, faces) for times, there in seen.items()},
    }


def main(arguments: list[str] | None = None) -> None:
    """Command line: measure a split, write ``synthfer/mtcnn.json`` and what MTCNN saw beside it."""
    parser = argparse.ArgumentParser(prog="python -m tools.synthfer.quality")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"))
    parser.add_argument("--results", type=Path, default=Path("book/results"))
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)
    faces = load_faces("synthfer", options.split)
    seen = {times: show_all(faces, times) for times in ENLARGEMENTS}
    values = make_record(faces, seen)
    path = Record(values).save(options.results)
    np.savez_compressed(
        path.with_name("mtcnn-points.npz"),
        **{f"boxes{times}": boxes for times, (boxes, _) in seen.items()},
        **{f"points{times}": points for times, (_, points) in seen.items()},
    )
    for times, result in values["metrics"].items():
        print(f"x{times}: found {result['found']:.1%}, median error {result['median_error']:.2%}")


def _bins(values: np.ndarray, edges: tuple[float, ...]) -> dict[str, np.ndarray]:
    """Which values lie between neighbouring edges; the last bin holds its upper end."""
    return {
        f"{low:g} to {high:g}": (low <= values)
        & ((values <= high) if high == edges[-1] else (values < high))
        for low, high in pairwise(edges)
    }


def _by_landmark(values: np.ndarray) -> dict[str, float | list[float]]:
    return {name: _rounded(value) for name, value in zip(LANDMARKS, values, strict=True)}


def _rounded(value: np.ndarray | float) -> float | list[float]:
    return np.round(np.asarray(value, float), 5).tolist()


if __name__ == "__main__":
    main()
