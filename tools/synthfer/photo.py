"""From a rendering to a photograph: light inside the skin, a background, a cheap camera."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from .anatomy import BROWS, EYES, NOSE, SKIN
from .scene import Rendering

# Skin scatters red farthest (Jimenez et al., "Screen-space perceptual rendering of human skin",
# 2009): standard deviations in pixels for a face of about 15 cm in 112 pixels.
SCATTER = (1.5, 0.9, 0.65)


def scatter(picture: Rendering) -> np.ndarray:
    """Blur the light that falls on the skin, a channel at a time, leaving its albedo sharp."""
    mask = np.isin(picture.parts, (SKIN, NOSE, BROWS)).astype(np.float32)
    albedo = np.maximum(picture.albedo, 0.004)
    light = picture.radiance / albedo
    # Elsewhere a slight blur of the light alone takes the noise of few samples away.
    covered = np.maximum(gaussian_filter(picture.alpha, 0.6), 1e-3)
    calm = [gaussian_filter(light[..., c] * picture.alpha, 0.6) / covered for c in range(3)]
    shiny = (picture.parts == EYES)[..., None]
    out = np.where(shiny, picture.radiance, np.stack(calm, -1) * albedo)
    out *= np.where(shiny, 1, picture.alpha[..., None] > 0)
    for channel, sigma in enumerate(SCATTER):
        weight = gaussian_filter(mask, sigma)
        soft = gaussian_filter(light[..., channel] * mask, sigma) / np.maximum(weight, 1e-4)
        mixed = 0.85 * soft * albedo[..., channel] + 0.15 * picture.radiance[..., channel]
        inner = gaussian_filter(mask, 0.4) * mask
        out[..., channel] = out[..., channel] * (1 - inner) + mixed * inner
    return out


def draw_background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A blurred room, street or wall: linear RGB [size, size, 3]."""
    y, x = np.mgrid[0:size, 0:size] / size
    base = rng.uniform(0.03, 0.7) * (0.75 + 0.5 * rng.dirichlet([4, 4, 4]))
    out = np.tile(base, (size, size, 1))
    tilt = rng.normal(0, 0.5, 2)
    out *= np.clip(1 + tilt[0] * (x - 0.5) + tilt[1] * (y - 0.5), 0.2, 2)[..., None]
    for _ in range(rng.integers(0, 9)):
        colour = rng.uniform(0.02, 0.9) * (0.6 + rng.dirichlet([2, 2, 2]))
        cx, cy = rng.uniform(-0.1, 1.1, 2)
        w, h = rng.uniform(0.05, 0.45, 2)
        if rng.random() < 0.5:
            shape = (np.abs(x - cx) < w) & (np.abs(y - cy) < h)
        else:
            shape = (x - cx) ** 2 + (y - cy) ** 2 < w**2 / 2
        out = np.where(shape[..., None], colour, out)
    blur = rng.uniform(2, 9)
    return np.stack([gaussian_filter(out[..., c], blur, mode="nearest") for c in range(3)], -1)


def develop(picture: Rendering, shade: int, rng: np.random.Generator) -> np.ndarray:
    """Expose, blur, add noise and compress; uint8 [H, W, 3]."""
    size = len(picture.alpha)
    skin = np.isin(picture.parts, (SKIN, NOSE))
    lit = scatter(picture)
    luminance = lit @ np.array([0.2126, 0.7152, 0.0722])
    # Cameras meter the face, but only partly: darker skin stays darker in the picture.
    aim = np.interp(shade, [0, 4, 9], [0.40, 0.29, 0.075]) * np.exp(rng.normal(0, 0.16))
    exposure = aim / max(float(luminance[skin].mean()), 1e-4)
    alpha = picture.alpha[..., None]
    image = exposure * lit + (1 - alpha) * draw_background(rng, size)
    image = image * np.exp(rng.normal(0, 0.025, 3))
    sharp = rng.uniform(0.0, 0.75)
    image = np.stack([gaussian_filter(image[..., c], sharp) for c in range(3)], -1)
    shot, read = rng.uniform(0, 0.012), rng.uniform(0, 0.006)
    image = image + rng.normal(size=image.shape) * np.sqrt(shot**2 * np.maximum(image, 0) + read**2)
    image = np.clip(image, 0, None)
    # A soft shoulder keeps highlights from clipping: linear up to 0.6, then towards one.
    image = np.where(image < 0.6, image, 0.6 + 0.4 * np.tanh((image - 0.6) / 0.6))
    display = np.where(image <= 0.0031308, 12.92 * image, 1.055 * image ** (1 / 2.4) - 0.055)
    contrast = rng.uniform(0.9, 1.12)
    display = np.clip(0.45 + contrast * (display - 0.45), 0, 1)
    pixels = (display * 255 + 0.5).astype(np.uint8)
    return decode(encode(pixels, int(rng.integers(55, 96))))


def encode(pixels: np.ndarray, quality: int) -> bytes:
    """JPEG bytes of uint8 [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True)
    return buffer.getvalue()


def decode(data: bytes) -> np.ndarray:
    """uint8 [H, W, 3] of JPEG bytes."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
