"""Frames of a camera, or of a video file, one after the other."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8


def frames(source: int | str | Path) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """RGB frames until the source ends; a camera ends when the caller stops asking.

    Args:
        source: number of a camera, 0 being the first, or a video file.

    Raises:
        FileNotFoundError: there is no such camera or file, or OpenCV cannot read it.
    """
    # OpenCV counts cameras with 32 bits; a longer number is looked for as a file.
    number = int(source) if str(source).isdecimal() and int(source) < 2**31 else None
    capture = cv2.VideoCapture(str(source) if number is None else number)
    try:
        if not capture.isOpened():
            what = f"video {source}" if number is None else f"camera {number}"
            raise FileNotFoundError(
                f"the {what} cannot be opened; look whether it is there, and free to be used."
            )
        while True:
            there, pixels = capture.read()
            if not there:
                return
            yield cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()
