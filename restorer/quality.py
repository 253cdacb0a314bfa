"""Image quality: PSNR and SSIM of RGB images in [0, 1].

SSIM is Wang et al. (2004) as scikit-image computes it by default and as OWAN's test code used it: a uniform 7x7 window,
sample covariance, K1 = 0.01, K2 = 0.03, data range 1, averaged over the three channels, borders of 3 pixels left out.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

SSIM_WINDOW = 7  # pixels


def _check(image: Tensor, target: Tensor) -> None:
    if image.shape != target.shape or image.ndim != 4:
        raise ValueError(f"expected two (B, C, H, W) of one shape, got {tuple(image.shape)} and {tuple(target.shape)}")


def psnr(image: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each image, (B,); both (B, C, H, W) in [0, 1]. Identical images give inf."""
    _check(image, target)
    error = (image.double() - target.double()).square().mean((1, 2, 3))  # (B,)
    return -10 * torch.log10(error)


def ssim(image: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of each image, (B,); both (B, C, H, W) in [0, 1], at least 7 pixels a side."""
    _check(image, target)
    if min(image.shape[2:]) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs at least {SSIM_WINDOW}x{SSIM_WINDOW} pixels, got {tuple(image.shape[2:])}")
    x, y = image.double(), target.double()
    mean_x, mean_y = avg_pool2d(x, SSIM_WINDOW, 1), avg_pool2d(y, SSIM_WINDOW, 1)
    sample = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)  # the unbiased covariance
    var_x = sample * (avg_pool2d(x * x, SSIM_WINDOW, 1) - mean_x * mean_x)
    var_y = sample * (avg_pool2d(y * y, SSIM_WINDOW, 1) - mean_y * mean_y)
    cov = sample * (avg_pool2d(x * y, SSIM_WINDOW, 1) - mean_x * mean_y)
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    bottom = (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    return (top / bottom).mean((1, 2, 3))
