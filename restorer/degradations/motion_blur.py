"""Motion blur by random camera shake, after Boracchi and Foi ("Modeling the performance of image restoration from motion
blur", IEEE TIP 2012), with the constants that DeblurGAN's data use: a 64x64 canvas and trajectories of 2000 samples.

A point moves on the image plane at constant speed. Its direction drifts by Gaussian shake, is pulled back to where it began,
and sometimes reverses abruptly. The blur kernel is the time the point spends at each pixel.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

CANVAS = 64  # pixels
SAMPLES = 2000


def trajectory(length: float, generator: np.random.Generator, samples: int = SAMPLES) -> np.ndarray:
    """Return positions (samples,), complex in pixels, of a shaken camera that travels `length` pixels in all, from 0."""
    anxiety = 0.1 * generator.random()  # how strongly the hand shakes
    pull = 0.7 * generator.random()
    shake = 10 * generator.random()
    turning = 0.2 * generator.random()  # chance of an abrupt turn, times the anxiety
    step = length / (samples - 1)
    velocity = step * np.exp(2j * np.pi * generator.random())
    path = np.zeros(samples, complex)
    for i in range(samples - 1):
        push = 0.0
        if generator.random() < turning * anxiety:
            push = 2 * velocity * np.exp(1j * (np.pi + generator.random() - 0.5))
        gust = shake * complex(*generator.standard_normal(2))
        velocity = velocity + push + anxiety * (gust - pull * path[i]) * step
        velocity *= step / max(abs(velocity), 1e-12)
        path[i + 1] = path[i] + velocity
    return path


def rasterise(path: np.ndarray, canvas: int = CANVAS) -> np.ndarray:
    """Return the share of samples at each pixel of a square canvas, (canvas, canvas) summing to 1.

    The path's middle lies on the middle pixel (on an even canvas, the one before its middle), so that blurring shifts nothing.
    Every sample is distributed bilinearly over four pixels; samples outside the canvas count at its border.
    """
    middle = (path.real.max() + path.real.min()) / 2 + 1j * (path.imag.max() + path.imag.min()) / 2
    places = path - middle + (canvas - 1) // 2 * (1 + 1j)
    x, y = places.real.clip(0, canvas - 1.001), places.imag.clip(0, canvas - 1.001)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    kernel = np.zeros((canvas, canvas))
    for down in (0, 1):
        for right in (0, 1):
            share = np.abs(1 - down - (y - top)) * np.abs(1 - right - (x - left))
            np.add.at(kernel, (top + down, left + right), share)
    return kernel / kernel.sum()


def motion_blur(image: Tensor, length: float, generator: np.random.Generator) -> Tensor:
    """Blur (3, H, W) along a random trajectory of `length` pixels, borders replicated; length 0 changes nothing."""
    if length <= 0:
        return image.clone()
    from scipy.signal import fftconvolve

    kernel = rasterise(trajectory(length, generator))
    before, after = (CANVAS - 1) // 2, CANVAS // 2
    padded = np.pad(image.double().cpu().numpy(), [(0, 0), (after, before), (after, before)], mode="edge")
    blurred = fftconvolve(padded, kernel[None], mode="valid", axes=(1, 2))
    return torch.from_numpy(blurred.clip(0, 1)).float()
