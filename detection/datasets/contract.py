"""The interface of a data set: ids, and for each its photo and its objects, labelled by the data set's own classes."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from vocbench.detection.datasets.classes import ClassIndex, class_key, own_classes
from vocbench.detection.datasets.files import check_kind
from vocbench.detection.detections import Objects

BEYOND = 0.05  # of a side: boxes that reach farther beyond the border are refused, as the annotation may be of another picture
LEAST_BEYOND = 2  # pixels

D = TypeVar("D", bound="Dataset")


class DataWarning(UserWarning):
    """An irregularity in a data set or a file of detections that is tolerated, and that its owner should know."""


@dataclass(frozen=True)
class Annotation:
    """What is known of one photo.

    size (width, height) in pixels, None if not annotated; names of the objects' classes as written; boxes (N, 4) float64
    continuous corners from 0, inside the picture; difficult (N,) bool; clipped: how many boxes were clipped at the border;
    turned: whether EXIF rotates the photo and the annotation has no size that says whether it was made after the rotation.
    """

    size: tuple[int, int] | None
    names: tuple[str, ...]
    boxes: np.ndarray
    difficult: np.ndarray
    clipped: int = 0
    turned: bool = False

    def digest(self) -> str:
        """Return the SHA-256 of its content, independent of the file format."""
        content = [self.size, self.names, self.boxes.tolist(), self.difficult.tolist()]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def make_annotation(
    whence: str | Path, size: tuple[int, int] | None, entries: Iterable[tuple[str, Sequence[float], bool]]
) -> Annotation:
    """Make an annotation of (name, [x1, y1, x2, y2] corners from 0, difficult) entries; errors name `whence`.

    Boxes slightly beyond the border are clipped to the picture; those far beyond it, or with corners in the wrong order, are
    refused.
    """
    names, boxes, flags, clipped = [], [], [], 0
    for name, corners, difficult in entries:
        if not name:
            raise ValueError(f"{whence}: an object has no class name; repair the annotation")
        box = np.asarray(corners, np.float64)
        most = np.array([np.inf, np.inf] if size is None else size, np.float64)
        room = np.maximum(LEAST_BEYOND, BEYOND * most) if size is not None else np.array([LEAST_BEYOND, LEAST_BEYOND])
        inside = np.concatenate([box[:2].clip(0, None), np.minimum(box[2:], most)])
        sound = (box[:2] <= box[2:]).all() and (inside[:2] < inside[2:]).all()
        if not np.isfinite(box).all() or not sound or (np.abs(box - inside) > np.tile(room, 2)).any():
            where = ", ".join(f"{value:g}" for value in box)
            picture = "picture" if size is None else f"{size[0]}x{size[1]} picture"
            raise ValueError(f"{whence}: the box [{where}] of a {name} is not inside the {picture}; repair the annotation")
        clipped += bool((box != inside).any())
        names.append(name)
        boxes.append(inside)
        flags.append(bool(difficult))
    return Annotation(size, tuple(names), np.array(boxes).reshape(-1, 4), np.array(flags, bool), clipped)


@dataclass(frozen=True)
class Choice:
    """The requested classes in their order, and the new names of the data set's own classes."""

    classes: tuple[str, ...]
    renamed: Mapping[str, str]


