"""Pictures come out as their pixels; anything else is refused by name."""

import contextlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from occfer.data import pictures
from occfer.data.pictures import BadPicture, decode

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_a_lossless_picture_keeps_every_pixel(encode, pixels):
    for kind in ("PNG", "BMP"):
        assert np.array_equal(decode(encode(pixels, kind), "x", "RGB"), pixels)


def test_the_content_decides_the_format_not_the_name(encode):
    assert np.array_equal(decode(encode(GREY, "PNG"), "face.jpg", "L"), GREY)


def test_grey_becomes_three_equal_channels_and_back(encode):
    rgb = decode(encode(GREY), "x", "RGB")
    assert rgb.shape == (6, 8, 3)
    assert np.array_equal(rgb, np.repeat(GREY[..., None], 3, axis=2))
    assert np.array_equal(decode(encode(rgb), "x", "L"), GREY)


def test_sixteen_bits_are_scaled_not_cut_off(encode):
    assert np.array_equal(decode(encode(GREY.astype(np.uint16) * 257), "x", "L"), GREY)


@pytest.mark.parametrize("values", [GREY, GREY.astype(np.uint16) * 257])
def test_thirty_two_bits_hold_eight_or_sixteen(values):
    """Eight-bit values are not taken for sixteen-bit ones, of which they would be nearly black."""
    picture = Image.fromarray(values.astype(np.int32))
    assert picture.mode == "I"
    assert np.array_equal(np.asarray(pictures.upright(picture, "L")), GREY)


@pytest.mark.parametrize(
    ("values", "came"),
    [
        (np.float32(GREY) / 255, r"one of floats \(mode F\)"),
        (np.int32(GREY) - 1, "values from -1 to 46"),
        (np.int32(GREY) * 2**16, "values from 0 to 3080192"),
    ],
)
def test_numbers_whose_range_is_not_known_are_refused(values, came):
    with pytest.raises(ValueError, match=f"pixels of 8 or 16 bits, got {came}"):
        pictures.upright(Image.fromarray(values), "RGB")


def test_hidden_parts_of_a_path_are_seen():
    for hidden in ("._a.png", ".thumbs/a.png", "b/.thumbs/a.png", "__MACOSX/a.png"):
        assert not pictures.visible(Path(hidden))
    for shown in ("a.png", "b/a.png", "b._/a__.png"):
        assert pictures.visible(Path(shown))


def test_a_picture_is_turned_as_its_exif_data_says(encode):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    assert np.array_equal(decode(encode(GREY, "PNG", exif=exif), "x", "L"), np.rot90(GREY, -1))


def test_palettes_transparency_and_cmyk_become_plain_colours(encode):
    red = Image.new("RGB", (8, 6), (255, 0, 0))
    for mode, kind in (("P", "PNG"), ("RGBA", "PNG"), ("CMYK", "JPEG")):
        pixels = decode(encode(red.convert(mode), kind), "x", "RGB")
        assert pixels.shape == (6, 8, 3)
        assert abs(pixels.astype(int) - (255, 0, 0)).max() <= 2


def test_another_size_is_refused_or_resampled(encode):
    content = encode(GREY)
    with pytest.raises(BadPicture, match=r"face\.png must be 48 x 48 .* got 6 x 8"):
        decode(content, "face.png", "L", (48, 48))
    assert decode(content, "face.png", "L", (3, 5), resize=True).shape == (3, 5)
    flat = encode(np.full((50, 30), 77, np.uint8))
    assert (decode(flat, "x", "L", (7, 7), resize=True) == 77).all()


def test_shrinking_averages_all_pixels_rather_than_picking_some(encode):
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    small = decode(encode(stripes), "x", "L", (4, 4), resize=True)
    assert abs(small.astype(int) - 127).max() <= 3


def huge_png(width, height):
    """A few bytes that promise width x height pixels."""

    def chunk(kind, content):
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)


