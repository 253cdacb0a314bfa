"""A finished run, and the rows of one of its variants as arrays, checked as they are read.

One variant is read at a time, and of it only the columns that are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from vocbench.benchmarks.classes import labelled
from vocbench.benchmarks.sample import open_data
from vocbench.benchmarks.settings import RunSettings
from vocbench.benchmarks.storage.checks import check_keys, check_names, check_rows, decode
from vocbench.benchmarks.storage.records import RunRecord, T
from vocbench.benchmarks.storage.run_folder import RunFolder
from vocbench.benchmarks.storage.store import Store
from vocbench.benchmarks.variants import is_clean
from vocbench.detection.columns import DetectionColumns, ObjectColumns, places, starts
from vocbench.detection.datasets.contract import Dataset
from vocbench.detection.detections import VOC_CLASSES

PREDICTIONS = ("image", "draw", "boxes", "scores", "labels")


@dataclass(frozen=True)
class Finished:
    """A run as its folder holds it."""

    folder: Path
    record: RunRecord
    store: Store
    parts: dict[int, str]  # the intact ones of the store
    truth: ObjectColumns  # by image id
    variants: list[str]
    detectors: list[str]
    failed: list[str]  # images on which a restorer failed, left out of every variant alike
    classes: tuple[str, ...] = VOC_CLASSES  # that labels index

    def truth_of(self, detector: str) -> ObjectColumns:
        """Return the objects of the classes that the detector knows, by image id."""
        lacking = self.record.lacking.get(detector, [])
        return self.truth.without([self.classes.index(name) for name in lacking])

    @property
    def settings(self) -> RunSettings:
        """Return the settings that the run was begun with."""
        return self.record.settings

    def tables(self, columns: Sequence[str], variant: str, detector: str) -> Iterator[Any]:
        """Yield columns of one variant and detector as arrow tables, in the order of the split, without failed images."""
        import pyarrow as pa
        import pyarrow.compute as pc

        failed = pa.array(self.failed, pa.string())
        for table in self.store.tables(
            list(dict.fromkeys([*columns, "image"])), self.parts, {"variant": variant, "detector": detector}
        ):
            kept = table.filter(pc.invert(pc.is_in(table["image"], failed))) if self.failed else table
            yield kept.select(list(columns))


@dataclass(frozen=True)
class Scanned:
    """The content of a store: the images it holds, those on which a restorer failed, its variants and its detectors."""

    seen: np.ndarray  # (images,) bool
    failed: list[str]
    variants: list[str]
    detectors: list[str]


def scan(store: Store, parts: dict[int, str], index: Mapping[str, int]) -> Scanned:
    """Scan all rows for their images, variants and detectors; `index` has the place of each of the run's images."""
    seen = np.zeros(len(index), bool)
    failed: set[str] = set()
    variants: dict[str, None] = {}
    detectors: dict[str, None] = {}
    for table in store.tables(("image", "variant", "detector", "error"), parts):
        images = table["image"].unique().to_pylist()
        if strange := [image for image in images if image not in index]:
            raise ValueError(f"{store.place}: holds predictions of {strange[0]!r}, which is not among the run's photos")
        seen[[index[image] for image in images]] = True
        failed.update(table.filter(table["error"].is_valid())["image"].to_pylist())
        variants |= dict.fromkeys(table["variant"].unique().to_pylist())
        detectors |= dict.fromkeys(table["detector"].unique().to_pylist())
    return Scanned(seen, sorted(failed), list(variants), list(detectors))


