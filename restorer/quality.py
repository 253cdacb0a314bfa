"""Image quality: PSNR and SSIM of RGB images in [0, 1].

SSIM is Wang et al. (2004), computed by scikit-image with its defaults, as OWAN's test code used it: a uniform 7x7 window,
sample covariance, K1 = 0.01, K2 = 0.03, data range 1, averaged over the three channels, borders of 3 pixels left out.
"""

from __future__ import annotations

import torch
from torch import Tensor

SSIM_WINDOW = 7  # pixels


def _check(image: Tensor, target: Tensor) -> None:
    if image.shape != target.shape or image.ndim != 4:
        raise ValueError(f"expected two (B, C, H, W) of one shape, got {tuple(image.shape)} and {tuple(target.shape)}")


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
    from skimage.metrics import structural_similarity

    pairs = zip(image.double().cpu().numpy(), target.double().cpu().numpy(), strict=True)
    values = [structural_similarity(one, two, win_size=SSIM_WINDOW, channel_axis=0, data_range=1) for one, two in pairs]
    return torch.tensor(values, dtype=torch.float64)
