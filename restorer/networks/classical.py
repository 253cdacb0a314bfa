"""Classical restorers from scikit-image, with the noise level estimated per image: baselines without training."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

Photo = np.ndarray  # (H, W, 3) float64 in [0, 1]


def noise_level(photo: Photo) -> float:
    """Return the deviation of white noise in [0, 1] by the finest wavelet details (Donoho and Johnstone, 1994).

    It is the mean over the channels; a channel without detail counts as free of noise.
    """
    from skimage.restoration import estimate_sigma

    if min(photo.shape[:2]) < 8:
        return 0.0  # too small for a wavelet
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of the mean of no details
        return float(np.nan_to_num(estimate_sigma(photo, channel_axis=-1)).mean())


def non_local_means(photo: Photo) -> Photo:
    """Apply non-local means (Buades et al., 2005), 5x5 patches within 13x13, filtering 0.8 of the estimated noise."""
    from skimage.restoration import denoise_nl_means

    sigma = noise_level(photo)
    return denoise_nl_means(photo, patch_size=5, patch_distance=6, h=0.8 * sigma + 1e-6, sigma=sigma, channel_axis=-1)


def median(photo: Photo) -> Photo:
    """Take the median of 3x3 pixels in each channel."""
    from scipy.ndimage import median_filter

    return median_filter(photo, (3, 3, 1), mode="nearest")


def bilateral(photo: Photo) -> Photo:
    """Apply a bilateral filter (Tomasi and Manduchi, 1998), 3 pixels wide, three times the estimated noise deep."""
    from skimage.restoration import denoise_bilateral

    return denoise_bilateral(photo, sigma_color=3 * noise_level(photo) + 0.02, sigma_spatial=3, win_size=9, channel_axis=-1)


def total_variation(photo: Photo) -> Photo:
    """Minimise total variation (Chambolle, 2004), its weight growing with the estimated noise."""
    from skimage.restoration import denoise_tv_chambolle

    return denoise_tv_chambolle(photo, weight=noise_level(photo) + 1e-6, channel_axis=-1)


def richardson_lucy(photo: Photo) -> Photo:
    """Minimise total variation, then ten rounds of Richardson and Lucy against a guessed Gaussian blur of 2 pixels."""
    from scipy.ndimage import gaussian_filter

    calm = total_variation(photo).clip(1e-3, 1)
    estimate = calm.copy()
    for _ in range(10):
        again = gaussian_filter(estimate, (2, 2, 0), mode="nearest")
        estimate = estimate * gaussian_filter(calm / np.maximum(again, 1e-3), (2, 2, 0), mode="nearest")
    return estimate


class Classical(nn.Module):
    """A function of one photo as a restorer: (B, 3, H, W) in [0, 1] to the same shape, clipped, on the CPU."""

    def __init__(self, method: Callable[[Photo], Photo]):
        super().__init__()
        self.method = method

    def forward(self, images: Tensor) -> Tensor:
        photos = [image.permute(1, 2, 0).double().cpu().numpy() for image in images]
        restored = [self.method(photo).reshape(photo.shape) for photo in photos]  # some drop a side of one pixel
        stacked = torch.from_numpy(np.stack(restored)).permute(0, 3, 1, 2)
        return stacked.clamp(0, 1).to(images)


CLASSICAL: dict[str, Callable[[Photo], Photo]] = {
    "nlm": non_local_means,
    "median": median,
    "bilateral": bilateral,
    "tv": total_variation,
    "richardson-lucy": richardson_lucy,
}
