"""Training patches: cut from clean photos, flipped, and degraded in batches on any device.

As RL-Restore's generator (Yu et al., CVPR 2018): photos at three scales (1, 2/3, 1/3; bicubic), square patches, levels drawn
by a recipe. Blur, noise and JPEG act on a wider crop, at a random phase of JPEG's blocks, and the patch is its middle, so a
patch looks as if cut from a degraded photo. A sample is a function of (seed, step, index) alone: workers, processes and
resumed runs see the same patches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate
from vocbench.restorer.degradations.blur_noise_jpeg import BLUR_RADIUS
from vocbench.restorer.degradations.on_tensors import degrade_batch
from vocbench.restorer.degradations.recipes import RECIPES, Levels, draw_levels
from vocbench.restorer.images import read_image, to_uint8
from vocbench.restorer.training.drawn import draw, letterboxed
from vocbench.restorer.training.photos import Recent

SCALES = (1.0, 2 / 3, 1 / 3)
MEMORY = 2 * 2**30  # bytes of decoded photos kept; others are decoded again when needed
MARGIN = BLUR_RADIUS + 16  # pixels around a patch: the blur's reach and one JPEG block row


@dataclass(frozen=True)
class Sample:
    """One clean crop with its margin, the levels drawn for it, and where the patch lies inside."""

    crop: np.ndarray  # (size + 2 MARGIN, same, 3) uint8
    levels: Levels
    recipe: str
    is_photo: bool = True  # whether it shows a photo, at least in part, and not a drawn picture


def parse_mixture(text: str) -> dict[str, float]:
    """Return `voc=0.6,moderate=0.3,clean=0.1` as shares that sum to 1; a lone name means 1."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.partition("=")
        if name not in RECIPES:
            raise ValueError(f"unknown recipe {name!r} in {text!r}; choose from {', '.join(RECIPES)}")
        try:
            shares[name] = float(share or 1)
        except ValueError:
            raise ValueError(f"{part!r} in {text!r}: expected NAME=SHARE, such as voc=0.6") from None
        if not (math.isfinite(shares[name]) and shares[name] > 0):
            raise ValueError(f"{part!r} in {text!r}: a share must be above 0")
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()}


class PhotoPatches:
    """Clean photos at several scales, giving samples by (step, index); up to `memory` bytes of them are kept decoded."""

    def __init__(
        self,
        photos: Sequence[Path],
        mixture: dict[str, float],
        seed: int,
        scales: Sequence[float] = SCALES,
        drawn: float = 0.0,
        memory: int = MEMORY,
    ):
        """Read the photos; `drawn` is the share of flat, smooth or drawn samples, a third of which more get bars."""
        self.photos, self.mixture, self.seed, self.scales = list(photos), mixture, seed, tuple(scales)
        self.drawn = drawn
        self._recent = Recent(memory)

    def photo(self, number: int, scale: float) -> np.ndarray:
        """Return a photo at a scale as (H, W, 3) uint8."""
        return self._recent.get((number, scale), lambda: _scaled(self.photos[number], scale))

    def sample(self, size: int, step: int, index: int) -> Sample:
        """Return sample `index` of step `step`: a crop for a patch of `size` pixels, its recipe and levels."""
        random = np.random.default_rng([self.seed, step, index])
        number = int(random.integers(len(self.photos)))
        areas = np.square(self.scales)  # a smaller scale has fewer patches
        scale = float(random.choice(self.scales, p=areas / areas.sum()))
        array = self.photo(number, scale)
        if min(array.shape[:2]) < size + 2 * BLUR_RADIUS:  # too small at this scale: the photo itself
            array = self.photo(number, 1.0)
        crop = _cut(array, size, random)
        names = list(self.mixture)
        recipe = names[int(random.choice(len(names), p=list(self.mixture.values())))]
        levels = draw_levels(recipe, random)
        chance = random.random() if self.drawn else 1.0
        if chance < self.drawn:
            return Sample(draw(len(crop), random), levels, recipe, is_photo=False)
        if chance < self.drawn * 4 / 3:
            crop = letterboxed(crop, random).astype(np.uint8)
        return Sample(crop, levels, recipe)

    def batch(self, size: int, step: int, indices: Sequence[int], device: torch.device | str = "cpu"):
        """Return degraded and clean patches, each (B, 3, size, size) float32 in [0, 1], and their samples."""
        samples = [self.sample(size, step, index) for index in indices]
        crops = torch.stack([torch.from_numpy(sample.crop) for sample in samples]).to(device)
        crops = crops.permute(0, 3, 1, 2).float().div(255)  # (B, 3, S, S)
        seeds = [int(np.random.default_rng([self.seed, step, index, 1]).integers(2**62)) for index in indices]
        degraded = degrade_batch(crops, [sample.levels for sample in samples], seeds)
        inside = slice(MARGIN, MARGIN + size)
        return degraded[..., inside, inside], crops[..., inside, inside], samples


def _scaled(path: Path, scale: float) -> np.ndarray:
    image = read_image(path)
    if scale != 1:
        size = [max(1, round(side * scale)) for side in image.shape[1:]]
        image = interpolate(image[None], size, mode="bicubic", align_corners=False, antialias=True)[0]
    return to_uint8(image)


def _cut(array: np.ndarray, size: int, random: np.random.Generator) -> np.ndarray:
    """Return a random patch with its margin, the photo's border replicated, flipped at random: (S, S, 3)."""
    height, width = array.shape[:2]
    if min(height, width) < size:
        missing = [(0, max(0, size - side)) for side in (height, width)]
        array = np.pad(array, [*missing, (0, 0)], mode="symmetric" if min(height, width) * 2 >= size else "edge")
        height, width = array.shape[:2]
    top, left = int(random.integers(height - size + 1)), int(random.integers(width - size + 1))
    rows = np.arange(top - MARGIN, top + size + MARGIN).clip(0, height - 1)
    columns = np.arange(left - MARGIN, left + size + MARGIN).clip(0, width - 1)
    crop = array[rows[:, None], columns]
    for axis in (0, 1):
        if random.random() < 0.5:
            crop = np.flip(crop, axis)
    return np.ascontiguousarray(crop)
