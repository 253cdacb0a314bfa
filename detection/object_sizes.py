"""Average precision of small, medium and large objects: COCO's areas (Lin et al., 2014, arXiv:1405.0312), by VOC's rules.

As in COCO, objects of other sizes are ignored, and so are detections of another size that match no object.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from vocbench.detection.average_precision import evaluate, paired_iou
from vocbench.detection.columns import DetectionColumns, ObjectColumns, starts

SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}  # areas in square pixels
IOU = 0.5


@dataclass(frozen=True)
class SizeResult:
    """mAP of the objects of a size, None where there are none, and their number."""

    map: float | None
    objects: int


def by_size(detections: DetectionColumns, truth: ObjectColumns, rule: str, classes: list[str]) -> dict[str, SizeResult]:
    """Return the mAP at IoU 0.5 for each of `SIZES` under `rule`, voc07 or voc10."""
    matched = _largest_own_iou(detections, truth) >= IOU
    result = {}
    for name, (low, high) in SIZES.items():
        counted = _within(truth.boxes, low, high) & ~truth.difficult
        sized = ObjectColumns(truth.index, truth.first, truth.boxes, truth.labels, ~counted)
        kept = _only(detections, matched | _within(detections.boxes, low, high))
        result[name] = SizeResult(evaluate(kept, sized, rule, IOU, classes).map, int(counted.sum()))
    return result


def _within(boxes: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return which boxes (N, 4) have an area from `low` to below `high`."""
    area = (boxes[:, 2:].astype(np.float64) - boxes[:, :2]).prod(1)
    return (area >= low) & (area < high)


def _only(detections: DetectionColumns, keep: np.ndarray) -> DetectionColumns:
    """Return the detections that are kept (N,) bool."""
    counts = np.bincount(detections.image[keep], minlength=len(detections))
    return DetectionColumns(
        detections.index, starts(counts), detections.boxes[keep], detections.scores[keep], detections.labels[keep]
    )


def _largest_own_iou(detections: DetectionColumns, truth: ObjectColumns) -> np.ndarray:
    """Return the largest IoU (N,) of each detection with an object of its class in its image."""
    best = np.zeros(len(detections.scores))
    for image, first, last in zip(detections, detections.first[:-1].tolist(), detections.first[1:].tolist(), strict=True):
        objects, count = truth[image], last - first
        if not count or not len(objects.labels):
            continue
        boxes = np.repeat(detections.boxes[first:last].astype(np.float64), len(objects.labels), 0)
        iou = paired_iou(boxes, np.tile(objects.boxes, (count, 1))).reshape(count, -1)
        same = detections.labels[first:last, None] == objects.labels[None]
        best[first:last] = np.where(same, iou, 0).max(1)
    return best
