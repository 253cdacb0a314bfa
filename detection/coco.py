"""COCO's average precision through pycocotools, and detections as COCO's files.

pycocotools takes a detection's `ignore` from `iscrowd`, so difficult objects are marked as crowd: a detection that falls on one
is not counted, and several may.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from vocbench.detection.detections import VOC_CLASSES, Detections, Objects


def to_coco_ground_truth(ground_truth: Mapping[str, Objects], classes: Sequence[str] = VOC_CLASSES) -> dict[str, Any]:
    """Return COCO's annotation dictionary; images are numbered from 1, their ids kept as `file_name`."""
    images = [{"id": i, "file_name": name} for i, name in enumerate(ground_truth, 1)]
    annotations: list[dict[str, Any]] = []
    for i, objects in enumerate(ground_truth.values(), 1):
        for (x1, y1, x2, y2), label, difficult in zip(objects.boxes, objects.labels, objects.difficult, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i,
                    "category_id": int(label) + 1,
                    "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
                    "area": float((x2 - x1) * (y2 - y1)),
                    "iscrowd": int(difficult),
                }
            )
    categories = [{"id": i, "name": name} for i, name in enumerate(classes, 1)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def to_coco_results(detections: Mapping[str, Detections], images: list[str]) -> list[dict[str, Any]]:
    """Return COCO's results list; `images` gives the numbers, from 1, and boxes become [x, y, width, height].

    Images' own ids are kept as `file_name`, as in the ground truth; pycocotools lets further keys be.
    """
    results = []
    for i, name in enumerate(images, 1):
        in_image = detections.get(name)
        if in_image is None:
            continue
        boxes = np.asarray(in_image.boxes, np.float64)
        scores, labels = np.asarray(in_image.scores, np.float64), np.asarray(in_image.labels)
        for (x1, y1, x2, y2), score, label in zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True):
            box = [x1, y1, x2 - x1, y2 - y1]
            results.append({"image_id": i, "file_name": name, "category_id": label + 1, "bbox": box, "score": score})
    return results


def coco_average_precision(
    detections: Mapping[str, Detections], ground_truth: Mapping[str, Objects], classes: Sequence[str] = VOC_CLASSES
) -> dict[str, float | None]:
    """Return every class's AP over IoU 0.50 to 0.95, at most 100 detections an image; None for one without objects."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images = list(ground_truth)
    counted = np.zeros(len(classes), int)
    for objects in ground_truth.values():
        np.add.at(counted, objects.labels[~objects.difficult], 1)
    results = to_coco_results(detections, images)
    if not results:
        return {name: 0.0 if count else None for name, count in zip(classes, counted, strict=True)}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = COCO()
        truth.dataset = to_coco_ground_truth(ground_truth, classes)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # (IoU, recalls, classes), all areas, 100 detections
    means = [float(precision[:, :, k].mean()) if counted[k] else None for k in range(len(classes))]
    return dict(zip(classes, means, strict=True))
