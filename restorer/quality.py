"""Image quality: PSNR and SSIM of RGB images in [0, 1].

SSIM is Wang et al. (2004) with scikit-image's defaults, as OWAN's test code used it: a uniform 7x7 window, sample covariance,
K1 = 0.01, K2 = 0.03, data range 1, averaged over the three channels, borders of 3 pixels left out. It is computed band by band
with OpenCV's box filter, to the same 13 digits; the terms that depend on the target alone are computed once for all images
compared with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

SSIM_WINDOW = 7  # pixels
BORDER = SSIM_WINDOW - 1
INNER = slice(SSIM_WINDOW // 2, -(SSIM_WINDOW // 2))
C1, C2 = 0.01**2, 0.03**2
C2_SAMPLE = C2 * (SSIM_WINDOW**2 - 1) / SSIM_WINDOW**2  # for moments about the mean that are divided by 49 instead of 48
BAND = 48  # rows at a time, so that sums stay in the processor's caches


class Quality(NamedTuple):
    """PSNR in dB, infinite for identical images, and SSIM, None where a side has fewer than 7 pixels."""

    psnr: float
    ssim: float | None


def _check(image: Tensor, target: Tensor, dimensions: int = 4) -> None:
    if image.shape != target.shape or image.ndim != dimensions:
        form = "(B, C, H, W)" if dimensions == 4 else "(C, H, W)"
        raise ValueError(f"expected two {form} of one shape, got {tuple(image.shape)} and {tuple(target.shape)}")


def psnr(image: Tensor, target: Tensor) -> Tensor:
    """Return each image's peak signal-to-noise ratio in dB, (B,); both (B, C, H, W) in [0, 1]. Identical images give inf."""
    _check(image, target)
    error = (image.double() - target.double()).square().mean((1, 2, 3))  # (B,)
    return -10 * torch.log10(error)


def ssim(image: Tensor, target: Tensor) -> Tensor:
    """Return each image's structural similarity, (B,); both (B, C, H, W) in [0, 1], at least 7 pixels a side."""
    _check(image, target)
    if min(image.shape[2:]) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs at least {SSIM_WINDOW}x{SSIM_WINDOW} pixels, got {tuple(image.shape[2:])}")
    values = [qualities([one], two)[0].ssim for one, two in zip(image, target, strict=True)]
    return torch.tensor(values, dtype=torch.float64)


def qualities(images: Sequence[Tensor], target: Tensor) -> list[Quality]:
    """Return PSNR and SSIM of images against one target, all (C, H, W) of one size in [0, 1]."""
    for image in images:
        _check(image, target, 3)
    errors, similarities = np.zeros(len(images)), np.zeros(len(images))
    pictures, wanted = [_channels_last(image) for image in images], _channels_last(target)
    for rows, fresh in _bands(len(wanted)):
        band = _Target(wanted[rows].astype(np.float64))
        for i, picture in enumerate(pictures):
            values = picture[rows].astype(np.float64)
            errors[i] += _squared_error(values[:fresh], band.values[:fresh])
            if min(band.values.shape[:2]) >= SSIM_WINDOW:
                similarities[i] += band.similarity(values)
    height, width, channels = wanted.shape
    with np.errstate(divide="ignore"):
        decibels = -10 * np.log10(errors / wanted.size)
    if min(height, width) < SSIM_WINDOW:
        return [Quality(float(value), None) for value in decibels]
    shares = similarities / ((height - BORDER) * (width - BORDER) * channels)
    return [Quality(float(value), float(share)) for value, share in zip(decibels, shares, strict=True)]


def _channels_last(image: Tensor) -> np.ndarray:
    return image.detach().permute(1, 2, 0).contiguous().cpu().numpy()


def _bands(height: int) -> Iterator[tuple[slice, int]]:
    """Yield bands of rows in which each window of 7 rows lies once, and how many of a band's rows are in no later one."""
    last = max(height - BORDER - 1, 0) // BAND * BAND
    for top in range(0, last + 1, BAND):
        yield slice(top, top + BAND + BORDER), height - top if top == last else BAND


def _squared_error(one: np.ndarray, two: np.ndarray) -> float:
    difference = (one - two).ravel()
    return float(difference @ difference)


def _box(values: np.ndarray) -> np.ndarray:
    """Return the means over the windows around the inner rows of (h, W, C), as (h - 6, W, C).

    Three columns on each side belong to windows that reach beyond the border. They are kept because whole rows are contiguous,
    which makes arithmetic on them three times as fast.
    """
    import cv2

    means = cv2.boxFilter(values, cv2.CV_64F, (SSIM_WINDOW, SSIM_WINDOW)).reshape(values.shape)  # drops a single channel
    return means[INNER]


@dataclass(frozen=True)
class _Target:
    """A band (h, W, C) of the target, with the terms that every comparison needs."""

    values: np.ndarray

    @cached_property
    def doubled(self) -> np.ndarray:
        return 2 * self.values

    @cached_property
    def mean(self) -> np.ndarray:
        return _box(self.values)

    @cached_property
    def squared_mean(self) -> np.ndarray:
        return self.mean * self.mean

    @cached_property
    def variance(self) -> np.ndarray:
        """Return the variance plus the constant of SSIM's second factor."""
        return _box(self.values * self.values) - self.squared_mean + C2_SAMPLE

    def similarity(self, values: np.ndarray) -> float:
        """Return the sum of SSIM over the windows of another band (h, W, C), in as few arrays as will do."""
        mean, covariance, variance = _box(values), _box(self.doubled * values), _box(values * values)
        means = 2 * self.mean * mean
        covariance -= means  # twice
        covariance += C2_SAMPLE
        means += C1
        covariance *= means
        mean *= mean
        variance -= mean
        variance += self.variance
        mean += self.squared_mean
        mean += C1
        variance *= mean
        covariance /= variance
        return float(covariance[:, INNER].sum())
