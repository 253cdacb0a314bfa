"""Why average precision is lost: the error types of TIDE (Bolya et al., ECCV 2020, arXiv:2008.08115).

Every false positive has one type, by its IoU with objects of its own class and of others; every object that no detection of
another type explains is missed. A type's weight is how much mAP at 0.5 would rise if only its errors were fixed.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from vocbench.detection.average_precision import paired_iou, voc10_average_precision
from vocbench.detection.columns import ObjectColumns
from vocbench.detection.detections import Detections, Objects

TRUE_POSITIVE = "true positive"
FOREGROUND, BACKGROUND = 0.5, 0.1  # IoU: at least the first is a match, below the second is background
ERROR_TYPES = {
    "class": "IoU at least 0.5 with an object of another class",
    "localisation": "IoU between 0.1 and 0.5 with an object of its class",
    "both": "IoU between 0.1 and 0.5 with an object of another class",
    "duplicate": "the object was already detected",
    "background": "no object there",
    "missed": "an object without any detection near it",
}
MISSED = list(ERROR_TYPES).index("missed")
MOVABLE = [list(ERROR_TYPES).index(kind) for kind in ("class", "localisation")]  # when fixed, they become true positives


def _iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the IoU (N, M) of every pair."""
    rows, columns = len(boxes), len(others)
    if not rows or not columns:
        return np.zeros((rows, columns))
    return paired_iou(np.repeat(boxes, columns, 0), np.tile(others, (rows, 1))).reshape(rows, columns)


class Judgement(NamedTuple):
    """A detection of an image and its type: a true positive, or one of `ERROR_TYPES`."""

    place: int  # among the image's detections
    score: float
    label: int
    kind: str  # of `ERROR_TYPES`, or `TRUE_POSITIVE`
    target: int  # the object that it matches or is near to; -1 for none


def judge(detections: Detections, objects: Objects) -> tuple[list[Judgement], np.ndarray]:
    """Return every detection of an image that counts, by falling score, and which objects were detected (objects,).

    Detections of difficult objects do not count. Types are those of `ERROR_TYPES` and `true positive`.
    """
    scores, labels = np.asarray(detections.scores, np.float64), np.asarray(detections.labels)
    iou = _iou(np.asarray(detections.boxes, np.float64), objects.boxes)
    taken = np.zeros(len(objects.labels), bool)
    judged = []
    for i in np.argsort(-scores, kind="stable"):
        same = np.where(objects.labels == labels[i], iou[i], 0.0)
        other = np.where((objects.labels != labels[i]) & ~objects.difficult, iou[i], 0.0)
        own, foreign = (int(a.argmax()) if len(a) else -1 for a in (same, other))
        best, best_other = (float(a[k]) if k >= 0 else 0.0 for a, k in ((same, own), (other, foreign)))
        kind, target = "background", -1
        if best >= FOREGROUND:
            if objects.difficult[own]:
                continue  # neither a true nor a false positive
            kind, target = ("duplicate" if taken[own] else TRUE_POSITIVE), own
            taken[own] = True
        elif best >= BACKGROUND:
            kind, target = "localisation", own
        elif best_other >= FOREGROUND:
            kind, target = "class", foreign
        elif best_other >= BACKGROUND:
            kind, target = "both", foreign
        judged.append(Judgement(int(i), float(scores[i]), int(labels[i]), kind, target))
    return judged, taken


@dataclass(frozen=True)
class _Judged:
    """The judged detections of all images by falling score."""

    label: np.ndarray
    kind: np.ndarray  # place in `ERROR_TYPES`, -1 for a true positive
    target: np.ndarray  # place among the objects of all images, -1 for none


def _judge_all(detections: Mapping[str, Detections], truth: ObjectColumns) -> _Judged:
    place = {TRUE_POSITIVE: -1} | {kind: i for i, kind in enumerate(ERROR_TYPES)}
    scores, labels, kinds, targets = array("d"), array("h"), array("b"), array("q")
    for image, first in zip(truth, truth.first.tolist(), strict=False):
        for row in judge(detections[image], truth[image])[0] if image in detections else ():
            scores.append(row.score)
            labels.append(row.label)
            kinds.append(place[row.kind])
            targets.append(first + row.target if row.target >= 0 else -1)
    order = np.argsort(-np.array(scores), kind="stable")
    return _Judged(*(np.array(column)[order] for column in (labels, kinds, targets)))


def _mean_ap(judged: _Judged, truth: ObjectColumns, mended: int | None) -> float:
    """Return mAP (all points, 0.5) with one type fixed: turned into true positives if their object is free, else removed."""
    hit, label, counted = judged.kind == -1, judged.label, ~truth.difficult
    kept = np.ones(len(hit), bool)
    detected = np.zeros(len(truth.labels), bool)
    detected[judged.target[hit]] = True
    if mended == MISSED:
        pointed = detected.copy()
        pointed[judged.target[np.isin(judged.kind, MOVABLE)]] = True
        counted = counted & pointed
    elif mended is not None:
        faulty = judged.kind == mended
        kept = ~faulty
        if mended in MOVABLE:
            free = np.flatnonzero(faulty)
            free = free[~detected[judged.target[free]] & counted[judged.target[free]]]
            _, firsts = np.unique(judged.target[free], return_index=True)  # a second one is removed
            moved = free[firsts]
            hit, label = hit.copy(), label.copy()
            hit[moved] = kept[moved] = True
            label[moved] = truth.labels[judged.target[moved]]
    values = []
    for k, positives in zip(*np.unique(truth.labels[counted], return_counts=True), strict=True):
        hits = np.cumsum(hit[kept & (label == k)])
        values.append(voc10_average_precision(hits / positives, hits / np.arange(1, len(hits) + 1)))
    return float(np.mean(values)) if values else 0.0


def error_types(detections: Mapping[str, Detections], ground_truth: Mapping[str, Objects]) -> dict[str, float]:
    """Return how much mAP (all points, IoU 0.5) would rise if only the errors of one type of `ERROR_TYPES` were fixed."""
    truth = ObjectColumns.of(ground_truth)
    judged = _judge_all(detections, truth)
    base = _mean_ap(judged, truth, None)
    return {kind: _mean_ap(judged, truth, i) - base for i, kind in enumerate(ERROR_TYPES)}