def load_run(folder: str | Path) -> Finished:
    """Return the run in `folder`; FileNotFoundError if there is none, ValueError if it is not finished."""
    folder = Path(folder)
    record = RunFolder(folder).read_record()
    settings = record.settings
    data = open_data(settings.data, settings.split, settings.upright)
    data = labelled(data, settings.classes, VOC_CLASSES if record.classes is None else record.classes)
    ids = settings.choose(data.ids)
    store = RunFolder(folder).open_store(record)
    parts = store.parts()
    scanned = scan(store, parts, places(ids))
    check_names(store.place, scanned.variants, scanned.detectors, settings)
    missing = int((~scanned.seen).sum())
    if missing:
        raise ValueError(f"{folder}: {missing} of {len(ids)} photos are not computed yet; continue with `resume=True`")
    truth = ObjectColumns.collect((image, data.objects(image)) for image in _unchanged(folder, data, ids))
    return Finished(folder, record, store, parts, truth, scanned.variants, scanned.detectors, scanned.failed, data.classes)


def _unchanged(folder: Path, data: Dataset, ids: Sequence[str]) -> Iterator[str]:
    """Yield the images in turn; ValueError at one whose annotation changed since the run in `folder` began."""
    path, listed = RunFolder(folder).inventory, RunFolder(folder).read_inventory()
    for image in ids:
        if image not in listed:
            raise ValueError(f"{path}: does not list {image}; the run's folder is damaged")
        if data.digest(image) != listed[image].annotation:
            raise ValueError(f"{data.source(image)}: changed since the run in {folder} was begun; restore it, or run again")
        yield image


@dataclass(frozen=True)
class VariantRows:
    """The rows of one variant and detector: detections and ground truth by `IMAGE#DRAW` key in the order of the split."""

    detections: DetectionColumns
    truth: ObjectColumns
    images: list[str]  # of each key
    columns: dict[str, list[Any]]  # further columns as arrow arrays, a piece for each part of the store
    place: str  # the store, for messages

    def numbers(self, name: str) -> np.ndarray:
        """Return a column of floats (rows,), NaN where there is none."""
        return np.concatenate([np.zeros(0), *(column.to_numpy() for column in self.columns[name])])

    def decoded(self, name: str, kind: type[T]) -> Iterator[T | None]:
        """Yield a column of JSON, None where there is none; ValueError naming the store for a value of another kind."""
        for column in self.columns[name]:
            for text in column.to_pylist():
                yield None if text is None else decode(text, kind, name, self.place)


def predictions(run: Finished, variant: str, detector: str) -> tuple[DetectionColumns, ObjectColumns, list[str]]:
    """Return detections and ground truth by `IMAGE#DRAW` key, in the order of the split, and each key's image."""
    rows = read_rows(run, variant, detector)
    return rows.detections, rows.truth, rows.images


def read_rows(run: Finished, variant: str, detector: str, more: Sequence[str] = ()) -> VariantRows:
    """Read a variant's predictions and the columns `more`; ValueError, naming the store, for rows that no run writes."""
    ids, place = list(run.truth), run.store.place
    images: list[str] = []
    keys: list[str] = []
    counts, boxes = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    scores, labels = [np.zeros(0, np.float32)], [np.zeros(0, np.int16)]
    further: dict[str, list[Any]] = {name: [] for name in more}
    for table in run.tables((*PREDICTIONS, *more), variant, detector):
        check_rows(table, place, len(run.classes))
        named = table["image"].to_pylist()
        images += [ids[run.truth.index[image]] for image in named]  # the same strings, not a copy of each
        keys += [f"{image}#{draw}" for image, draw in zip(named, table["draw"].to_pylist(), strict=True)]
        for column, into in (("boxes", boxes), ("scores", scores), ("labels", labels)):
            into += [chunk.flatten().to_numpy() for chunk in table[column].chunks]
        counts += [chunk.value_lengths().to_numpy() for chunk in table["scores"].chunks]
        for name in more:
            further[name].append(table[name])
    draws = 1 if is_clean(variant) else run.settings.draws
    index, first = check_keys(keys, draws * (len(ids) - len(run.failed)), f"{place}: {variant}"), starts(np.concatenate(counts))
    del keys
    detections = DetectionColumns(
        index, first, np.concatenate(boxes).reshape(-1, 4), np.concatenate(scores), np.concatenate(labels)
    )
    return VariantRows(detections, run.truth_of(detector).select(images, index), images, further, place)
