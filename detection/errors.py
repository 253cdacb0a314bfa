"""Why average precision is lost: the error types of TIDE (Bolya et al., ECCV 2020, arXiv:2008.08115).

Every detection that is not right has one type, by its overlap with objects of its own class and of others; every object that no
detection of another type explains is missed. A type's weight is how much mAP at 0.5 would rise if its errors alone were mended.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from vocbench.detection.average_precision import pair_overlaps, voc10_average_precision
from vocbench.detection.detections import VOC_CLASSES, Detections, Objects

FOREGROUND, BACKGROUND = 0.5, 0.1  # overlaps: at least the first is a match, below the second is background
ERROR_TYPES = {
    "class": "right place, wrong class",
    "localisation": "right class, overlap between 0.1 and 0.5",
    "both": "wrong class and overlap between 0.1 and 0.5",
    "duplicate": "right, but the object was already found",
    "background": "no object there",
    "missed": "an object that nothing points to",
}


def _overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N, M) intersection over union."""
    rows, columns = len(boxes), len(others)
    if not rows or not columns:
        return np.zeros((rows, columns))
    return pair_overlaps(np.repeat(boxes, columns, 0), np.tile(others, (rows, 1))).reshape(rows, columns)


def judge(found: Detections, objects: Objects) -> tuple[list[dict], np.ndarray]:
    """Every detection of an image that counts, with its index, type and the object it speaks of; and which objects were found.

    Detections of difficult objects do not count. Types are those of `ERROR_TYPES` and `right`.
    """
    scores, labels = np.asarray(found.scores, np.float64), np.asarray(found.labels)
    overlap = _overlaps(np.asarray(found.boxes, np.float64), objects.boxes)
    taken = np.zeros(len(objects.labels), bool)
    judged = []
    for i in np.argsort(-scores, kind="stable"):
        same = np.where(objects.labels == labels[i], overlap[i], 0.0)
        other = np.where((objects.labels != labels[i]) & ~objects.difficult, overlap[i], 0.0)
        own, foreign = (int(a.argmax()) if len(a) else -1 for a in (same, other))
        best, best_other = (float(a[k]) if k >= 0 else 0.0 for a, k in ((same, own), (other, foreign)))
        kind, target = "background", -1
        if best >= FOREGROUND:
            if objects.difficult[own]:
                continue  # neither right nor wrong
            kind, target = ("duplicate" if taken[own] else "right"), own
            taken[own] = True
        elif best >= BACKGROUND:
            kind, target = "localisation", own
        elif best_other >= FOREGROUND:
            kind, target = "class", foreign
        elif best_other >= BACKGROUND:
            kind, target = "both", foreign
        judged.append({"index": int(i), "score": scores[i], "label": int(labels[i]), "kind": kind, "target": target})
    return judged, taken


def _average_precision(rows: list[tuple[float, bool]], positives: int) -> float | None:
    if positives <= 0:
        return None
    rows = sorted(rows, key=lambda row: -row[0])
    right = np.array([hit for _, hit in rows], bool)
    hits = np.cumsum(right)
    return voc10_average_precision(hits / positives, hits / np.arange(1, len(right) + 1))


def _mean_ap(judged: list[tuple[int, dict]], truth: list[Objects], mended: str | None) -> float:
    """mAP (all points, 0.5) with the errors of one type mended: set right where they point to a free object, else removed."""
    rows: dict[int, list[tuple[float, bool]]] = {k: [] for k in range(len(VOC_CLASSES))}
    positives = np.zeros(len(VOC_CLASSES), int)
    for objects in truth:
        np.add.at(positives, objects.labels[~objects.difficult], 1)
    found = {(image, row["target"]) for image, row in judged if row["kind"] == "right"}
    if mended == "missed":
        pointed = {(image, row["target"]) for image, row in judged if row["kind"] in ("localisation", "class")} | found
        for image, objects in enumerate(truth):
            for k in np.flatnonzero(~objects.difficult):
                if (image, int(k)) not in pointed:
                    positives[objects.labels[k]] -= 1
    for image, row in sorted(judged, key=lambda pair: -pair[1]["score"]):
        label, right = row["label"], row["kind"] == "right"
        if row["kind"] == mended and mended is not None:
            free = (image, row["target"]) not in found and mended in ("localisation", "class")
            if not free or truth[image].difficult[row["target"]]:
                continue  # a second one, or nothing to be set right: removed
            found.add((image, row["target"]))
            label, right = int(truth[image].labels[row["target"]]), True
        rows[label].append((row["score"], right))
    values = [_average_precision(rows[k], int(positives[k])) for k in rows]
    kept = [value for value in values if value is not None]
    return float(np.mean(kept)) if kept else 0.0


def error_types(detections: Mapping[str, Detections], ground_truth: Mapping[str, Objects]) -> dict[str, float]:
    """How much mAP (all points, overlap 0.5) would rise with the errors of each type of `ERROR_TYPES` mended alone."""
    truth = list(ground_truth.values())
    judged = []
    for image, (name, objects) in enumerate(ground_truth.items()):
        if name in detections:
            judged += [(image, row) for row in judge(detections[name], objects)[0]]
    base = _mean_ap(judged, truth, None)
    return {kind: _mean_ap(judged, truth, kind) - base for kind in ERROR_TYPES}
