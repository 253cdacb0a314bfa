"""The images of a unit to be measured, and its rows, which wait for the results while the next unit is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor
from vocbench.benchmarks.running.clock import Clock
from vocbench.benchmarks.running.prepared import Compared, Prepared, Qualities, measure
from vocbench.benchmarks.storage.row import Row
from vocbench.pipeline.scale import shrunk

Place = tuple[int, int]  # of an image: the photo among those compared, and the image among that one's


@dataclass(frozen=True)
class Awaited:
    """Rows of a unit, and for each the place of its pending measurement, None if there is none."""

    rows: list[Row]
    places: list[Place | None]
    future: Future[Qualities] | None  # None where no row waits

    @property
    def is_measured(self) -> bool:
        """Return whether `finish` need not wait."""
        return self.future is None or self.future.done()

    def finish(self, clock: Clock) -> list[Row]:
        """Return the complete rows; waits for measurements that are not done yet."""
        if self.future is None:
            return self.rows
        measured, _ = clock.time("measure", self.future.result)
        clock.note_work(workers_measure=measured.seconds)
        return [_measured(row, place, measured) for row, place in zip(self.rows, self.places, strict=True)]


def _measured(row: Row, place: Place | None, measured: Qualities) -> Row:
    if place is None:
        return row
    decibels, similarity = measured.values[place[0]][place[1]]
    return replace(row, psnr=decibels, ssim=similarity)


@dataclass
class Gathered:
    """Rows of a unit as they come, and images to be measured, by the clean photo that they are compared with."""

    rows: list[Row] = field(default_factory=list)
    places: list[Place | None] = field(default_factory=list)
    photos: list[Compared] = field(default_factory=list)
    numbers: dict[tuple[str, torch.Size], int] = field(default_factory=dict)  # in `photos`, by id and size
    # By id, images that were given before, as detectors may share them; held, as the id of one that is gone may come again.
    found: dict[int, tuple[Tensor, Place]] = field(default_factory=dict)

    def add(self, rows: Sequence[Row]) -> None:
        """Add rows that need no measurement."""
        self.rows += rows
        self.places += [None] * len(rows)

    def add_measured(
        self, rows: Sequence[Row], items: Sequence[Prepared], images: Sequence[Tensor], detector: Callable
    ) -> None:
        """Add a row for each item, with an image to measure at the photo's own size or at the size that `detector` sees."""
        self.rows += rows
        self.places += [self._place(image, item, detector) for image, item in zip(images, items, strict=True)]

    def _place(self, image: Tensor, item: Prepared, detector: Callable) -> Place:
        if id(image) not in self.found:
            number = self.numbers.setdefault((item.image, image.shape), len(self.photos))
            if number == len(self.photos):
                self.photos.append(Compared(_clean(item, image, detector), []))
            images = self.photos[number].images
            images.append(item.array("degraded") if image is item.degraded else image.numpy())
            self.found[id(image)] = image, (number, len(images) - 1)
        return self.found[id(image)][1]

    def measured_by(self, pool: Executor) -> Awaited:
        """Start measuring the images in a pool; return the rows, which wait for the results."""
        return Awaited(self.rows, self.places, pool.submit(measure, self.photos) if self.photos else None)


def _clean(item: Prepared, image: Tensor, detector: Callable) -> np.ndarray:
    """Return a clean photo at an image's size as an array to send."""
    return item.array("clean") if item.clean.shape == image.shape else shrunk(item.clean, detector).numpy()
