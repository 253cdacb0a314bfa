"""The share of a detector's detections on clean photos that it finds again after the photos are degraded and restored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.ops import box_iou
from vocbench.detection.detections import Detections
from vocbench.restorer.degradations.recipes import degrade
from vocbench.restorer.images import read_image

SURE = 0.3  # the least score of a detection that counts, on both sides
LEAST_IOU = 0.5  # the least IoU of the same object
SIDE = 500  # pixels of a photo's longer side at most, as VOC's; the detectors see fewer
PHOTOS = 32  # at most

Detector = Callable[[Sequence[Tensor]], Sequence[Detections]]


def found_again(clean: Detections, other: Detections) -> tuple[int, int]:
    """Return how many confident detections of the clean photo are among the others, and how many there are.

    Each of the others matches one at most, of its own class and with an IoU of at least a half, the best pairs first.
    """
    wanted, given = clean.scores >= SURE, other.scores >= SURE
    iou = box_iou(clean.boxes[wanted], other.boxes[given])  # (N, M)
    iou = torch.where(clean.labels[wanted][:, None] == other.labels[given], iou, 0.0)
    count = 0
    while iou.numel() and iou.max() >= LEAST_IOU:
        row, column = divmod(int(iou.argmax()), iou.shape[1])
        iou[row], iou[:, column] = 0.0, 0.0
        count += 1
    return count, int(wanted.sum())


def _small(image: Tensor) -> Tensor:
    """Return a photo (3, H, W) whose longer side is `SIDE` pixels at most."""
    share = SIDE / max(image.shape[1:])
    if share >= 1:
        return image
    size = [max(1, round(side * share)) for side in image.shape[1:]]
    return interpolate(image[None], size, mode="bicubic", align_corners=False, antialias=True)[0].clamp(0, 1)


class CleanRecall:
    """The mean over detectors of the share of the clean photos' detections that come back after restoring, in [0, 1].

    Each photo is degraded once, by a recipe drawn from the mixture, from the seed and its own name alone. The photos and the
    detections on the clean ones are made at the first call.
    """

    def __init__(self, detectors: Sequence[Detector], mixture: Mapping[str, float], seed: int, device: str = "cpu"):
        self.detectors, self.mixture, self.seed, self.device = list(detectors), dict(mixture), seed, device
        self._degraded: list[Tensor] = []
        self._clean: list[list[Detections]] = []  # of each detector, for each photo

    def _prepare(self, photos: Sequence[Path]) -> None:
        chosen = list(photos)[:PHOTOS]
        clean = [_small(read_image(photo)) for photo in chosen]
        names, shares = list(self.mixture), list(self.mixture.values())
        drawn = np.random.default_rng(self.seed).choice(len(names), len(chosen), p=shares)
        self._degraded = [
            degrade(image, names[recipe], self.seed, photo.name)[0]
            for image, recipe, photo in zip(clean, drawn, chosen, strict=True)
        ]
        self._clean = [self._detect(detector, clean) for detector in self.detectors]

    def _detect(self, detector: Detector, images: Sequence[Tensor]) -> list[Detections]:
        return [Detections.of(detector([image.to(self.device)])[0]) for image in images]

    @torch.no_grad()
    def __call__(self, restorer: nn.Module, photos: Sequence[Path]) -> float:
        """Return the recall of a restorer (B, 3, H, W) to the same shape; 0 where no detector finds anything."""
        if not self._clean:
            self._prepare(photos)
        restored = [restorer(image.to(self.device)[None])[0].float().clamp(0, 1) for image in self._degraded]
        shares = []
        for detector, clean in zip(self.detectors, self._clean, strict=True):
            pairs = zip(clean, self._detect(detector, restored), strict=True)
            hits, objects = np.sum([found_again(one, other) for one, other in pairs], axis=0)
            shares.append(hits / max(objects, 1))
        return float(np.mean(shares))
