"""How the store and the evaluation scale to many photos: a synthetic run, timed step by step.

`python -m vocbench.benchmarks.experiments.scale --images 1000000` writes the store of a finished run of so many photos, without
the photos, and reports the time and peak memory of each step, which runs in a process of its own. Objects and detections are
random: about 2.5 objects and 3 detections a photo, a third of them persons, as in VOC.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from vocbench.benchmarks.memory import resident_peak
from vocbench.benchmarks.results.finished import Finished, predictions, scan
from vocbench.benchmarks.results.intervals import Counted, photos_of_classes, resampled
from vocbench.benchmarks.results.judge import measure_all, results
from vocbench.benchmarks.running.driver import together
from vocbench.benchmarks.settings import RunSettings
from vocbench.benchmarks.storage.records import Photos, RunRecord
from vocbench.benchmarks.storage.row import Row, schema
from vocbench.benchmarks.storage.store import Store
from vocbench.detection.average_precision import evaluate
from vocbench.detection.columns import ObjectColumns, places, starts
from vocbench.detection.detections import VOC_CLASSES

DETECTOR = "synthetic"
PERSON = VOC_CLASSES.index("person")
FOUND, FALSE = 0.8, 1.0  # share of objects that are detected, and false positives per photo


@dataclass(frozen=True)
class Scale:
    """A synthetic run of some size."""

    images: int
    restorers: int
    folder: Path

    @property
    def settings(self) -> RunSettings:
        names = tuple(f"restorer{i}" for i in range(self.restorers))
        return RunSettings("synthetic", "all", "voc", names, (DETECTOR,))

    @property
    def variants(self) -> list[str]:
        return ["clean", "distorted", *self.settings.restorers]

    @property
    def store(self) -> Store:
        return Store(self.folder / "store")

    @property
    def units(self) -> int:
        return -(-self.images // self.settings.unit)

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Return the first and last unit of each joined part."""
        step = together(self.settings)
        return ((first, min(first + step, self.units) - 1) for first in range(0, self.units, step))

    def names(self, first: int, last: int) -> list[str]:
        unit = self.settings.unit
        return [f"{i:09d}" for i in range(first * unit, min((last + 1) * unit, self.images))]


def _labels(random: np.random.Generator, count: int) -> np.ndarray:
    any_class = random.integers(0, len(VOC_CLASSES), count)
    return np.where(random.random(count) < 0.33, PERSON, any_class).astype(np.int16)


def _boxes(random: np.random.Generator, count: int) -> np.ndarray:
    corner = random.uniform(0, 300, (count, 2))
    return np.concatenate([corner, corner + random.uniform(20, 180, (count, 2))], 1)


def objects(first: int, images: list[str]) -> ObjectColumns:
    """Return the objects in the photos of a block, the same every time."""
    random = np.random.default_rng(first)
    counts = random.integers(1, 5, len(images))
    count = int(counts.sum())
    boxes, labels = _boxes(random, count), _labels(random, count)
    return ObjectColumns(places(images), starts(counts), boxes, labels, random.random(count) < 0.1)


def _detected(random: np.random.Generator, truth: ObjectColumns) -> tuple[np.ndarray, ...]:
    """Return the detections of a block: the image, box, score and label of each, by image."""
    kept = np.flatnonzero(random.random(len(truth.boxes)) < FOUND)
    wrong = random.integers(0, len(truth), int(len(truth) * FALSE))
    image = np.concatenate([truth.image[kept], wrong])
    boxes = np.concatenate([truth.boxes[kept] + random.normal(0, 8, (len(kept), 4)), _boxes(random, len(wrong))])
    labels = np.concatenate([truth.labels[kept], _labels(random, len(wrong))])
    scores = np.concatenate([random.beta(4, 2, len(kept)), random.beta(2, 4, len(wrong))])
    order = np.argsort(image, kind="stable")
    return image[order], boxes[order].astype(np.float32), scores[order].astype(np.float32), labels[order]


def table(scale: Scale, first: int, last: int) -> Any:
    """Return the rows of the units `first` to `last` as an arrow table."""
    import pyarrow as pa

    names, tables = scale.names(first, last), []
    truth, count = objects(first, names), len(names)
    units = first + np.arange(count) // scale.settings.unit
    for k, variant in enumerate(scale.variants):
        random = np.random.default_rng((first, k))
        image, boxes, scores, labels = _detected(random, truth)
        offsets = starts(np.bincount(image, minlength=count)).astype(np.int32)
        levels = [json.dumps({"blur": b, "noise": n, "jpeg": j}) for b, n, j in random.uniform(0, 50, (count, 3)).round(6)]
        columns = {
            "unit": pa.array(units),
            "image": pa.array(names),
            "draw": pa.array(np.zeros(count, np.int64)),
            "variant": pa.array([variant] * count),
            "detector": pa.array([DETECTOR] * count),
            "boxes": pa.ListArray.from_arrays(4 * offsets, boxes.ravel()),
            "scores": pa.ListArray.from_arrays(offsets, scores),
            "labels": pa.ListArray.from_arrays(offsets, labels),
            "levels": pa.array([None] * count if variant == "clean" else levels, pa.string()),
            "note": pa.nulls(count, pa.string()),
            "error": pa.nulls(count, pa.string()),
        }
        numbers = {name: pa.array(random.random(count)) for name in schema().names if name not in columns}
        tables.append(pa.table({name: (columns | numbers)[name] for name in schema().names}, schema()))
    return pa.concat_tables(tables)


