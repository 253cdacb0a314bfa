"""Detections in other tools' files: by image id, COCO results, YOLO's and the devkit's text files."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import torch
from vocbench.detection.average_precision import paired_iou
from vocbench.detection.datasets.classes import ClassIndex, own_classes
from vocbench.detection.datasets.coco import is_coco
from vocbench.detection.datasets.contract import DataWarning, counted
from vocbench.detection.datasets.files import load_json, read_text
from vocbench.detection.datasets.ids import match_ids
from vocbench.detection.datasets.yolo import corners, load_yaml, names_of, read_rows
from vocbench.detection.detections import VOC_CLASSES, Detections, Objects

DEVKIT = re.compile(r"comp\d+_det_.+?_([^_]+(?:_[^_]+)*)\.txt", re.IGNORECASE)
UNSAFE = re.compile(r'[%/\\:*?"<>|\x00-\x1f\x7f]|^[_. ]|(?<=_)_|[_. ]$')  # in a file's name, or where it is parted at "_"
REMEDY = "give the categories that the detector was trained with"


@dataclass(frozen=True)
class Target:
    """The data set that detections are read for: the images' ids, the classes that labels index, and optional facts.

    numbers has another name of each image, as COCO's `image_id`; categories the class of each `category_id` (default: the
    classes counted from 1); sizes (width, height) of images, which YOLO's normalised boxes need.
    """

    images: Sequence[str]
    classes: Sequence[str] = VOC_CLASSES
    numbers: Mapping[str, str] | None = None
    categories: Mapping[int, str] | None = None
    sizes: Mapping[str, tuple[int, int] | None] | None = None


@dataclass
class _Gathered:
    """The boxes of one image as a file has them, with class names."""

    boxes: list[list[float]]
    scores: list[float]
    names: list[str]


def read_detections(path: str | Path, images: Sequence[str] | Target) -> dict[str, Detections]:
    """Return a file's or folder's detections by image id; labels index the classes of the target, by default VOC's.

    {image id: {"boxes": [[x1, y1, x2, y2]], "scores": [], "labels": ["dog"]}} in continuous corners from 0; COCO results
    [{"image_id", "category_id", "bbox": [x, y, width, height], "score"}], alone or as the `annotations` of a mapping; a folder
    of the devkit's `comp4_det_test_CLASS.txt`; a folder of YOLO's `IMAGE.txt` with rows `class x y width height score`; or a
    folder with a `detections.json` of these. `match_ids` says which image an id means. Boxes of other classes are left
    out, which a `DataWarning` counts. Raises ValueError, naming file and entry, for anything else.
    """
    target = images if isinstance(images, Target) else Target(images)
    return _matched(Path(path), _gathered(Path(path), target), target)


def read_two(
    before: str | Path, after: str | Path, target: Target
) -> tuple[dict[str, Detections], dict[str, Detections], tuple[str, ...]]:
    """Return the detections of two files or folders as `read_detections` reads them, and the classes of both.

    Labels index the classes that occur in either, VOC's where all are VOC's; the target's classes only number categories.
    """
    given = {Path(path): _gathered(Path(path), target) for path in dict.fromkeys((before, after))}
    classes = own_classes([name for by_image in given.values() for one in by_image.values() for name in one.names])
    labelled = replace(target, classes=classes)
    first, second = (_matched(Path(path), given[Path(path)], labelled) for path in (before, after))
    return first, second, classes


def _gathered(path: Path, target: Target) -> Mapping[str, _Gathered]:
    """Return the content of a file or folder of any format."""
    if path.is_dir():
        return _folder(path, target)
    if DEVKIT.fullmatch(path.name):
        return _devkit([path])
    data = load_json(path)
    if isinstance(data, Mapping) and isinstance(data.get("annotations"), list):
        data = data["annotations"]
    if isinstance(data, Mapping):
        return {str(image): _entry(path, image, entry) for image, entry in data.items()}
    if isinstance(data, list):
        return _coco(path, data, target)
    raise ValueError(f"{path}: expected an object of image ids or a list of COCO results, got {type(data).__name__}")


def _matched(path: Path, given: Mapping[str, _Gathered], target: Target) -> dict[str, Detections]:
    """Return detections by the target's ids and labels; ids that match no image are kept."""
    try:
        matched = match_ids(given, target.images, target.numbers)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    index, other, by_image = ClassIndex(target.classes), Counter[str](), {}
    for image, one in given.items():
        labels = np.asarray(index.labels(one.names), np.int64)
        other.update(name for name, label in zip(one.names, labels, strict=True) if label < 0)
        boxes, scores = np.asarray(one.boxes, np.float64).reshape(-1, 4), np.asarray(one.scores, np.float64)
        kept = labels >= 0
        try:
            checked = _detections(boxes, scores, labels)
        except ValueError as error:
            raise ValueError(f"{path}: image {image!r}: {error}") from None
        tensors = (torch.from_numpy(part[kept]) for part in (boxes, scores, labels))
        by_image[matched[image] or image] = checked if kept.all() else Detections(*tensors)
    if other:
        listing = ", ".join(f"{name} ({count})" for name, count in other.most_common(8))
        warnings.warn(
            f"{path}: {counted(other.total(), 'box', 'boxes')} of classes that the data set does not have left out: {listing}",
            DataWarning,
            stacklevel=3,
        )
    return by_image


