"""The work of the worker processes: reading and degrading photos, and measuring the quality of images.

All images of a photo are measured together, as part of the comparison depends on the clean photo alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from vocbench.benchmarks.running.decoded import DECODED, packed, unpacked
from vocbench.benchmarks.settings import RunSettings
from vocbench.restorer.degradations.recipes import degrade, level_degrade
from vocbench.restorer.images import read_image
from vocbench.restorer.quality import qualities

Quality = tuple[float | None, float | None]  # PSNR in dB, SSIM; None where there is no clean photo
PIXELS = ("clean", "degraded")  # of a `Prepared`
MOST_DECIBELS = 100.0  # the PSNR of an unchanged photo, so that means stay finite


@dataclass
class Prepared:
    """One degradation of one photo."""

    image: str
    draw: int
    clean: Tensor  # (3, H, W)
    degraded: Tensor
    levels: dict[str, float]
    seconds: float  # of degrading
    seconds_read: float = 0.0  # 0 for further draws, which share the first one's photo
    travelled: dict[str, np.ndarray] = field(default_factory=dict)  # both images as received from another process

    def __getstate__(self) -> dict[str, Any]:
        """Return pixels as arrays: a tensor sent to a process takes a file descriptor and its size of shared memory."""
        return self.__dict__ | {name: packed(getattr(self, name)) for name in PIXELS} | {"travelled": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        tensors = {name: unpacked(state[name]) for name in PIXELS}
        self.__dict__.update(state | tensors | {"travelled": {name: state[name] for name in PIXELS}})

    def array(self, name: str) -> np.ndarray:
        """Return the pixels called `name`, `clean` or `degraded`, as they travelled here where they did."""
        return self.travelled[name] if name in self.travelled else getattr(self, name).numpy()


class Compared(NamedTuple):
    """A clean photo and images made of it, all of one size, as arrays of `packed`."""

    clean: np.ndarray
    images: list[np.ndarray]


class Qualities(NamedTuple):
    """The quality of the images of each photo, and the seconds that measuring them took."""

    values: list[list[Quality]]
    seconds: float


def draw_id(image: str, draw: int) -> str:
    """Return the name that seeds draw `draw` of an image; the first draw's is the image's own."""
    return image if draw == 0 else f"{image}#{draw}"


def measure(photos: Sequence[Compared]) -> Qualities:
    """Return PSNR in dB, at most `MOST_DECIBELS`, and SSIM (None below 7 pixels) of all images; runs in a worker."""
    torch.set_num_threads(1)
    begun = time.perf_counter()
    measured = [qualities([unpacked(image) for image in photo.images], unpacked(photo.clean)) for photo in photos]
    values: list[list[Quality]] = [[(min(one.psnr, MOST_DECIBELS), one.ssim) for one in of] for of in measured]
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
    """Return one draw's degradation of a clean photo (3, H, W); `reading` is in seconds."""
    if settings.as_they_are:
        return Prepared(image, draw, clean, clean, {}, 0.0, reading)
    begun = time.perf_counter()
    if settings.levels is not None:
        levels = json.loads(settings.levels)
        degraded = level_degrade(clean, levels, settings.seed, draw_id(image, draw))
    else:
        degraded, levels = degrade(clean, settings.recipe, settings.seed, draw_id(image, draw))
    return Prepared(image, draw, clean, degraded, levels, time.perf_counter() - begun, reading)
