"""Detections in other tools' files: by image id, COCO results, and the devkit's `comp4_det_test_CLASS.txt`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from vocbench.detection.datasets.voc import LABELS, load_json
from vocbench.detection.detections import VOC_CLASSES, Detections


def read_detections(path: str | Path, images: list[str]) -> dict[str, Detections]:
    """Detections of a JSON file, by image id.

    Either {image id: {"boxes": [[x1, y1, x2, y2]], "scores": [], "labels": ["dog"]}} in continuous corners from 0, or COCO
    results [{"image_id", "category_id", "bbox": [x, y, width, height], "score"}]: image_id is an id (a number may lack its
    leading zeros) unless there is a `file_name`, and category_id counts VOC's classes from 1. Raises ValueError, naming file
    and entry, for anything else.
    """
    path = Path(path)
    data = load_json(path)
    if isinstance(data, Mapping):
        return {image: _entry(path, image, entry) for image, entry in data.items()}
    if isinstance(data, list):
        return _coco(path, data, images)
    raise ValueError(f"{path}: expected an object of image ids or a list of COCO results, got {type(data).__name__}")


def _entry(path: Path, image: str, entry: Any) -> Detections:
    try:
        labels = [LABELS[name] for name in entry["labels"]]
        boxes, scores = _numbers("boxes", entry["boxes"], 4), _numbers("scores", entry["scores"])
        return _detections(boxes, scores, np.asarray(labels, np.int64))
    except KeyError as error:
        what = "unknown class" if isinstance(entry, Mapping) and error.args[0] not in ("boxes", "scores", "labels") else "no"
        raise ValueError(f"{path}: image {image!r}: {what} {error.args[0]!r}") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: image {image!r}: {error}") from None


def _numbers(name: str, values: Any, *columns: int) -> np.ndarray:
    """A list of numbers (N,), or of N lists of them where `columns` tells how many, as float64; text is no number."""
    array = np.asarray(values) if len(values) else np.zeros((0, *columns))
    if array.dtype.kind not in "fiu" or array.shape != (len(array), *columns):
        form = "a list of [x1, y1, x2, y2]" if columns else "a list of numbers"
        raise ValueError(f"{name} must be {form}, got {array.dtype} of shape {array.shape}")
    return array.astype(np.float64)


def _detections(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> Detections:
    """Checked and kept in float64, so that an evaluation sees the file's own numbers."""
    if not len(boxes) == len(scores) == len(labels):
        raise ValueError(f"{len(boxes)} boxes, {len(scores)} scores and {len(labels)} labels; there must be as many of each")
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ValueError("boxes and scores must be finite numbers")
    turned = (boxes[:, 2:] < boxes[:, :2]).any(1)
    if turned.any():
        raise ValueError(f"the box {boxes[turned][0].tolist()} ends before it begins; boxes are [x1, y1, x2, y2]")
    return Detections(torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(labels))


def _coco(path: Path, results: list, images: list[str]) -> dict[str, Detections]:
    known = {image: image for image in images}
    known |= {str(int(image)): image for image in images if image.isdigit()}
    gathered: dict[str, list[tuple[list[float], float, int]]] = {}
    for i, result in enumerate(results):
        try:
            x, y, width, height, score = _numbers("bbox and score", [*result["bbox"], result["score"]]).tolist()
            image, label = str(result.get("file_name", result["image_id"])), int(result["category_id"]) - 1
            entry = ([x, y, x + width, y + height], score, label)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path}: result {i} is malformed ({error!r})") from None
        if not 0 <= label < len(VOC_CLASSES):
            raise ValueError(f"{path}: result {i}: category_id must be 1 to {len(VOC_CLASSES)}, got {label + 1}")
        gathered.setdefault(known.get(image) or known.get(Path(image).stem, image), []).append(entry)
    found = {}
    for image, entries in gathered.items():
        boxes, scores, labels = zip(*entries, strict=True)
        try:
            found[image] = _detections(np.asarray(boxes), np.asarray(scores), np.asarray(labels, np.int64))
        except ValueError as error:
            raise ValueError(f"{path}: image {image!r}: {error}") from None
    return found


def to_json(detections: Mapping[str, Detections]) -> dict[str, dict]:
    """Detections in the form that `read_detections` reads."""
    return {
        image: {
            "boxes": np.asarray(found.boxes, np.float64).tolist(),
            "scores": np.asarray(found.scores, np.float64).tolist(),
            "labels": [VOC_CLASSES[label] for label in np.asarray(found.labels).tolist()],
        }
        for image, found in detections.items()
    }


def to_devkit(detections: Mapping[str, Detections]) -> dict[str, str]:
    """The devkit's result files by class: `image score xmin ymin xmax ymax`, pixels counted from 1."""
    lines: dict[str, list[str]] = {name: [] for name in VOC_CLASSES}
    for image, found in detections.items():
        boxes = np.asarray(found.boxes, np.float64) + [1, 1, 0, 0]
        for box, score, label in zip(boxes.tolist(), found.scores, found.labels, strict=True):
            lines[VOC_CLASSES[int(label)]].append(f"{image} {float(score)!r} " + " ".join(repr(value) for value in box))
    return {name: "".join(f"{line}\n" for line in rows) for name, rows in lines.items()}
