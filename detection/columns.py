"""Boxes of very many images in a few arrays: tens of bytes per box, read by image id like a dict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from vocbench.detection.detections import Detections, Objects

T = TypeVar("T")


def starts(counts: np.ndarray) -> np.ndarray:
    """Return where each image's boxes begin (images + 1,), from how many it has (images,)."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def places(images: Sequence[str]) -> dict[str, int]:
    """Return the place of each image; ValueError where one comes twice."""
    index = {image: i for i, image in enumerate(images)}
    if len(index) < len(images):
        twice = next(image for i, image in enumerate(images) if index[image] != i)
        raise ValueError(f"image {twice!r} comes twice")
    return index


@dataclass(frozen=True, eq=False)
class _Columns(Mapping[str, T]):
    index: dict[str, int]  # place of each image, in their order
    first: np.ndarray  # (images + 1,) where each image's boxes begin

    def __iter__(self) -> Iterator[str]:
        return iter(self.index)

    def __len__(self) -> int:
        return len(self.index)

    def __contains__(self, image: object) -> bool:
        return image in self.index

    @property
    def image(self) -> np.ndarray:
        """Return the place of each box's image (N,)."""
        return np.repeat(np.arange(len(self.index), dtype=np.int32), np.diff(self.first))

    def _inside(self, image: str) -> slice:
        place = self.index[image]
        return slice(int(self.first[place]), int(self.first[place + 1]))

    def _chosen(self, images: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the starts of the chosen images' boxes once they are selected, and the indices of these boxes."""
        place = np.fromiter((self.index[image] for image in images), np.int64, len(images))
        counts = np.diff(self.first)[place]
        first = starts(counts)
        return first, np.repeat(self.first[place] - first[:-1], counts) + np.arange(first[-1])


@dataclass(frozen=True, eq=False)
class DetectionColumns(_Columns[Detections]):
    """Detections of many images: boxes (N, 4), scores (N,) and labels (N,), image after image."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def __getitem__(self, image: str) -> Detections:
        rows = self._inside(image)
        columns = self.boxes[rows], self.scores[rows], self.labels[rows].astype(np.int64)
        return Detections(*map(torch.from_numpy, columns))

    @classmethod
    def of(cls, detections: Mapping[str, Detections]) -> DetectionColumns:
        if isinstance(detections, cls):
            return detections
        values = list(detections.values())
        boxes = [np.asarray(one.boxes).reshape(-1, 4) for one in values]
        scores = [np.asarray(one.scores) for one in values]
        labels = [np.asarray(one.labels).astype(np.int16) for one in values]
        return cls(
            places(list(detections)),
            starts(np.array([len(one) for one in scores], np.int64)),
            np.concatenate([np.zeros((0, 4), np.float32), *boxes]),
            np.concatenate([np.zeros(0, np.float32), *scores]),
            np.concatenate([np.zeros(0, np.int16), *labels]),
        )

    def select(self, images: Sequence[str]) -> DetectionColumns:
        """Return those of the given images, in their order."""
        first, rows = self._chosen(images)
        return DetectionColumns(places(images), first, self.boxes[rows], self.scores[rows], self.labels[rows])


@dataclass(frozen=True, eq=False)
class ObjectColumns(_Columns[Objects]):
    """Objects of many images: boxes (N, 4) float64, labels (N,) and difficult (N,), image after image."""

    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray

    def __getitem__(self, image: str) -> Objects:
        rows = self._inside(image)
        return Objects(self.boxes[rows], self.labels[rows].astype(np.int64), self.difficult[rows])

    @classmethod
    def of(cls, truth: Mapping[str, Objects]) -> ObjectColumns:
        return truth if isinstance(truth, cls) else cls.collect(truth.items())

    @classmethod
    def collect(cls, truth: Iterable[tuple[str, Objects]]) -> ObjectColumns:
        """Collect images and their objects, each freed before the next is read."""
        images, counts = [], []
        boxes, labels, difficult = bytearray(), bytearray(), bytearray()
        for image, objects in truth:
            images.append(image)
            counts.append(len(objects.labels))
            boxes += np.asarray(objects.boxes, np.float64).tobytes()
            labels += np.asarray(objects.labels, np.int16).tobytes()
            difficult += np.asarray(objects.difficult, bool).tobytes()
        return cls(
            places(images),
            starts(np.array(counts, np.int64)),
            np.frombuffer(boxes, np.float64).reshape(-1, 4),
            np.frombuffer(labels, np.int16),
            np.frombuffer(difficult, bool),
        )

    def without(self, labels: Sequence[int]) -> ObjectColumns:
        """Return the same images without the objects of these labels."""
        if not labels:
            return self
        kept = ~np.isin(self.labels, labels)
        counts = np.bincount(self.image[kept], minlength=len(self.index))
        return ObjectColumns(self.index, starts(counts), self.boxes[kept], self.labels[kept], self.difficult[kept])

    def select(self, images: Sequence[str], index: dict[str, int] | None = None) -> ObjectColumns:
        """Return those of the given images, in their order; `index` has other names, as an image may come twice."""
        first, rows = self._chosen(images)
        return ObjectColumns(
            places(images) if index is None else index, first, self.boxes[rows], self.labels[rows], self.difficult[rows]
        )
