"""Pictures shrunk by averaging areas, from one table of sums for all sizes and parts.

The same numbers, to the last bit, as ``torch.nn.functional.interpolate(mode="area")`` gives for
bytes, at a cost that depends on the size of the result only (Crow 1984, doi:10.1145/800031.808600).
"""

import cv2
import numpy as np
from jaxtyping import Float32, Int32, UInt8


class AreaSums:
    """The table of one picture: at (y, x) the sum of all pixels above and to the left.

    Sums are kept modulo 2^32, in which differences are right as long as no averaged area holds
    more than 2^31 / 255 pixels, eight millions.
    """

    def __init__(self, pixels: UInt8[np.ndarray, "height width 3"]) -> None:
        self.height, self.width = pixels.shape[:2]
        # Four numbers a place, of which three are used: NumPy fetches sixteen bytes, which pass
        # for a complex number, ten times as fast as twelve.
        sums = cv2.integral(cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA), sdepth=cv2.CV_32S)
        self.table = sums.view(np.complex128)[..., 0]

    def whole(self, size: tuple[int, int]) -> Float32[np.ndarray, "h w 3"]:
        """The picture at ``size``, height and width in pixels."""
        return self.parts(np.array([[0, 0, self.width, self.height]], np.int32), size)[0]

    def parts(
        self, boxes: Int32[np.ndarray, "n 4"], size: tuple[int, int]
    ) -> Float32[np.ndarray, "n h w 3"]:
        """Parts of the picture, each at ``size``, height and width in pixels.

        Args:
            boxes: left, top, right and bottom edge in pixels, the first included, the last not;
                inside the picture and not empty.
            size: smaller or larger than the parts; in larger ones pixels are repeated.
        """
        left, top, right, bottom = boxes.T.astype(np.int64)
        y0, y1 = (edges[:, :, None] for edges in _edges(top, bottom, size[0]))
        x0, x1 = (edges[:, None, :] for edges in _edges(left, right, size[1]))
        table, row = self.table.reshape(-1), self.width + 1
        # "clip" spares NumPy a copy; no index lies outside.
        sums = _sums(table.take(y1 * row + x1, mode="clip"))
        sums -= _sums(table.take(y0 * row + x1, mode="clip"))
        sums -= _sums(table.take(y1 * row + x0, mode="clip"))
        sums += _sums(table.take(y0 * row + x0, mode="clip"))
        # PyTorch divides by height and width in turn, but once where one pixel is all that stays:
        # the other way would round otherwise.
        height, width = ((y1 - y0)[..., None], np.repeat((x1 - x0)[..., None], 4, axis=-1))
        means = sums.astype(np.float32)
        for divisor in (height * width,) if size == (1, 1) else (height, width):
            means /= divisor.astype(np.float32)
        # One channel at a time: NumPy's innermost run would have three numbers otherwise.
        three = np.empty((*means.shape[:3], 3), np.float32)
        for channel in range(3):
            three[..., channel] = means[..., channel]
        return three


def _sums(table: np.ndarray) -> np.ndarray:
    """The four numbers at each place of a table."""
    return table[..., None].view(np.int32)


def _edges(first: np.ndarray, last: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The edges of ``count`` areas from each ``first`` to its ``last``, which may overlap."""
    place, lengths = np.arange(count), (last - first)[:, None]
    starts = place * lengths // count
    ends = -(-(place + 1) * lengths // count)
    return starts + first[:, None], ends + first[:, None]
