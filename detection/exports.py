"""Detections and objects in the forms of other programs: YOLO's text files, and FiftyOne's labels.

FiftyOne reads the labels as `fiftyone.types.FiftyOneImageDetectionDataset`, whose boxes are [x, y, width, height] in parts of
the picture (docs.voxel51.com, import of FiftyOneImageDetectionDataset).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from vocbench.detection.detections import VOC_CLASSES, Detections, Objects

Sizes = Mapping[str, tuple[int, int]]  # image id: width and height in pixels


def _parts(boxes: Any, size: tuple[int, int]) -> np.ndarray:
    """Return corners (N, 4) in pixels as [x, y, width, height] in parts of a picture of this size (width, height)."""
    corners = np.asarray(boxes, np.float64).reshape(-1, 4) / np.tile(np.asarray(size, np.float64), 2)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)


def to_yolo(detections: Mapping[str, Detections], sizes: Sizes) -> dict[str, str]:
    """Return the text of `IMAGE.txt` by file name: rows `class x y width height score`, as ultralytics' save_conf writes them.

    Centres and sides are in parts of the picture, classes count from 0.
    """
    files = {}
    for image, in_image in detections.items():
        parts = _parts(in_image.boxes, sizes[image])
        parts[:, :2] += parts[:, 2:] / 2
        rows = zip(in_image.labels.tolist(), parts.tolist(), in_image.scores.tolist(), strict=True)
        files[f"{image}.txt"] = "".join(
            f"{label} {' '.join(f'{v:.8g}' for v in box)} {score:.8g}\n" for label, box, score in rows
        )
    return files


def to_fiftyone(
    found: Mapping[str, Detections] | Mapping[str, Objects], sizes: Sizes, classes: Sequence[str] = VOC_CLASSES
) -> dict[str, Any]:
    """Return the content of FiftyOne's `labels.json`: detections with their confidence, or objects with `difficult`."""
    labels = {}
    for image, one in found.items():
        rows = zip(one.labels.tolist(), _parts(one.boxes, sizes[image]).tolist(), strict=True)
        entries: list[dict[str, Any]] = [{"label": classes[label], "bounding_box": box} for label, box in rows]
        if isinstance(one, Objects):
            for entry, difficult in zip(entries, one.difficult.tolist(), strict=True):
                entry["attributes"] = {"difficult": difficult}
        else:
            for entry, score in zip(entries, one.scores.tolist(), strict=True):
                entry["confidence"] = score
        labels[image] = entries
    return {"labels": labels}


def yolo_files(detections: Mapping[str, Detections], sizes: Sizes, classes: Sequence[str]) -> dict[str, str]:
    """Return the files of YOLO's form: a text file an image below `labels`, and the classes' names in `classes.txt`."""
    texts = {f"labels/{name}": text for name, text in to_yolo(detections, sizes).items()}
    return texts | {"classes.txt": "".join(f"{name}\n" for name in classes)}


def fiftyone_files(
    detections: Mapping[str, Detections],
    truth: Mapping[str, Objects],
    sizes: Sizes,
    classes: Sequence[str],
    photos: Mapping[str, Path],
) -> dict[str, str]:
    """Return FiftyOne's files: labels of the detections and of the objects, and `photos.json`, where each photo lies."""
    return {
        "predictions.json": json.dumps(to_fiftyone(detections, sizes, classes)),
        "ground_truth.json": json.dumps(to_fiftyone(truth, sizes, classes)),
        "photos.json": json.dumps({image: str(path) for image, path in photos.items()}),
    }
