"""The confusion matrix of classes: every object and every detection of some photos is counted once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from vocbench.detection.detections import Detections, Objects
from vocbench.detection.error_types import TRUE_POSITIVE, judge

SCORE = 0.3  # below it a detection is not counted


@dataclass(frozen=True)
class Confusion:
    """How often an object of a class (row) was detected as a class (column): counts (C + 1, C + 1).

    The last column holds the objects that were missed, the last row the detections where no further object is. A row adds up to
    the objects of its class, difficult ones aside, a column to the detections of its class.
    """

    counts: np.ndarray


def confusion(
    detections: Mapping[str, Detections], ground_truth: Mapping[str, Objects], classes: int, score: float = SCORE
) -> Confusion:  # fmt: skip
    """Count the detections of `score` and above against the objects; IoU 0.5, an object's own class goes before others.

    `classes` is the number of classes that labels index. Detections of difficult objects are left out.
    """
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    for image, objects in ground_truth.items():
        confident = detections[image].at_least(score) if image in detections else Detections.empty()
        np.add.at(counts, tuple(np.array(list(_pairs(confident, objects, classes)), int).reshape(-1, 2).T), 1)
    return Confusion(counts)


def _pairs(detections: Detections, objects: Objects, none: int) -> Iterable[tuple[int, int]]:
    """Yield the class of each object and what it was detected as; `none` stands for missed, and for no object."""
    judged, taken = judge(detections, objects)
    free = ~taken & ~objects.difficult
    for one in judged:
        row = none
        if one.kind == TRUE_POSITIVE:
            row = one.label
        elif one.kind == "class" and free[one.target]:
            free[one.target] = False
            row = int(objects.labels[one.target])
        yield row, one.label
    for label in objects.labels[free]:
        yield int(label), none
