"""From the bytes of one picture to pixels, refusing what is broken, huge or no picture."""

import struct
import zlib
from io import BytesIO
from pathlib import Path, PurePath
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

Mode = Literal["L", "RGB"]

MAX_PIXELS = 50_000_000
MAX_BYTES = 100 * 2**20
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
# Named one by one: Pillow also knows formats that start other programs or hold scripts.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
# What Pillow raises on bytes that are no sound picture, as mutated files show.
_BROKEN = (
    OSError,
    ValueError,
    SyntaxError,  # its word for a broken PNG
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    ZeroDivisionError,
    MemoryError,
    struct.error,
    zlib.error,
    UserWarning,  # where warnings are errors
)


class BadPicture(ValueError):
    """Bytes that are no picture, a broken one, or one of unexpected size."""


class TooManyPixels(BadPicture):
    """A picture that is larger than its reader allows."""


def visible(path: PurePath) -> bool:
    """Whether no part of a path within a folder of pictures is hidden.

    macOS leaves ``._anna.jpg``, which is no picture, beside ``anna.jpg``; archives come with
    ``__MACOSX``, and viewers keep small copies in ``.thumbs``.
    """
    return not any(part.startswith((".", "__")) for part in path.parts)


def kind(content: bytes) -> str | None:
    """Which of ``FORMATS`` the bytes say they are in; ``None`` for any other content."""
    starts = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n", "BMP": b"BM"}
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    return next((name for name, start in starts.items() if content.startswith(start)), None)


def load(
    path: Path, mode: Mode, size: tuple[int, int] | None = None, resize: bool = False
) -> UInt8[np.ndarray, "height width *rgb"]:
    """The pixels of a picture file; see ``decode``. Larger files are not even read."""
    _check_bytes(path.stat().st_size, str(path))
    return decode(path.read_bytes(), str(path), mode, size, resize)


def decode(
    content: bytes,
    name: str,
    mode: Mode,
    size: tuple[int, int] | None = None,
    resize: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> UInt8[np.ndarray, "height width *rgb"]:
    """The pixels of one picture, turned as its EXIF data says.

    Args:
        content: the file, of at most ``MAX_BYTES``; its format is decided by these bytes, never
            by a name.
        name: what error messages call it.
        mode: grey ``"L"`` ([H, W]) or ``"RGB"`` ([H, W, 3]); transparency is dropped.
        size: height and width the picture must have.
        resize: bring other sizes to ``size`` (area-weighted bilinear) instead of refusing them.
        max_pixels: larger pictures are refused before any pixel is decoded.

    Raises:
        BadPicture: the bytes are no picture in one of ``FORMATS``, a broken one, or one of
            another or (``TooManyPixels``) an excessive size; the message starts with ``name``.
    """
    _check_bytes(len(content), name)
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise _too_many(name, f"it has {image.width} x {image.height} pixels, too many")
            picture = upright(image, mode)
    except TooManyPixels:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many(name, error) from error
    except _BROKEN as error:
        # Pillow names the buffer by its place in memory, which is another one each time.
        unknown = isinstance(error, UnidentifiedImageError)
        why = f"it begins like no {', '.join(FORMATS)}" if unknown else error
        raise BadPicture(
            f"{name} cannot be read as a picture ({why}); replace or remove it."
        ) from error
    if size is not None and (picture.height, picture.width) != size:
        if not resize:
            raise BadPicture(
                f"{name} must be {size[0]} x {size[1]} pixels high and wide, got "
                f"{picture.height} x {picture.width}; replace or remove it."
            )
        picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def upright(image: Image.Image, mode: Mode) -> Image.Image:
    """An opened picture in one of the two modes, turned as its EXIF data says."""
    return ImageOps.exif_transpose(_eight_bits(image)).convert(mode)


def _check_bytes(count: int, name: str) -> None:
    if count > MAX_BYTES:
        raise BadPicture(
            f"{name} must have at most {MAX_BYTES:,} bytes to be read as a picture, got {count:,}; "
            f"replace or remove it."
        )


def _too_many(name: str, what: object) -> TooManyPixels:
    return TooManyPixels(f"{name} cannot be read as a picture ({what}); replace or remove it.")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Sixteen-bit grey scaled to eight, since Pillow's own conversion cuts off at 255.

    Pillow also keeps it in mode I, of 32 bits; what holds 255 at most there is of eight already.
    """
    if image.mode == "F":
        raise ValueError(
            "a picture should have pixels of 8 or 16 bits, got one of floats (mode F), which may "
            "end at 1 or at 255; pass a float tensor in [0, 1]."
        )
    if not image.mode.startswith("I"):
        return image
    if image.mode == "I":
        low, high = image.getextrema()
        if not 0 <= low <= high < 2**16:
            raise ValueError(
                f"a picture should have pixels of 8 or 16 bits, got values from {low} to {high}; "
                "scale them to 0 to 255."
            )
        if high <= 255:
            return image.convert("L")
    scaled = Image.fromarray((np.asarray(image, dtype=np.float64) / 257).round().astype(np.uint8))
    scaled.info.update(image.info)
    return scaled
