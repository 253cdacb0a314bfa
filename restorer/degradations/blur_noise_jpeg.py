"""Gaussian blur, white noise and JPEG, each `f(image, level, generator) -> image`.

Everything is computed in float64 by fixed elementwise sums, not by a library's convolution, whose rounding differs between
processors.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image
from torch import Tensor
from vocbench.restorer.images import from_uint8, to_uint8

BLUR_RADIUS = 10  # pixels: a 21x21 kernel
BAND = 64  # rows blurred at a time, so that sums stay in the processor's caches; the result is the same to the bit


def gaussian_taps(sigma: float, radius: int = BLUR_RADIUS) -> np.ndarray:
    """Return the one-dimensional Gaussian kernel (2 radius + 1,), summing to 1; sigma in pixels, 0 gives a single tap."""
    if sigma <= 0:
        return np.eye(2 * radius + 1)[radius]
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return taps / taps.sum()


def gaussian_blur(image: Tensor, sigma: float, generator: Generator | None = None) -> Tensor:
    """Blur by a Gaussian of `sigma` pixels on a 21x21 kernel, the border replicated; sigma 0 changes nothing."""
    if sigma <= 0:
        return image.clone()
    taps = gaussian_taps(sigma)
    border = (BLUR_RADIUS, BLUR_RADIUS)
    padded = np.pad(image.double().cpu().numpy(), [(0, 0), border, border], mode="edge")
    blurred = np.empty(image.shape, np.float32)
    for channel, made in zip(padded, blurred, strict=True):
        for top in range(0, len(made), BAND):
            rows = channel[top : top + BAND + 2 * BLUR_RADIUS]
            made[top : top + BAND] = _weighted(_weighted(rows, taps, 0), taps, 1)
    return torch.from_numpy(blurred)


def _weighted(values: np.ndarray, taps: np.ndarray, axis: int) -> np.ndarray:
    """Return the sums of (h, w) shifted along an axis times the taps, in their order; shorter by a tap less than there are."""
    size = values.shape[axis] - len(taps) + 1
    shifted = (values[i : i + size] if axis == 0 else values[:, i : i + size] for i in range(len(taps)))
    total = taps[0] * next(shifted)
    product = np.empty_like(total)
    for tap, part in zip(taps[1:], shifted, strict=True):
        total += np.multiply(part, tap, out=product)
    return total


def gaussian_noise(image: Tensor, sigma: float, generator: Generator) -> Tensor:
    """Add white Gaussian noise of standard deviation `sigma` (of 255) and clip to [0, 1]."""
    noise = generator.standard_normal(tuple(image.shape)) * (sigma / 255)
    return torch.from_numpy((image.double().cpu().numpy() + noise).clip(0, 1)).float()


def jpeg(image: Tensor, quality: float, generator: Generator | None = None) -> Tensor:
    """Encode as JPEG of `quality` 1 to 100 (rounded) with 4:2:0 chroma, as libjpeg does by default, and decode again."""
    quality = round(quality)
    if not 1 <= quality <= 100:
        raise ValueError(f"JPEG quality must be 1 to 100, got {quality}")
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(image)).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return from_uint8(np.asarray(Image.open(buffer, formats=["JPEG"]).convert("RGB")))
