"""Which detections of a photo came and which went between two sets, without ground truth.

Boxes of one class with an IoU of at least `IOU` count as the same object, each at most once, the largest IoU first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torchvision.ops import box_iou
from vocbench.detection.detections import Detections

IOU = 0.5  # from which two boxes of a class are the same object
SCORE = 0.3  # below which a box is not counted


@dataclass(frozen=True)
class Changes:
    """Indices into the detections before and after.

    `kept` are pairs (before, after) of the same object; `went` are found before alone, `came` after alone, highest score first.
    """

    kept: tuple[tuple[int, int], ...]
    went: tuple[int, ...]
    came: tuple[int, ...]


def find_changes(before: Detections, after: Detections, score: float = SCORE, iou: float = IOU) -> Changes:
    """Return which boxes of at least `score` came, went and were kept; boxes of one class are paired from `iou` on."""
    first, second = _counted(before, score), _counted(after, score)
    ious = box_iou(before.boxes[first], after.boxes[second]).numpy()  # (first, second)
    ious[before.labels.numpy()[first][:, None] != after.labels.numpy()[second][None]] = 0
    kept: dict[int, int] = {}  # before: after
    for place in np.argsort(-ious, axis=None, kind="stable"):
        i, j = np.unravel_index(place, ious.shape)
        if ious[i, j] < iou or ious[i, j] == 0:
            break
        if first[i] not in kept and second[j] not in kept.values():
            kept[int(first[i])] = int(second[j])
    went = tuple(int(i) for i in first if i not in kept)
    came = tuple(int(j) for j in second if j not in kept.values())
    return Changes(tuple(kept.items()), went, came)


def _counted(detections: Detections, score: float) -> np.ndarray:
    """Return the indices of the boxes of `score` and above, highest first."""
    scores = detections.scores.numpy()
    order = np.argsort(-scores, kind="stable")
    return order[scores[order] >= score]