def _entry(path: Path, image: str, entry: Any) -> _Gathered:
    try:
        names = entry["labels"]
        boxes, scores = _numbers("boxes", entry["boxes"], 4), _numbers("scores", entry["scores"])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"labels must be a list of class names, got {names!r:.60}")
        if not len(boxes) == len(scores) == len(names):
            raise ValueError(f"{len(boxes)} boxes, {len(scores)} scores and {len(names)} labels; their numbers must be equal")
        return _Gathered(boxes.tolist(), scores.tolist(), names)
    except KeyError as error:
        raise ValueError(f"{path}: image {image!r}: no {error.args[0]!r}") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: image {image!r}: {error}") from None


def _numbers(name: str, values: Any, *columns: int) -> np.ndarray:
    """Return a list of numbers (N,), or of N lists of `columns` numbers, as float64; text is refused."""
    array = np.asarray(values) if len(values) else np.zeros((0, *columns))
    if array.dtype.kind not in "fiu" or array.shape != (len(array), *columns):
        form = "a list of [x1, y1, x2, y2]" if columns else "a list of numbers"
        raise ValueError(f"{name} must be {form}, got {array.dtype} of shape {array.shape}")
    return array.astype(np.float64)


def _detections(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> Detections:
    """Check detections and keep them in float64, so that an evaluation sees the file's own numbers."""
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ValueError("boxes and scores must be finite numbers")
    turned = (boxes[:, 2:] < boxes[:, :2]).any(1)
    if turned.any():
        raise ValueError(f"the box {boxes[turned][0].tolist()} ends before it begins; boxes are [x1, y1, x2, y2]")
    return Detections(torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(labels))


def _coco(path: Path, results: list[Any], target: Target) -> dict[str, _Gathered]:
    categories = _beside(path) or target.categories or dict(enumerate(target.classes, 1))
    gathered: dict[str, _Gathered] = {}
    for i, result in enumerate(results):
        try:
            x, y, width, height, score = _numbers("bbox and score", [*result["bbox"], result["score"]]).tolist()
            number, category = str(result["image_id"]), int(result["category_id"])
            image = str(result.get("file_name") or (target.numbers or {}).get(number, number))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            hint = "; without scores it may be ground truth" if isinstance(error, KeyError) and "score" in error.args else ""
            raise ValueError(f"{path}: result {i} is malformed ({error!r}){hint}") from None
        if category not in categories:
            known = f"{min(categories)} to {max(categories)}"
            raise ValueError(f"{path}: result {i}: category_id must be {known}, got {category}; {REMEDY}")
        one = gathered.setdefault(image, _Gathered([], [], []))
        one.boxes.append([x, y, x + width, y + height])
        one.scores.append(score)
        one.names.append(categories[category])
    return gathered


def _beside(path: Path) -> dict[int, str] | None:
    """Return the categories of the ground truth that was exported with these results, None where there is none."""
    truth = path.with_name("annotations.json")
    return read_categories(str(truth)) if truth != path and truth.is_file() and is_coco(load_json(truth)) else None


def _folder(path: Path, target: Target) -> dict[str, _Gathered]:
    """Return the devkit's or YOLO's text files of a folder, or its detections.json."""
    files = sorted(one for one in path.glob("*.txt") if not one.name.startswith("."))
    devkit = [one for one in files if DEVKIT.fullmatch(one.name)]
    if devkit:
        return _devkit(devkit)
    if (path / "detections.json").is_file():
        data = load_json(path / "detections.json")
        if isinstance(data, list):
            return _coco(path / "detections.json", data, target)
        if isinstance(data, Mapping):
            return {image: _entry(path / "detections.json", image, entry) for image, entry in data.items()}
    if not files and (path / "labels").is_dir():  # of `yolo predict save_txt`
        return _folder(path / "labels", target)
    if not files:
        raise ValueError(f"{path}: holds no detections: no comp4_det_test_CLASS.txt, no IMAGE.txt of YOLO, no detections.json")
    return _yolo(files, target)


def _devkit(files: Iterable[Path]) -> dict[str, _Gathered]:
    """Read rows `image score xmin ymin xmax ymax` of one file per class, pixels from 1; an image's id may contain blanks."""
    gathered: dict[str, _Gathered] = {}
    for path in files:
        match = DEVKIT.fullmatch(path.name)
        assert match is not None
        for number, line in enumerate(read_text(path).splitlines(), 1):
            if not line.strip():
                continue
            try:
                image, *values = line.strip().rsplit(None, 5)
                score, xmin, ymin, xmax, ymax = map(float, values)
            except ValueError:
                raise ValueError(
                    f"{path}: line {number} should be `image score xmin ymin xmax ymax`, got {line.strip()[:80]!r}"
                ) from None
            one = gathered.setdefault(image, _Gathered([], [], []))
            one.boxes.append([xmin - 1, ymin - 1, xmax, ymax])
            one.scores.append(score)
            one.names.append(unquote(match[1]))
    return gathered


def _yolo(files: Sequence[Path], target: Target) -> dict[str, _Gathered]:
    """Read rows `class x y width height score` of one file per image, normalised by picture size; classes count from 0."""
    categories = target.categories or dict(enumerate(target.classes))
    matched = match_ids([path.stem for path in files], target.images, target.numbers)
    gathered: dict[str, _Gathered] = {}
    for path in files:
        image, one = matched[path.stem], _Gathered([], [], [])
        size = (target.sizes or {}).get(image or "")
        if image is not None and size is None:
            raise ValueError(f"{path}: YOLO's boxes are normalised, and the size of {image!r} is not known")
        for row in read_rows(path):
            if len(row) != 6:
                raise ValueError(
                    f"{path}: a row of {len(row)} numbers; detections are `class x y width height score` (save_conf=True)"
                )
            if row[0] not in categories:
                raise ValueError(f"{path}: the class {row[0]:g} is none of {len(categories)}, counted from 0; {REMEDY}")
            one.boxes.append(corners(path, row[1:5], size or (1, 1)))
            one.scores.append(row[5])
            one.names.append(categories[int(row[0])])
        gathered[path.stem] = one
    return gathered


def read_categories(text: str) -> dict[int, str]:
    """Return a file's classes by number: COCO's JSON with categories, {number: name}, a list of names, or a data.yaml.

    Names in a list or a data.yaml count from 0. Raises ValueError, naming the file, for anything else.
    """
    path = Path(text)
    if path.suffix.lower() in (".yaml", ".yml"):
        return dict(enumerate(names_of(path, load_yaml(path))))
    if path.suffix.lower() == ".txt":
        return dict(enumerate(line.strip() for line in read_text(path).splitlines() if line.strip()))
    content = load_json(path)
    content = content["categories"] if isinstance(content, Mapping) and "categories" in content else content
    try:
        if isinstance(content, Mapping):
            return {int(number): str(name) for number, name in content.items()}
        if content and isinstance(content[0], str):
            return dict(enumerate(map(str, content)))
        return {int(one["id"]): str(one["name"]) for one in content}
    except (KeyError, TypeError, ValueError, IndexError):
        raise ValueError(f"{path}: expected categories [{{id, name}}], {{number: name}}, or a list of names") from None


@dataclass(frozen=True)
class Fit:
    """The number of objects, of those with a box on them (IoU at least 0.5), and of those with a box of the right class."""

    objects: int
    boxes: int
    classes: int

    @property
    def odd(self) -> bool:
        """Whether boxes fit many objects but hardly ever with the right class: the labels seem to be numbered differently."""
        return self.boxes >= max(2, self.objects / 4) and self.classes <= self.boxes / 10


def fit(detections: Mapping[str, Detections], truth: Mapping[str, Objects]) -> Fit:
    """Return how well boxes and classes fit the objects that are not difficult."""
    objects = boxes = classes = 0
    for image, one in truth.items():
        counting = np.flatnonzero(~one.difficult)
        objects += len(counting)
        in_image = detections.get(image)
        if in_image is None or not len(in_image.scores):
            continue
        boxes_found, labels = np.asarray(in_image.boxes, np.float64), np.asarray(in_image.labels)
        for place in counting:
            near = paired_iou(boxes_found, np.broadcast_to(one.boxes[place], boxes_found.shape)) >= 0.5
            boxes += bool(near.any())
            classes += bool((near & (labels == one.labels[place])).any())
    return Fit(objects, boxes, classes)


def misnumbered(detections: Mapping[str, Detections], truth: Mapping[str, Objects]) -> str | None:
    """Return how a detector's labels seem to be numbered, if its boxes fit the objects but hardly ever with the right class."""
    fitting = fit(detections, truth)
    if not fitting.odd:
        return None
    reason = f"boxes fit {fitting.boxes} of {fitting.objects} objects, but only {fitting.classes} with the right class"
    shifted = {image: one._replace(labels=one.labels - 1) for image, one in detections.items()}
    if fit(shifted, truth).classes > fitting.boxes / 2:
        return f"{reason}: its labels seem to count the background as 0; subtract 1 from them"
    return f"{reason}: its labels seem to index other classes; name them in its attribute `classes`"


def to_json(detections: Mapping[str, Detections], classes: Sequence[str] = VOC_CLASSES) -> dict[str, dict[str, Any]]:
    """Return detections in the form that `read_detections` reads."""
    return {
        image: {
            "boxes": np.asarray(in_image.boxes, np.float64).tolist(),
            "scores": np.asarray(in_image.scores, np.float64).tolist(),
            "labels": [classes[label] for label in np.asarray(in_image.labels).tolist()],
        }
        for image, in_image in detections.items()
    }


def devkit_file(name: str) -> str:
    """Return the name of the devkit's file of a class; characters that file names cannot contain become %XX, as in URLs."""
    return f"comp4_det_test_{UNSAFE.sub(lambda match: f'%{ord(match[0]):02X}', name)}.txt"


def to_devkit(detections: Mapping[str, Detections], classes: Sequence[str] = VOC_CLASSES) -> dict[str, str]:
    """Return the devkit's result files by class: `image score xmin ymin xmax ymax`, pixels counted from 1."""
    lines: dict[str, list[str]] = {name: [] for name in classes}
    for image, in_image in detections.items():
        boxes = (np.asarray(in_image.boxes, np.float64) + [1, 1, 0, 0]).tolist()
        for box, score, label in zip(boxes, in_image.scores.tolist(), in_image.labels.tolist(), strict=True):
            lines[classes[label]].append(f"{image} {score!r} " + " ".join(repr(value) for value in box))
    return {name: "".join(f"{line}\n" for line in rows) for name, rows in lines.items()}