@pytest.mark.parametrize(
    "content",
    {
        "nothing": b"",
        "text": b"<html>404 not found</html>",
        "a start without an end": b"\xff\xd8\xff\xe0",
        "a format that runs another program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "51 million pixels": huge_png(51_000, 1_000),
        "a warning's worth of pixels": huge_png(100_000, 1_000),
        "a bomb": huge_png(100_000, 100_000),
        "no pixels after the header": huge_png(6, 8),
        "no width": huge_png(0, 8),
    }.values(),
    ids=str,
)
def test_what_is_no_sound_picture_is_refused_by_name(content):
    with pytest.raises(BadPicture, match=r"^angry/face\.jpg cannot be read as a picture"):
        decode(content, "angry/face.jpg", "L")


def test_the_limit_on_pixels_is_exact(encode):
    assert decode(encode(GREY), "x", "L", max_pixels=48).shape == (6, 8)
    with pytest.raises(BadPicture, match="8 x 6 pixels, too many"):
        decode(encode(GREY), "x", "L", max_pixels=47)


def test_an_excess_of_pixels_has_a_name_of_its_own():
    for content in (huge_png(51_000, 1_000), huge_png(100_000, 1_000), huge_png(100_000, 100_000)):
        with pytest.raises(pictures.TooManyPixels):
            decode(content, "x", "L")


@given(st.data())
@settings(max_examples=200)
def test_whatever_stands_in_a_pngs_chunks_only_one_error_comes(data):
    """With sound checksums, so that Pillow goes on to read what was changed."""
    kinds = b"IHDR PLTE tRNS IDAT gAMA cHRM sRGB pHYs iCCP tEXt zTXt iTXt eXIf acTL fcTL".split()
    header = bytearray(struct.pack(">IIBBBBB", 6, 8, 8, 2, 0, 0, 0))
    if data.draw(st.booleans()):
        header[data.draw(st.integers(8, 12))] = data.draw(st.integers(0, 17))
    rows = zlib.compress(bytes(8 * 19))
    chunks = [(b"IHDR", bytes(header)), (b"IDAT", rows), (b"IEND", b"")]
    for _ in range(data.draw(st.integers(1, 3))):
        drawn = (data.draw(st.sampled_from(kinds)), data.draw(st.binary(max_size=40)))
        chunks.insert(data.draw(st.integers(0, len(chunks))), drawn)
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(each)) + kind + each + struct.pack(">I", zlib.crc32(kind + each))
        for kind, each in chunks
    )
    with contextlib.suppress(BadPicture):
        assert decode(content, "x", "RGB", max_pixels=10_000).dtype == np.uint8


def test_the_same_bytes_get_the_same_words():
    words = set()
    for _ in range(2):
        with pytest.raises(BadPicture) as error:
            decode(b"\xff\xd8\xff\xe0", "x", "L")
        words.add(str(error.value))
    assert words == {
        "x cannot be read as a picture (it begins like no JPEG, PNG, BMP, WEBP); replace or "
        "remove it."
    }


def test_the_first_bytes_say_the_format(encode):
    for kind in ("JPEG", "PNG", "BMP", "WEBP"):
        assert pictures.kind(encode(np.zeros((4, 4, 3), np.uint8), kind)) == kind
    for other in (encode(GREY, "GIF"), encode(GREY, "TIFF"), b"", b"RIFF0000WAVE", b"<svg>"):
        assert pictures.kind(other) is None


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PPM"])
def test_a_sound_picture_of_another_format_is_refused(encode, kind):
    with pytest.raises(BadPicture, match="cannot be read"):
        decode(encode(GREY, kind), "x", "L")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP"])
def test_a_picture_cut_short_is_refused(encode, kind):
    noise = np.random.default_rng(0).integers(0, 256, (48, 48), np.uint8)
    content = encode(noise, kind)
    assert decode(content, "x", "L").shape == (48, 48)
    with pytest.raises(BadPicture, match="cannot be read"):
        decode(content[: len(content) // 2], "x", "L")


def test_a_file_that_is_too_large_is_not_even_read(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_BYTES", 10)
    (tmp_path / "face.png").write_bytes(bytes(11))
    with pytest.raises(BadPicture, match=r"face\.png must have at most 10 bytes .* got 11"):
        pictures.load(tmp_path / "face.png", "L")
