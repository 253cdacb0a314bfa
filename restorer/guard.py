"""A guard behind a restorer: no block of the picture may change its mean colour more than degrading could have changed it.

Blur, noise and JPEG keep local means, with two exceptions: blur mixes a block with its neighbours, which can hide as
much again as they differ by, and noise that is clipped at black or white darkens what is bright and brightens what is dark
(white noise of standard deviation s around a value t by s L((1 - t) / s) at white, with the unit normal loss
L(z) = pdf(z) - z (1 - cdf(z))). Where a restored block's mean lies beyond its neighbours' means, that amount and a tolerance,
it is brought back to the bound, smoothly between blocks. So a network that paints where it should not is corrected, whatever
its weights.

Where an image is constant over some pixels around, as in a letterbox, a margin or a drawn sky, there is nothing to restore:
noise would vary, and blur and JPEG leave a flat area flat. There the image is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d, pad
from vocbench.restorer.contract import Restored, join_notes, restore_each

BLOCK = 16  # pixels a side
TOLERANCE = 0.06  # of 1, of a block's mean
MIXED = 0.75  # of the difference between a block's darkest and brightest neighbours
CELL = 4  # pixels a side, of which the range of values says whether they are flat
FLAT = 1.5 / 255  # of 1, the range up to which a cell counts as flat: rounding to 8 bits makes 1 / 255
VARIED = 3.5 / 255  # the range from which on the restored image is used alone
AROUND = 2  # cells on each side that must be flat too: the blocks of heavy JPEG are flat inside, and not to be kept
CLIPPED = math.sqrt(0.5 - 0.5 / math.pi)  # standard deviation of unit noise of which one half is clipped


def _loss(z: Tensor) -> Tensor:
    """Return the unit normal loss E[max(n - z, 0)] for n ~ N(0, 1)."""
    return torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi) - z * torch.special.ndtr(-z)


def _blocks(image: Tensor) -> Tensor:
    """Return block means (B, C, ceil(H / 16), ceil(W / 16)); the last rows and columns are repeated to fill blocks."""
    height, width = image.shape[2:]
    return avg_pool2d(pad(image, (0, -width % BLOCK, 0, -height % BLOCK), mode="replicate"), BLOCK)


def bounds(degraded: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least and the largest mean of each restored block, both (B, 3, h, w), for degraded images (B, 3, H, W)."""
    means = _blocks(degraded)
    deviation = (_blocks(degraded.square()) - means.square()).clamp(min=1e-12).sqrt() / CLIPPED  # the noise's, at most
    lowest = -max_pool2d(-means, 3, stride=1, padding=1)
    highest = max_pool2d(means, 3, stride=1, padding=1)
    extreme = deviation * _loss(means.new_zeros(()))  # the most that clipping moves
    darkened = deviation * _loss((1 - means - extreme).clamp(min=0) / deviation)
    brightened = deviation * _loss((means - extreme).clamp(min=0) / deviation)
    slack = MIXED * (highest - lowest) + TOLERANCE
    return lowest - brightened - slack, highest + darkened + slack


def flatness(image: Tensor) -> Tensor:
    """Return how flat images (B, 3, H, W) are around each pixel: 1 where nothing varies, 0 where it does, (B, 1, H, W)."""
    height, width = image.shape[2:]
    whole = pad(image, (0, -width % CELL, 0, -height % CELL), mode="replicate")
    spread = (max_pool2d(whole, CELL) + max_pool2d(-whole, CELL)).amax(1, keepdim=True)  # (B, 1, h, w)
    spread = max_pool2d(spread, 2 * AROUND + 1, stride=1, padding=AROUND)
    flat = ((VARIED - spread) / (VARIED - FLAT)).clamp(0, 1)
    return interpolate(flat, scale_factor=float(CELL), mode="bilinear", align_corners=False)[..., :height, :width]


def keep_flat(restored: Tensor, degraded: Tensor) -> Tensor:
    """Return the restored images (B, 3, H, W) with the degraded ones' flat areas, to the bit where nothing varies."""
    flat = flatness(degraded)
    if not flat.any():
        return restored
    return torch.where(flat == 1, degraded, restored + flat * (degraded - restored))


def guard(restored: Tensor, degraded: Tensor) -> tuple[Tensor, Tensor]:
    """Return the restored images (B, 3, H, W) in [0, 1] within the bounds, and each image's share of blocks out of them (B,).

    Images whose blocks all lie within come back untouched, to the bit.
    """
    low, high = bounds(degraded)
    means = _blocks(restored)
    change = means.clamp(low, high) - means  # (B, 3, h, w)
    outside = (change != 0).any(1).float().mean((1, 2))  # (B,)
    if not change.any():
        return restored, outside
    height, width = restored.shape[2:]
    smooth = interpolate(change, scale_factor=float(BLOCK), mode="bilinear", align_corners=False)[..., :height, :width]
    # A block's own change is kept whole; between it and an untouched neighbour it falls off.
    return (restored + smooth).clamp(0, 1), outside


class Guarded(nn.Module):
    """A restorer behind the guard: (B, 3, H, W) of RGB in [0, 1] to the same shape and range.

    If the guard changed an image, its note is `guarded`, beside the restorer's own.
    """

    def __init__(self, restorer: nn.Module):
        super().__init__()
        self.restorer = restorer

    @torch.no_grad()
    def restore_many(self, images: Sequence[Tensor]) -> list[Restored]:
        """Return photos (3, H, W) of any sizes, each restored and held to the bounds of its own degraded picture."""
        restored = restore_each(self.restorer, images)
        return [self._held(image, one) for image, one in zip(images, restored, strict=True)]

    def _held(self, image: Tensor, restored: Restored) -> Restored:
        (held,), outside = guard(keep_flat(restored.image[None].clamp(0, 1), image[None]), image[None])
        return Restored(held, join_notes(restored.note, "guarded" if outside.any() else None))

    def forward(self, images: Tensor) -> Tensor:
        """Return restored images (B, 3, H, W); with gradients where they are recorded."""
        return guard(keep_flat(self.restorer(images).clamp(0, 1), images), images)[0]
