"""Decoded photos as bytes: to send between processes, and to cache for a sweep, which reads the same photos at every level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from vocbench.restorer.images import from_uint8, read_image, to_uint8


def packed(image: Tensor) -> np.ndarray:
    """Return an image (3, H, W) as an array to send: a quarter of its size where it has 8 bits a channel, as photos have."""
    values = image.numpy()
    with np.errstate(invalid="ignore"):  # images outside [0, 1] are sent unchanged
        small = np.rint(values * np.float32(255)).astype(np.uint8)
    return small if np.array_equal(_levels(small), values) else values


def unpacked(array: np.ndarray) -> Tensor:
    """Return the image (3, H, W) that `packed` made an array of."""
    return torch.from_numpy(_levels(array) if array.dtype == np.uint8 else array)


def _levels(array: np.ndarray) -> np.ndarray:
    return np.divide(array, np.float32(255), dtype=np.float32)


class Decoded:
    """Photos kept as bytes, those of the latest use up to `limit` bytes.

    A photo is known by its path, size and time of change. One of more than 8 bits a channel is read again each time.
    """

    def __init__(self, limit: int):
        self.limit, self.size = limit, 0
        self.photos: dict[tuple[str, bool, int, int], np.ndarray] = {}  # (H, W, 3) uint8, the latest used last

    def read(self, path: Path, upright: bool = False) -> Tensor:
        """Return the photo as `read_image` does."""
        there = path.stat()
        key = str(path), upright, there.st_size, there.st_mtime_ns
        kept = self.photos.pop(key, None)
        if kept is not None:
            self.photos[key] = kept
            return from_uint8(kept)
        image = read_image(path, upright)
        kept = to_uint8(image)
        if torch.equal(from_uint8(kept), image):
            self._keep(key, kept)
        return image

    def _keep(self, key: tuple[str, bool, int, int], photo: np.ndarray) -> None:
        self.photos[key] = photo
        self.size += photo.size
        while self.size > self.limit and len(self.photos) > 1:
            self.size -= self.photos.pop(next(iter(self.photos))).size


DECODED = Decoded(2**28)  # of this process
