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
from torch import Tensor
from torch.nn.functional import interpolate, pad
from vocbench.restorer.degradations import BLUR_RADIUS, RECIPES, Levels, apply_levels, draw_levels, gaussian_taps
from vocbench.restorer.drawn import draw, letterboxed
from vocbench.restorer.images import read_image, to_uint8
from vocbench.restorer.tensor_jpeg import jpeg_batch

SCALES = (1.0, 2 / 3, 1 / 3)
MARGIN = BLUR_RADIUS + 16  # pixels around a patch: the blur's reach and one JPEG block row
ON_TENSORS = frozenset({"blur", "noise", "jpeg"})


@dataclass(frozen=True)
class Sample:
    """One clean crop with its margin, the levels drawn for it, and where the patch lies inside."""

    crop: np.ndarray  # (size + 2 MARGIN, same, 3) uint8
    levels: Levels
    recipe: str
    is_photo: bool = True  # whether it shows a photo, at least in part; else it is drawn


def list_photos(folders: Sequence[str | Path]) -> list[Path]:
    """Every JPEG and PNG of the folders, sorted by name."""
    photos: list[Path] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder of clean photos")
        found = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
        if not found:
            raise ValueError(f"{folder}: holds no JPEG or PNG photo")
        photos += found
    return photos


def parse_mixture(text: str) -> dict[str, float]:
    """`voc=0.6,moderate=0.3,clean=0.1` as shares that sum to 1; a lone name means 1."""
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
    """Clean photos kept as 8-bit arrays at three scales, giving samples by (step, index)."""

    def __init__(
        self,
        photos: Sequence[Path],
        mixture: dict[str, float],
        seed: int,
        scales: Sequence[float] = SCALES,
        drawn: float = 0.0,
    ):
        """`drawn` is the share of samples that are flat, smooth or drawn pictures; a third of it more get bars."""
        self.photos, self.mixture, self.seed, self.scales = list(photos), mixture, seed, tuple(scales)
        self.drawn = drawn
        self._kept: dict[tuple[int, float], np.ndarray] = {}

    def photo(self, number: int, scale: float) -> np.ndarray:
        """(H, W, 3) uint8 of a photo at a scale; kept after the first time."""
        if (number, scale) not in self._kept:
            image = read_image(self.photos[number])
            if scale != 1:
                size = [max(1, round(side * scale)) for side in image.shape[1:]]
                image = interpolate(image[None], size, mode="bicubic", align_corners=False, antialias=True)[0]
            self._kept[number, scale] = to_uint8(image)
        return self._kept[number, scale]

    def sample(self, size: int, step: int, index: int) -> Sample:
        """Sample `index` of step `step`: a crop for a patch of `size` pixels, its recipe and levels."""
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
        """Degraded and clean patches, each (B, 3, size, size) float32 in [0, 1], and their samples."""
        samples = [self.sample(size, step, index) for index in indices]
        crops = torch.stack([torch.from_numpy(sample.crop) for sample in samples]).to(device)
        crops = crops.permute(0, 3, 1, 2).float().div(255)  # (B, 3, S, S)
        seeds = [int(np.random.default_rng([self.seed, step, index, 1]).integers(2**62)) for index in indices]
        degraded = degrade_batch(crops, [sample.levels for sample in samples], seeds)
        inside = slice(MARGIN, MARGIN + size)
        return degraded[..., inside, inside], crops[..., inside, inside], samples


def _cut(array: np.ndarray, size: int, random: np.random.Generator) -> np.ndarray:
    """A random patch with its margin, the photo's border replicated, flipped at random: (S, S, 3)."""
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


def degrade_batch(crops: Tensor, levels: Sequence[Levels], seeds: Sequence[int]) -> Tensor:
    """Crops (B, 3, S, S) each degraded at its own levels, on their device; noise from the samples' seeds."""
    if any(set(level) - ON_TENSORS for level in levels):  # recipes with other degradations go one by one
        return _degrade_singly(crops, levels, seeds)
    blurred = blur_batch(crops, [level.get("blur", 0.0) for level in levels])
    sigma = crops.new_tensor([level.get("noise", 0.0) / 255 for level in levels])[:, None, None, None]
    noise = torch.stack([_noise(crops[0], seed) if "noise" in level else torch.zeros_like(crops[0])
                         for level, seed in zip(levels, seeds, strict=True)])  # fmt: skip
    noisy = (blurred + sigma * noise).clamp(0, 1)
    quality = crops.new_tensor([level.get("jpeg", 0.0) for level in levels])
    return jpeg_shifted(noisy, quality, seeds)


def _degrade_singly(crops: Tensor, levels: Sequence[Levels], seeds: Sequence[int]) -> Tensor:
    made = [
        apply_levels(crop.cpu(), level, np.random.default_rng(seed))
        for crop, level, seed in zip(crops, levels, seeds, strict=True)
    ]
    return torch.stack(made).to(crops.device)


def _noise(like: Tensor, seed: int) -> Tensor:
    generator = torch.Generator(like.device).manual_seed(seed)
    return torch.randn(like.shape, generator=generator, device=like.device)


def _blur_matrix(taps: Tensor, size: int) -> Tensor:
    """Matrices (B, size, size) that convolve a line with taps (B, 21), the line's ends replicated."""
    radius = taps.shape[1] // 2
    rows = torch.arange(size, device=taps.device)[:, None]
    columns = (rows + torch.arange(-radius, radius + 1, device=taps.device)).clamp(0, size - 1)  # (size, 21)
    matrix = taps.new_zeros(len(taps), size, size)
    return matrix.scatter_add_(2, columns.expand(len(taps), -1, -1), taps[:, None, :].expand(-1, size, -1))


def blur_batch(images: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Images (B, 3, H, W), each blurred by its own sigma in pixels on a 21x21 kernel, borders replicated."""
    taps = torch.from_numpy(np.stack([gaussian_taps(sigma) for sigma in sigmas])).to(images)  # (B, 21)
    down = _blur_matrix(taps, images.shape[2])[:, None]  # (B, 1, H, H)
    across = _blur_matrix(taps, images.shape[3])[:, None].transpose(2, 3)  # (B, 1, W, W)
    return down @ images @ across


def jpeg_shifted(images: Tensor, quality: Tensor, seeds: Sequence[int]) -> Tensor:
    """JPEG with each image's blocks at a random phase of 16 x 16 pixels, as a cut from a whole photo has it."""
    grown = pad(images, (16, 16, 16, 16), mode="replicate")
    size_y, size_x = images.shape[2] + 16, images.shape[3] + 16
    phases = [(seed % 16, seed // 16 % 16) for seed in seeds]
    moved = torch.stack([grown[i, :, y : y + size_y, x : x + size_x] for i, (y, x) in enumerate(phases)])
    coded = jpeg_batch(moved, quality)
    inner = [
        coded[i, :, 16 - y : 16 - y + images.shape[2], 16 - x : 16 - x + images.shape[3]] for i, (y, x) in enumerate(phases)
    ]
    return torch.stack(inner)
