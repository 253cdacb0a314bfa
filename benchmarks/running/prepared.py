"""What workers do beside the driver: photos are read and degraded, and the quality of images is measured."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from vocbench.benchmarks.running.decoded import DECODED, packed, unpacked
from vocbench.benchmarks.settings import RunSettings
from vocbench.restorer.degradations.recipes import degrade, level_degrade
from vocbench.restorer.images import read_image
from vocbench.restorer.quality import SSIM_WINDOW, psnr, ssim

Quality = tuple[float | None, float | None]  # PSNR in dB, SSIM; None where there is no clean photo
MOST_DECIBELS = 100.0  # the PSNR of a photo that came back as it was, so that it counts in a mean


@dataclass
class Prepared:
    """One degradation of one photo."""

    image: str
    draw: int
    clean: Tensor  # (3, H, W)
    degraded: Tensor
    levels: dict[str, float]
    seconds: float  # of degrading
    quality: Quality  # of the degraded photo
    seconds_read: float = 0.0  # 0 for further draws, which share the first one's photo
    seconds_measure: float = 0.0
    travelled: np.ndarray | None = None  # the clean photo as it came from another process

    def __getstate__(self) -> dict[str, Any]:
        """Return pixels as arrays: a tensor sent to a process takes a file descriptor and its size of shared memory."""
        return self.__dict__ | {name: packed(getattr(self, name)) for name in ("clean", "degraded")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        tensors = {name: unpacked(state[name]) for name in ("clean", "degraded")}
        self.__dict__.update(state | tensors | {"travelled": state["clean"]})


class Qualities(NamedTuple):
    """The quality of several images, and the seconds that measuring them took."""

    values: list[Quality]
    seconds: float


def draw_id(image: str, draw: int) -> str:
    """Return the name that seeds draw `draw` of an image; the first draw's is the image's own."""
    return image if draw == 0 else f"{image}#{draw}"


def quality(image: Tensor, clean: Tensor) -> Quality:
    """Return PSNR in dB, at most `MOST_DECIBELS`, and SSIM (None below 7 pixels)."""
    small = min(image.shape[1:]) < SSIM_WINDOW
    decibels = min(psnr(image[None], clean[None]).item(), MOST_DECIBELS)
    return decibels, (None if small else ssim(image[None], clean[None]).item())


def measure(images: Sequence[np.ndarray], cleans: Sequence[np.ndarray]) -> Qualities:
    """Return the quality of images, arrays of `packed`, against the clean ones; runs in a worker."""
    torch.set_num_threads(1)
    begun = time.perf_counter()
    values = [quality(unpacked(image), unpacked(clean)) for image, clean in zip(images, cleans, strict=True)]
    return Qualities(values, time.perf_counter() - begun)


def prepare(settings: RunSettings, photos: Sequence[tuple[str, Path]]) -> list[Prepared]:
    """Read and degrade the photos (id, path) of a unit; runs in a worker."""
    torch.set_num_threads(1)
    made: list[Prepared] = []
    read = DECODED.read if settings.levels is not None else read_image  # a sweep comes back to its photos
    for image, path in photos:
        begun = time.perf_counter()
        clean = read(path, settings.upright)
        reading = time.perf_counter() - begun
        for draw in range(settings.draws):
            made.append(_degraded(settings, image, draw, clean, 0.0 if draw else reading))
    return made


def _degraded(settings: RunSettings, image: str, draw: int, clean: Tensor, reading: float) -> Prepared:
    """Return one draw's degradation of a clean photo (3, H, W), measured; `reading` is in seconds."""
    if settings.as_they_are:
        return Prepared(image, draw, clean, clean, {}, 0.0, (None, None), reading)
    begun = time.perf_counter()
    if settings.levels is not None:
        levels = json.loads(settings.levels)
        degraded = level_degrade(clean, levels, settings.seed, draw_id(image, draw))
    else:
        degraded, levels = degrade(clean, settings.recipe, settings.seed, draw_id(image, draw))
    made = time.perf_counter()
    found = quality(degraded, clean)
    return Prepared(image, draw, clean, degraded, levels, made - begun, found, reading, time.perf_counter() - made)
