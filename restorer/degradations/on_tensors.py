"""Blur, noise and JPEG on batches of tensors, for training, where patches must be degraded on their device.

JPEG is DCT quantisation: it gives the result of libjpeg's decoder without writing a file. It follows libjpeg's defaults: JFIF
colours rounded to 8 bits, 4:2:0 chroma by averages, the standard quantisation tables scaled by quality, and the decoder's
triangle ("fancy") upsampling. Rounding inside libjpeg's integer transforms makes single pixels differ by a level or two; see
the test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad
from vocbench.restorer.degradations.blur_noise_jpeg import gaussian_taps
from vocbench.restorer.degradations.recipes import Levels, apply_levels

ON_TENSORS = frozenset({"blur", "noise", "jpeg"})  # the degradations done here; the others go one image at a time

# ITU-T T.81, annex K: tables K.1 (luminance) and K.2 (chrominance).
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *(((99,) * 8,) * 4),
)


def quantisation(table: tuple[tuple[int, ...], ...], quality: Tensor) -> Tensor:
    """Return the table scaled for each quality (B,), as libjpeg's jpeg_quality_scaling does: (B, 8, 8)."""
    quality = quality.clamp(1, 100)
    scale = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)  # (B,)
    base = torch.tensor(table, dtype=torch.float32, device=quality.device)
    return ((base * scale[:, None, None] + 50) / 100).floor().clamp(1, 255)


def _dct_matrix(device: torch.device) -> Tensor:
    rows = torch.arange(8, dtype=torch.float64)[:, None]
    columns = torch.arange(8, dtype=torch.float64)
    matrix = torch.cos((2 * columns + 1) * rows * math.pi / 16) / 2  # (frequency, position)
    matrix[0] /= math.sqrt(2)
    return matrix.float().to(device)


def _requantise(plane: Tensor, table: Tensor) -> Tensor:
    """Return a plane (B, H, W) of whole 8x8 blocks in 0..255 after quantising its blocks' DCT by (B, 8, 8)."""
    batch, height, width = plane.shape
    dct = _dct_matrix(plane.device)
    blocks = plane.reshape(batch, height // 8, 8, width // 8, 8).transpose(2, 3) - 128  # (B, h, w, 8, 8)
    table = table[:, None, None]
    coefficients = torch.round(dct @ blocks @ dct.t() / table) * table
    blocks = (dct.t() @ coefficients @ dct + 128).round().clamp(0, 255)
    return blocks.transpose(2, 3).reshape(batch, height, width)


def _to_ycc(rgb: Tensor) -> Tensor:
    red, green, blue = rgb.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack([luma, (blue - luma) / 1.772 + 128, (red - luma) / 1.402 + 128], 1).round().clamp(0, 255)


def _to_rgb(luma: Tensor, cb: Tensor, cr: Tensor) -> Tensor:
    cb, cr = cb - 128, cr - 128
    rgb = [luma + 1.402 * cr, luma - 0.344136 * cb - 0.714136 * cr, luma + 1.772 * cb]
    return torch.stack(rgb, 1).round().clamp(0, 255)


def _widen(plane: Tensor) -> Tensor:
    """Return a plane twice as wide: each sample is 3/4 the nearer and 1/4 the further neighbour, borders repeated."""
    left, right = (pad(plane[:, None], side, mode="replicate")[:, 0] for side in ((1, 0, 0, 0), (0, 1, 0, 0)))
    pair = [3 * plane + left[..., :-1], 3 * plane + right[..., 1:]]
    return torch.stack(pair, 3).flatten(2) / 4


def _upsample(plane: Tensor) -> Tensor:
    """Enlarge (B, h, w) to (B, 2h, 2w), rounded."""
    return _widen(_widen(plane).transpose(1, 2)).transpose(1, 2).round()


def jpeg_batch(images: Tensor, quality: Tensor) -> Tensor:
    """Return images (B, 3, H, W) in [0, 1] as their JPEG of quality (B,) decodes; quality 0 leaves an image untouched."""
    height, width = images.shape[2:]
    grown = pad(images, (0, -width % 16, 0, -height % 16), mode="replicate")
    ycc = _to_ycc((grown.clamp(0, 1) * 255).round())  # (B, 3, H', W')
    chroma = avg_pool2d(ycc[:, 1:], 2).round()  # (B, 2, H'/2, W'/2)
    luma = _requantise(ycc[:, 0], quantisation(LUMINANCE, quality))
    table = quantisation(CHROMINANCE, quality)
    cb, cr = (_upsample(_requantise(chroma[:, i], table)) for i in (0, 1))
    decoded = _to_rgb(luma, cb, cr)[..., :height, :width] / 255
    return torch.where((quality > 0)[:, None, None, None], decoded, images)


def degrade_batch(crops: Tensor, levels: Sequence[Levels], seeds: Sequence[int]) -> Tensor:
    """Degrade crops (B, 3, S, S), each at its own levels, on their device; noise from the samples' seeds."""
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
    """Return matrices (B, size, size) that convolve a line with taps (B, 21), the line's ends replicated."""
    radius = taps.shape[1] // 2
    rows = torch.arange(size, device=taps.device)[:, None]
    columns = (rows + torch.arange(-radius, radius + 1, device=taps.device)).clamp(0, size - 1)  # (size, 21)
    matrix = taps.new_zeros(len(taps), size, size)
    return matrix.scatter_add_(2, columns.expand(len(taps), -1, -1), taps[:, None, :].expand(-1, size, -1))


def blur_batch(images: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Blur images (B, 3, H, W), each by its own sigma in pixels on a 21x21 kernel, borders replicated."""
    taps = torch.from_numpy(np.stack([gaussian_taps(sigma) for sigma in sigmas])).to(images)  # (B, 21)
    down = _blur_matrix(taps, images.shape[2])[:, None]  # (B, 1, H, H)
    across = _blur_matrix(taps, images.shape[3])[:, None].transpose(2, 3)  # (B, 1, W, W)
    return down @ images @ across


def jpeg_shifted(images: Tensor, quality: Tensor, seeds: Sequence[int]) -> Tensor:
    """Apply JPEG with each image's blocks at a random phase of 16 x 16 pixels, as a cut from a whole photo has it."""
    grown = pad(images, (16, 16, 16, 16), mode="replicate")
    size_y, size_x = images.shape[2] + 16, images.shape[3] + 16
    phases = [(seed % 16, seed // 16 % 16) for seed in seeds]
    moved = torch.stack([grown[i, :, y : y + size_y, x : x + size_x] for i, (y, x) in enumerate(phases)])
    coded = jpeg_batch(moved, quality)
    inner = [
        coded[i, :, 16 - y : 16 - y + images.shape[2], 16 - x : 16 - x + images.shape[3]] for i, (y, x) in enumerate(phases)
    ]
    return torch.stack(inner)
