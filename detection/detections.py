"""Detections and ground truth: boxes with scores and labels, as continuous pixel corners counted from 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

VOC_CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


def classes_of(detector: Any) -> tuple[str, ...]:
    """Return the names that a detector's labels index: its attribute `classes`, VOC's where it has none."""
    given = getattr(detector, "classes", None)
    has_names = isinstance(given, (list, tuple)) and given and all(isinstance(name, str) for name in given)
    return tuple(given) if has_names else VOC_CLASSES  # type: ignore[arg-type]


class Detections(NamedTuple):
    """The boxes found in one image: (N, 4) xyxy pixels from 0, scores (N,), labels (N,) int64 indexing the classes.

    Boxes and scores are float32, those read from other tools' files float64: an evaluation sees the file's own numbers.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    @classmethod
    def checked(cls, boxes: Tensor, scores: Tensor, labels: Tensor, classes: int = len(VOC_CLASSES)) -> Detections:
        """Return the same after their shapes and values were checked; ValueError says what was expected and what came."""
        count = len(scores)
        if boxes.shape != (count, 4) or scores.shape != (count,) or labels.shape != (count,):
            raise ValueError(
                "detections must be boxes (N, 4), scores (N,) and labels (N,), got "
                f"{tuple(boxes.shape)}, {tuple(scores.shape)} and {tuple(labels.shape)}"
            )
        if not torch.isfinite(boxes).all() or not torch.isfinite(scores).all():
            raise ValueError("detections must be finite, got NaN or infinite boxes or scores")
        turned = (boxes[:, 2:] < boxes[:, :2]).any(1)
        if turned.any():
            raise ValueError(f"the box {boxes[turned][0].tolist()} ends before it begins; boxes are [x1, y1, x2, y2] in pixels")
        fractional = labels.is_floating_point() and labels != labels.round()
        if isinstance(fractional, Tensor) and fractional.any():
            raise ValueError(f"labels must be whole numbers, got {labels[fractional][0].item():g}; are they scores?")
        if count and not (int(labels.min()) >= 0 and int(labels.max()) < classes):
            shifted = int(labels.min()) >= 1 and int(labels.max()) == classes
            hint = "; if they count the background as 0, subtract 1" if shifted else ""
            raise ValueError(f"labels must lie in 0..{classes - 1}, got {int(labels.min())}..{int(labels.max())}{hint}")
        return cls(boxes.float(), scores.float(), labels.long())

    @classmethod
    def of(cls, result: Any, classes: int = len(VOC_CLASSES)) -> Detections:
        """Return a detector's result for one image, checked and on the CPU.

        It may be `Detections`, such a triple, or torchvision's mapping; labels index that many `classes`.
        """
        try:
            parts = [result[name] for name in cls._fields] if isinstance(result, Mapping) else list(result)
            boxes, scores, labels = (torch.atleast_1d(torch.as_tensor(part)).detach().cpu() for part in parts)
        except (KeyError, TypeError, ValueError, RuntimeError):
            got = f"a mapping of {', '.join(map(str, result))}" if isinstance(result, Mapping) else type(result).__name__
            raise ValueError(f"an image's detections are boxes, scores and labels, or a mapping of these, got {got}") from None
        return cls.checked(boxes, scores, labels, classes)

    @classmethod
    def empty(cls) -> Detections:
        return cls(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))

    def at_least(self, score: float) -> Detections:
        """Return those of this score and above."""
        kept = self.scores >= score
        return Detections(self.boxes[kept], self.scores[kept], self.labels[kept])


@dataclass(frozen=True)
class Objects:
    """The ground truth of one image.

    boxes (N, 4) float64 continuous corners [xmin - 1, ymin - 1, xmax, ymax] of VOC's 1-based inclusive pixels, labels (N,)
    int64 indexing the data set's classes, difficult (N,) bool: detections of them are neither true nor false positives.
    """

    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray

    @classmethod
    def of(cls, boxes: Any, labels: Any, difficult: Any = None) -> Objects:
        """Make objects of plain lists; `difficult` defaults to none."""
        labels = np.asarray(labels, np.int64).reshape(-1)
        flags = np.zeros(len(labels), bool) if difficult is None else np.asarray(difficult, bool).reshape(-1)
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        if not len(boxes) == len(labels) == len(flags):
            raise ValueError(f"got {len(boxes)} boxes, {len(labels)} labels and {len(flags)} difficult flags")
        return cls(boxes, labels, flags)