@dataclass(frozen=True)
class Dataset:
    """Photos with objects. Annotations are read when asked for; where photos lie is known without opening them.

    `upright` says that boxes count the pixels of the photo after EXIF rotation. `numbers` and `categories` are COCO's ids
    of the images and classes, if the data set has them.
    """

    folder: Path
    name: str
    split: str
    ids: list[str]
    choice: Choice | None = None
    upright: bool = False
    numbers: Mapping[str, str] | None = None  # another name of each image: its id
    categories: Mapping[int, str] | None = None

    def picture(self, image_id: str) -> Path:
        """Return where the photo lies, a picture of whatever kind; FileNotFoundError where it is missing."""
        raise NotImplementedError

    def photo(self, image_id: str) -> Path:
        """Return where the photo lies; FileNotFoundError where it is missing, ValueError where it is no JPEG or PNG."""
        return check_kind(self.picture(image_id))

    def annotation(self, image_id: str) -> Annotation:
        """Return what is annotated; ValueError, naming the file, for what cannot be read."""
        raise NotImplementedError

    def own_classes(self) -> tuple[str, ...]:
        """Return the names of all classes of the data set."""
        return own_classes([name for image in self.ids for name in self._names(image)])

    def _names(self, image_id: str) -> tuple[str, ...]:
        try:
            return self.annotation(image_id).names
        except (OSError, ValueError):
            return ()  # reading its objects raises the error

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Return the names that labels index: those chosen, or the data set's own."""
        return self.choice.classes if self.choice else self.own_classes()

    @cached_property
    def _index(self) -> ClassIndex:
        return ClassIndex(self.classes)

    def labels(self, names: Sequence[str]) -> list[int]:
        """Return the labels of annotated names, -1 for classes that are left out."""
        renamed = {class_key(old): new for old, new in self.choice.renamed.items()} if self.choice else {}
        return self._index.labels([renamed.get(class_key(name), name) for name in names])

    def objects(self, image_id: str) -> Objects:
        """Return the objects of the data set's classes; others are left out."""
        return self.labelled(self.annotation(image_id))

    def labelled(self, annotation: Annotation) -> Objects:
        """Return the objects of an annotation that are of the data set's classes."""
        labels = np.asarray(self.labels(annotation.names), np.int64)
        kept = labels >= 0
        return Objects.of(annotation.boxes[kept], labels[kept], annotation.difficult[kept])

    def source(self, image_id: str) -> Path:
        """Return the file of its annotation, or the folder of that file."""
        return self.folder

    def size(self, image_id: str) -> tuple[int, int] | None:
        """Return (width, height) in pixels as annotated, None where it is not."""
        return self.annotation(image_id).size

    def digest(self, image_id: str) -> str:
        """Return the SHA-256 of what is annotated."""
        return self.annotation(image_id).digest()


def choose_classes(data: D, classes: Sequence[str] | Mapping[str, str]) -> D:
    """Return the same photos with these classes alone, in this order; a mapping renames the data set's own (own: new).

    Raises ValueError for a class that the data set does not have.
    """
    renamed = dict(classes) if isinstance(classes, Mapping) else {}
    asked = list(renamed) if renamed else list(classes)
    own = ClassIndex(data.own_classes())
    odd = [name for name in asked if own(name) is None]
    if odd or not asked:
        there = ", ".join(own.classes) or "none"
        raise ValueError(f"{data.name} has no class {odd[0]!r}; it has {there}" if odd else f"no class chosen of {there}")
    kept = tuple(dict.fromkeys(renamed.values() if renamed else asked))
    return replace(data, choice=Choice(kept, renamed))


def read_objects(data: Dataset, ids: Sequence[str] | None = None) -> dict[str, Objects]:
    """Return the objects of all photos by id.

    Warns, with a `DataWarning` each, of clipped boxes, of objects left out, and of photos that EXIF rotates without their
    annotations saying whether boxes count pixels before or after the rotation.
    """
    objects, clipped, turned, other = {}, 0, 0, Counter[str]()
    for image in data.ids if ids is None else ids:
        annotation = data.annotation(image)
        objects[image] = data.labelled(annotation)
        clipped += annotation.clipped
        turned += annotation.turned and not data.upright
        labels = data.labels(annotation.names)
        other.update(name for name, label in zip(annotation.names, labels, strict=True) if label < 0)
    if clipped:
        warnings.warn(f"{data.name}: {counted(clipped, 'box', 'boxes')} clipped to the border of the picture", DataWarning, 2)
    if turned:
        one = turned == 1
        warnings.warn(
            f"{data.name}: EXIF rotates {counted(turned, 'photo')} whose {'annotation has' if one else 'annotations have'} "
            "no size; boxes are taken to count pixels as stored; if they count pixels after the rotation, give `upright=True`",
            DataWarning,
            stacklevel=2,
        )
    if other:
        listing = ", ".join(f"{name} ({count})" for name, count in other.most_common(8))
        warnings.warn(
            f"{data.name}: {counted(other.total(), 'object')} of other classes left out: {listing}", DataWarning, stacklevel=2
        )
    return objects


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: "1 box", "2 boxes"."""
    return f"{count} {one if count == 1 else many or one + 's'}"