def write(scale: Scale) -> str:
    for first, last in scale.blocks():
        scale.store.write_table(first, last, table(scale, first, last))
    paths = list(Path(scale.store.place).iterdir())
    size = [path.stat().st_size for path in paths]
    return f"{len(paths)} parts of at most {max(size) / 1e6:.1f} MB, {sum(size) / 1e6:.0f} MB"


def join(scale: Scale) -> str:
    """Join one part's worth of units, written as workers write them."""
    step = together(scale.settings)
    with tempfile.TemporaryDirectory(dir=scale.folder) as folder:
        store, rows = Store(folder), table(scale, 0, step - 1).sort_by("unit").to_pylist()
        per = len(rows) // step
        for unit in range(step):
            store.write(unit, [Row(**row) for row in rows[unit * per : (unit + 1) * per]])
        begun = time.perf_counter()
        store.join(step)
        spent = time.perf_counter() - begun
        return f"{step} parts of {scale.settings.unit} photos joined in {spent:.2f} s, {len(store.files.names())} part left"


def names(scale: Scale) -> str:
    return f"{len(scale.store.files.names())} names"


def resume(scale: Scale) -> str:
    """Do what a resumed run does with its store: read every part, check its checksum, and find the missing units."""
    sound = scale.store.parts()
    return f"{sum(unit not in sound for unit in range(scale.units))} of {scale.units} units to compute"


def _truth(scale: Scale) -> ObjectColumns:
    images: list[str] = []
    kept: dict[str, list[np.ndarray]] = {name: [] for name in ("counts", "boxes", "labels", "difficult")}
    for first, last in scale.blocks():
        block = objects(first, scale.names(first, last))
        images += block
        for name, values in kept.items():
            values.append(np.diff(block.first) if name == "counts" else getattr(block, name))
    counts, *arrays = (np.concatenate(values) for values in kept.values())
    return ObjectColumns(places(images), starts(counts), *arrays)


def load(scale: Scale) -> Finished:
    """Return the run as `load_run` gives it; its objects are drawn, not read from annotations."""
    truth, parts = _truth(scale), scale.store.parts()
    scanned = scan(scale.store, parts, truth.index)
    photos = Photos(name="synthetic", images=scale.images, sha256="")
    record = RunRecord(settings=scale.settings, dataset=photos, weights_sha256={}, execution={}, started="")
    return Finished(scale.folder, record, scale.store, parts, truth, scanned.variants, scanned.detectors, scanned.failed)


def loaded(scale: Scale) -> str:
    run = load(scale)
    return f"{len(run.truth)} images, {len(run.variants)} variants"


def average_precision(scale: Scale) -> str:
    """Return the AP of every class of one variant."""
    detections, truth, _ = predictions(load(scale), "distorted", DETECTOR)
    evaluation = evaluate(detections, truth, "voc07")
    return f"mAP {evaluation.map:.4f} of {len(detections.scores)} detections in {len(evaluation.ap)} classes"


def interval(scale: Scale) -> str:
    """Return the 95 % interval of a variant's mAP from 1,000 resamples."""
    detections, truth, images = predictions(load(scale), "distorted", DETECTOR)
    evaluation, counted = evaluate(detections, truth, "voc07"), Counted.of(photos_of_classes(truth))
    low, high = counted.bounds(counted.mean(evaluation.ap), counted.means(resampled(evaluation, images, 0)))
    return f"{low} to {high}"


def all_results(scale: Scale) -> str:
    """Return everything of results.json."""
    run = load(scale)
    content = results(run, DETECTOR, measure_all(run, DETECTOR))
    return ", ".join(f"{name} {entry.map:.4f}" for name, entry in content.variants.items())


STEPS: dict[str, Callable[[Scale], str]] = {
    "write": write,
    "join": join,
    "names": names,
    "resume": resume,
    "load": loaded,
    "ap": average_precision,
    "interval": interval,
    "results": all_results,
}


def measured(scale: Scale, step: str) -> str:
    """Run one step in a process of its own and return its seconds, its peak memory and its result."""
    given = ["--images", str(scale.images), "--restorers", str(scale.restorers), "--out", str(scale.folder), "--step", step]
    done = subprocess.run(
        [sys.executable, "-m", "vocbench.benchmarks.experiments.scale", *given], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.strip()


@click.command()
@click.option("--images", default=10_000, show_default=True, type=click.IntRange(1), help="Photos of the synthetic run.")
@click.option(
    "--restorers", default=1, show_default=True, type=click.IntRange(0), help="Variants beside `clean` and `distorted`."
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder of the store; default: a temporary one.")
@click.option(
    "--steps", default="write,join,names,resume,load,ap", show_default=True, help=f"Steps to time, of {','.join(STEPS)}."
)
@click.option("--step", hidden=True, type=click.Choice(list(STEPS)), help="This one, in this process.")
def main(images: int, restorers: int, out: Path | None, steps: str, step: str | None) -> None:
    """Time the store and the evaluation on a synthetic run."""
    with tempfile.TemporaryDirectory() as passing:
        scale = Scale(images, restorers, out or Path(passing))
        if step is None:
            for name in steps.split(","):
                click.echo(measured(scale, name))
            return
        begun = time.perf_counter()
        outcome = STEPS[step](scale)
        seconds = time.perf_counter() - begun
        click.echo(f"{step}: {seconds:.2f} s, {(resident_peak() or 0) / 2**20:.0f} MiB; {outcome}")


if __name__ == "__main__":
    main()
