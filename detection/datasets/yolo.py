"""YOLO data sets: a `data.yaml` with splits and names, photos in `images`, and a text file of normalised boxes for each.

A row is `class x y width height`, normalised, or a class with a polygon, which becomes the box around it. A photo
without a file of labels has no objects. YOLO knows no difficult objects.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vocbench.detection.datasets.classes import listed_classes
from vocbench.detection.datasets.contract import Annotation, Dataset, make_annotation
from vocbench.detection.datasets.files import OTHER_PICTURES, PHOTO_SUFFIXES, read_text, see_photo
from vocbench.detection.datasets.ids import check_id

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class YoloSplit(Dataset):
    """One split of a YOLO data set; label files are read when asked for."""

    photos: Mapping[str, Path] | None = None
    names: tuple[str, ...] = ()

    def picture(self, image_id: str) -> Path:
        path = (self.photos or {})[image_id]
        if not path.is_file():
            raise FileNotFoundError(f"{path}: missing photo of split {self.split!r}; put it there or remove it from the list")
        return path

    def label_file(self, image_id: str) -> Path:
        """Return the path of the labels: in `labels` if the photo's path contains `images`, else beside the photo."""
        path = (self.photos or {})[image_id]
        parts = list(path.parts)
        for i in range(len(parts) - 2, -1, -1):
            if parts[i] == "images":
                parts[i] = "labels"
                return Path(*parts).with_suffix(".txt")
        return path.with_suffix(".txt")

    def annotation(self, image_id: str) -> Annotation:
        (size, turned), path = see_photo(self.photo(image_id), self.upright), self.label_file(image_id)
        rows = read_rows(path) if path.is_file() else []
        entries = [(self.class_name(path, row[0]), corners(path, row[1:], size), False) for row in rows]
        return replace(make_annotation(path, size, entries), turned=turned)

    def class_name(self, path: Path, number: float) -> str:
        """Return the name of a class by its number; ValueError, naming the file of labels, where it has none."""
        if not (number == int(number) and 0 <= number < len(self.names)):
            raise ValueError(f"{path}: the class {number:g} is none of the {len(self.names)} names, which count from 0")
        return self.names[int(number)]

    def own_classes(self) -> tuple[str, ...]:
        return listed_classes(self.names)


def read_rows(path: Path) -> list[list[float]]:
    """Return the rows of numbers of a label file; ValueError naming file and line."""
    lines = enumerate(read_text(path).splitlines(), 1)
    return [read_row(path, number, line) for number, line in lines if line.strip()]


def read_row(path: Path, number: int, line: str) -> list[float]:
    """Return the numbers of one line; ValueError naming file and line."""
    try:
        row = [float(word) for word in line.split()]
    except ValueError:
        row = []
    if len(row) < 5 or not all(map(math.isfinite, row)):
        raise ValueError(f"{path}: line {number} should be `class x y width height`, got {line.strip()[:80]!r}")
    return row


def corners(path: Path, values: list[float], size: tuple[int, int]) -> list[float]:
    """Return corners in pixels of a normalised box [x, y, width, height] around its centre, or of a polygon."""
    if len(values) == 4:
        x, y, width, height = values
        xs, ys = [x - width / 2, x + width / 2], [y - height / 2, y + height / 2]
        if width < 0 or height < 0:
            raise ValueError(f"{path}: a box of negative width or height ({width:g}, {height:g}); repair the labels")
    elif len(values) >= 6 and len(values) % 2 == 0:
        xs, ys = values[0::2], values[1::2]
    else:
        raise ValueError(f"{path}: a row of {len(values) + 1} numbers is neither a box nor a polygon; repair the labels")
    if max(map(abs, xs + ys)) > 1.5:
        raise ValueError(f"{path}: {max(map(abs, xs + ys)):g} is outside the picture; YOLO's boxes are normalised to 0..1")
    return [min(xs) * size[0], min(ys) * size[1], max(xs) * size[0], max(ys) * size[1]]


def load_yaml(path: Path) -> dict[str, Any]:
    """Return the content of a data.yaml; ValueError naming it."""
    import yaml

    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict) or "names" not in content:
        raise ValueError(f"{path}: not a YOLO data set, whose YAML gives names and the photos of train and val")
    return content


def names_of(path: Path, content: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the class names of a data.yaml, a list or a mapping from their numbers."""
    names = content["names"]
    if isinstance(names, Mapping):
        try:
            numbered = {int(number): str(name) for number, name in names.items()}
            return tuple(numbered[i] for i in range(len(numbered)))
        except (KeyError, ValueError):
            raise ValueError(f"{path}: names should be numbered from 0 without gaps, got {list(names)}") from None
    if not isinstance(names, list) or not names:
        raise ValueError(f"{path}: names should be a list of class names, got {names!r}")
    return tuple(map(str, names))


def yolo_splits(path: Path) -> list[str]:
    """Return the splits that a data.yaml gives."""
    content = load_yaml(path)
    return [split for split in SPLITS if content.get(split)]


def read_yolo(path: str | Path, split: str) -> YoloSplit:
    """Return the split of a `data.yaml`: a folder of photos, a text file that lists them, or a list of such.

    Raises FileNotFoundError for a split that is not there, and ValueError, naming the file, for what is malformed.
    """
    path = Path(path)
    content = load_yaml(path)
    given = content.get(split)
    if not given:
        raise FileNotFoundError(f"{path}: has no split {split!r}; there are {', '.join(yolo_splits(path)) or 'none'}")
    photos: list[Path] = []
    for one in given if isinstance(given, list) else [given]:
        photos += _photos(_place(path, content, str(one)), path.parent)
    if not photos:
        raise ValueError(f"{path}: a split with no images")
    stems = [photo.stem for photo in photos]
    twice = next((photo for i, photo in enumerate(photos) if photo.stem in stems[:i]), None)
    if twice is not None:
        raise ValueError(f"{twice}: another photo of split {split!r} is also called {twice.stem}; rename one")
    by_id = {check_id(photo.stem, str(photo)): photo for photo in photos}
    return YoloSplit(path.parent, path.parent.resolve().name, split, list(by_id), photos=by_id, names=names_of(path, content))


def _place(path: Path, content: Mapping[str, Any], given: str) -> Path:
    """Return the path of a split's photos; a leading `../` is tolerated, as Roboflow writes it for a file one folder deeper."""
    root = Path(str(content.get("path") or "."))
    bare = given
    while bare.startswith("../"):
        bare = bare[3:]
    tried = [path.parent / root / given, path.parent / given, path.parent / bare]
    existing = next((place for place in tried if place.exists()), None)
    if existing is None:
        raise FileNotFoundError(f"{path}: its photos are not at {tried[0]}; correct `path` or the split")
    return existing


def _photos(place: Path, base: Path) -> list[Path]:
    if place.is_dir():
        kinds = (*PHOTO_SUFFIXES, *OTHER_PICTURES)
        return sorted(one for one in place.rglob("*") if one.suffix.lower() in kinds and not one.name.startswith("."))
    lines = [line.strip() for line in read_text(place).splitlines() if line.strip()]
    return [place.parent / line if line.startswith("./") else base / line for line in lines]
