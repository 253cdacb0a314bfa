"""A gate in front of a restorer: images that need no restoring pass untouched and fast.

The gate computes six no-reference measures of an image, in about 20 ms together for 500x375 pixels. It restores an image if one
of them is outside the range of clean photos, or if noise, sharpness and blocking together look like a mixture of degradations
(a logistic model): noise hides blur, and compression hides noise. Cameras and videos store colour at half the resolution, which
removes the finest noise of colour; two measures find what is left at half the resolution and in flat areas. `fit` finds the
limits from clean and degraded photos; those here are from 200 photos of VOC2012 train, clean and degraded by `voc`, `moderate`
and `mild`. `benchmarks.experiments.gate_errors` repeats that, and measures how often the gate errs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from vocbench.restorer.contract import Restored, join_notes, restore_each

SMALLEST = 32  # pixels per side; smaller images are always restored, as they cannot be measured
PASSED = 0.98  # of clean photos, by each of the tests
UNTOUCHED = "passed"  # the note on an image that was left as it is


@dataclass(frozen=True)
class Limits:
    """The limits that clean photos stay within: see `measures` for the units."""

    sharpness: float  # at least
    blocking: float  # at most
    chroma_noise: float  # at most
    mixture: tuple[float, float, float, float]  # constant, and factors of the logarithms of noise, sharpness and blocking
    mixed: float  # the largest of the mixture's sum
    coarse_chroma_noise: float  # at most
    flat_noise: float  # at most


LIMITS = Limits(0.616, 1.346, 3.0, (-9.446, 3.467, 0.13, 16.057), 0.652, 3.0, 8.169)
BLOCK = 8  # details a side of the blocks among which flat ones are looked for: 16 pixels
FLAT = 0.05  # share of the blocks that are taken for flat
LIT = (40, 215)  # of 255: blocks with a mean outside hold less noise, as it is clipped


@dataclass(frozen=True)
class Measures:
    """The measures of an image: standard deviations of detail, of 255, and ratios around 1."""

    noise: float  # deviation of the finest detail
    sharpness: float  # ratio
    blocking: float  # ratio
    chroma_noise: float  # deviation of the finest detail of red minus green
    coarse_chroma_noise: float  # the same at half the resolution
    flat_noise: float  # deviation of the finest detail in the flattest blocks

    @property
    def row(self) -> np.ndarray:
        """Return what the logistic model takes (4,)."""
        logs = np.log([self.noise + 0.5, self.sharpness + 1e-3, self.blocking + 1e-3])
        return np.concatenate([[1.0], logs])

    def mixed(self, weights: Sequence[float]) -> float:
        """Return the logit of the logistic regression with these weights: above its limit, the image looks degraded."""
        return float(self.row @ np.asarray(weights))


def _details(plane: np.ndarray) -> np.ndarray:
    """Return the diagonal Haar details of a plane (H, W) as (H // 2, W // 2); white noise keeps its deviation."""
    even = plane[: plane.shape[0] // 2 * 2, : plane.shape[1] // 2 * 2]
    return (even[::2, ::2] - even[1::2, ::2] - even[::2, 1::2] + even[1::2, 1::2]) / 2


def _halved(plane: np.ndarray) -> np.ndarray:
    """Return the means of 2x2 pixels of a plane (H, W) as (H // 2, W // 2)."""
    height, width = plane.shape[0] // 2, plane.shape[1] // 2
    return plane[: height * 2, : width * 2].reshape(height, 2, width, 2).mean((1, 3))


def _deviation(plane: np.ndarray) -> float:
    """Return the deviation of white noise on a plane (H, W) by its details (Donoho and Johnstone, 1994)."""
    return float(np.median(np.abs(_details(plane))) / 0.6745)


def _flat_noise(grey: np.ndarray) -> float:
    """Return the deviation of white noise in the flattest blocks of a plane (H, W), of which texture hides none."""
    height, width = (side // (2 * BLOCK) for side in grey.shape)
    plane = grey[: height * 2 * BLOCK, : width * 2 * BLOCK]
    means = plane.reshape(height, 2 * BLOCK, width, 2 * BLOCK).mean((1, 3)).ravel()
    blocks = np.abs(_details(plane)).reshape(height, BLOCK, width, BLOCK).swapaxes(1, 2).reshape(-1, BLOCK**2)
    within = blocks[(means > LIT[0]) & (means < LIT[1])]
    return float(np.quantile(np.median(within, 1), FLAT) / 0.6745) if len(within) else 0.0


def _sharpness(grey: np.ndarray) -> float:
    """Return the ratio of the gradient's 95 % quantile at the image's own scale to that at half of it."""
    strong = [float(np.quantile(np.hypot(*np.gradient(scale)), 0.95)) for scale in (grey, _halved(grey))]
    return (strong[0] + 1e-3) / (strong[1] + 1e-3)


def _blocking(grey: np.ndarray) -> float:
    """Return second differences across the borders of JPEG's 8x8 blocks over those inside, the mean of both directions."""
    ratios = []
    for lines in (grey, grey.T):
        bends = np.abs(np.diff(lines, 2, axis=1)).mean(0)
        place = (np.arange(len(bends)) + 1) % 8
        border = (place == 7) | (place == 0)  # the two that hold the step from pixel 7 to pixel 8
        ratios.append(bends[border].mean() / (bends[~border].mean() + 1e-3))
    return float(np.mean(ratios))


def measures(image: Tensor) -> Measures:
    """Return the measures of an RGB image (3, H, W) in [0, 1], at least `SMALLEST` pixels a side.

    Photo detail is similar in red and green, sensor noise is not: their difference shows noise that texture would hide.
    """
    planes = (255 * image.detach().float()).cpu().numpy().astype(np.float64)
    grey, colour = planes.mean(0), planes[0] - planes[1]
    noise = _deviation(colour), _deviation(_halved(colour)), _flat_noise(grey)
    return Measures(_deviation(grey), _sharpness(grey), _blocking(grey), *noise)


def needs_restoring(image: Tensor, limits: Limits = LIMITS) -> bool:
    """Return whether an image (3, H, W) in [0, 1] looks degraded; True if it is too small to measure."""
    if min(image.shape[1:]) < SMALLEST:
        return True
    measured = measures(image)
    return bool(
        measured.sharpness < limits.sharpness
        or measured.blocking > limits.blocking
        or measured.chroma_noise > limits.chroma_noise
        or measured.mixed(limits.mixture) > limits.mixed
        or measured.coarse_chroma_noise > limits.coarse_chroma_noise
        or measured.flat_noise > limits.flat_noise
    )


def fit(clean: Sequence[Tensor], degraded: Sequence[Tensor], passed: float = PASSED) -> Limits:
    """Return the limits for images (3, H, W) of both kinds: each of the six tests lets `passed` of the clean ones through."""
    from scipy.optimize import minimize

    good, bad = ([measures(image) for image in images] for images in (clean, degraded))
    rows = np.array([one.row for one in (*good, *bad)])
    target = np.repeat([-1.0, 1.0], [len(good), len(bad)])
    share = np.repeat([0.5 / len(good), 0.5 / len(bad)], [len(good), len(bad)])

    def loss(weights: np.ndarray) -> float:
        return float(share @ np.logaddexp(0, -target * (rows @ weights)) + 1e-4 * weights[1:] @ weights[1:])

    mixture = minimize(loss, np.zeros(rows.shape[1])).x
    return Limits(
        sharpness=float(np.quantile([one.sharpness for one in good], 1 - passed)),
        blocking=float(np.quantile([one.blocking for one in good], passed)),
        chroma_noise=max(float(np.quantile([one.chroma_noise for one in good], passed)), 3.0),  # not visible below 3
        mixture=tuple(float(value) for value in mixture),  # type: ignore[arg-type]
        mixed=float(np.quantile([one.mixed(mixture) for one in good], passed)),
        coarse_chroma_noise=max(float(np.quantile([one.coarse_chroma_noise for one in good], passed)), 3.0),
        flat_noise=float(np.quantile([one.flat_noise for one in good], passed)),
    )


class Gated(nn.Module):
    """A restorer that returns images unchanged if they need no restoring.

    The note on each image says whether it was `restored` or `passed`; a run counts them.
    """

    def __init__(self, restorer: nn.Module, limits: Limits = LIMITS):
        super().__init__()
        self.restorer, self.limits = restorer, limits

    def restore_many(self, images: Sequence[Tensor]) -> list[Restored]:
        """Return photos (3, H, W) of any sizes, each restored or passed."""
        with torch.inference_mode():
            return self.restore_wanted(partial(restore_each, self.restorer), images)

    def restore_wanted(self, restore: Callable[[list[Tensor]], Sequence[Restored]], images: Sequence[Tensor]) -> list[Restored]:
        """Return the images (3, H, W) that need no restoring as they are, and the others as `restore` gives them.

        The limits are for images at their own size: `restore` may shrink those it is given.
        """
        wanted = [needs_restoring(image, self.limits) for image in images]
        verdicts = list(zip(images, wanted, strict=True))
        restored = iter(restore([image for image, one in verdicts if one]))
        return [_noted(next(restored)) if one else Restored(image, UNTOUCHED) for image, one in verdicts]

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, 3, H, W) in [0, 1] of the same shape; with gradients where they are recorded."""
        restored = self.restore_wanted(partial(restore_each, self.restorer), list(images))
        return torch.stack([one.image for one in restored])


def _noted(restored: Restored) -> Restored:
    """Return a restored image with the note that it was restored, before its restorer's own."""
    return Restored(restored.image, join_notes("restored", restored.note))
