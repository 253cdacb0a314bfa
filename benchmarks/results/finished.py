"""From a run's store to its results: AP per class and variant, its interval, what restoring brought back, quality, time.

One variant is read at a time, and of it only the columns that are asked for.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from vocbench.benchmarks.sample import open_data
from vocbench.benchmarks.settings import RunSettings
from vocbench.benchmarks.storage.records import INVENTORY, TIMING, Form, read_json, read_record, settings_of
from vocbench.benchmarks.storage.row import check_keys, check_names, check_rows, decode
from vocbench.benchmarks.storage.store import Store
from vocbench.benchmarks.variants import is_clean
from vocbench.detection.average_precision import Evaluation, evaluate, percentiles
from vocbench.detection.columns import DetectionColumns, ObjectColumns, places, starts
from vocbench.detection.datasets.voc import VOCSplit

RESAMPLES = 1000
STAGES = ("degrade", "restore", "detect")
PEAKS = ("peak_memory_bytes", "peak_cuda_bytes")


@dataclass(frozen=True)
class Finished:
    """A run as its folder holds it."""

    folder: Path
    record: dict[str, Any]
    store: Store
    parts: dict[int, str]  # the store's sound ones
    truth: ObjectColumns  # by image id
    variants: list[str]
    detectors: list[str]
    failed: list[str]  # images on which a restorer failed, left out of every variant alike

    @property
    def settings(self) -> RunSettings:
        return settings_of(self.record)

    def tables(self, columns: Sequence[str], variant: str, detector: str) -> Iterator[Any]:
        """Columns of one variant and detector as arrow tables, in the order of the split, without failed images."""
        import pyarrow as pa
        import pyarrow.compute as pc

        failed = pa.array(self.failed, pa.string())
        for table in self.store.tables({*columns, "image"}, self.parts, {"variant": variant, "detector": detector}):
            kept = table.filter(pc.invert(pc.is_in(table["image"], failed))) if self.failed else table
            yield kept.select(list(columns))

    def decoded(self, column: str, form: Form, variant: str, detector: str) -> Iterator[Any]:
        """A column of JSON, None where there is none; ValueError naming the store for a value that is not of the form."""
        for table in self.tables([column], variant, detector):
            for text in table[column].to_pylist():
                yield None if text is None else decode(text, form, column, self.store.place)

    def numbers(self, columns: Sequence[str], variant: str, detector: str) -> dict[str, np.ndarray]:
        """Columns of floats, NaN where there is none."""
        tables = list(self.tables(columns, variant, detector))
        return {name: np.concatenate([np.zeros(0), *(table[name].to_numpy() for table in tables)]) for name in columns}


@dataclass(frozen=True)
class Scanned:
    """What a store holds: which of a run's images, on which a restorer failed, and variants and detectors in their order."""

    seen: np.ndarray  # (images,) bool
    failed: list[str]
    variants: list[str]
    detectors: list[str]


def scan(store: Store, parts: dict[int, str], index: Mapping[str, int]) -> Scanned:
    """Look through all rows for what they are about; `index` has the place of each of the run's images."""
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
    """The run in `folder`; FileNotFoundError or ValueError where there is none or it is not finished."""
    folder = Path(folder)
    if not (folder / "run.json").is_file():
        raise FileNotFoundError(f"{folder}: holds no run (no run.json); `vocbench runs` lists runs")
    record = read_record(folder / "run.json")
    settings = settings_of(record)
    data = open_data(settings.data, settings.split)
    ids = data.ids[: settings.limit]
    store = Store(record.get("store") or folder / "store")
    parts = store.parts()
    found = scan(store, parts, places(ids))
    check_names(store.place, found.variants, found.detectors, settings)
    missing = int((~found.seen).sum())
    if missing:
        raise ValueError(f"{folder}: {missing} of {len(ids)} photos are not computed yet; go on with `resume=True`")
    truth = ObjectColumns.collect((image, data.objects(image)) for image in _unchanged(folder, data, ids))
    return Finished(folder, record, store, parts, truth, found.variants, found.detectors, found.failed)


def _unchanged(folder: Path, data: VOCSplit, ids: Sequence[str]) -> Iterator[str]:
    """The images in turn; ValueError at one whose annotation is not the one that the run in `folder` began with."""
    path = folder / "inventory.json"
    listed = read_json(path, INVENTORY) if path.is_file() else {}
    for image in ids:
        if image not in listed:
            raise ValueError(f"{path}: does not list {image}; the run's folder is damaged")
        if data.digest(image) != listed[image][1]:
            raise ValueError(f"{data.source(image)}: changed since the run in {folder} was begun; restore it, or run again")
        yield image


def predictions(run: Finished, variant: str, detector: str) -> tuple[DetectionColumns, ObjectColumns, list[str]]:
    """Detections and ground truth by `IMAGE#DRAW` key, in the order of the split, and each key's image.

    ValueError, naming the store, where its rows are not what a run writes.
    """
    ids, place = list(run.truth), run.store.place
    images: list[str] = []
    keys: list[str] = []
    counts, boxes = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    scores, labels = [np.zeros(0, np.float32)], [np.zeros(0, np.int16)]
    for table in run.tables(("image", "draw", "boxes", "scores", "labels"), variant, detector):
        check_rows(table, place)
        named = table["image"].to_pylist()
        images += [ids[run.truth.index[image]] for image in named]  # the same strings, not a copy of each
        keys += [f"{image}#{draw}" for image, draw in zip(named, table["draw"].to_pylist(), strict=True)]
        for column, into in (("boxes", boxes), ("scores", scores), ("labels", labels)):
            into += [chunk.flatten().to_numpy() for chunk in table[column].chunks]
        counts += [chunk.value_lengths().to_numpy() for chunk in table["scores"].chunks]
    draws = 1 if is_clean(variant) else run.settings.draws
    index, first = check_keys(keys, draws * (len(ids) - len(run.failed)), f"{place}: {variant}"), starts(np.concatenate(counts))
    del keys
    found = DetectionColumns(index, first, np.concatenate(boxes).reshape(-1, 4), np.concatenate(scores), np.concatenate(labels))
    return found, run.truth.select(images, index), images


def _mean(numbers: np.ndarray) -> float | None:
    """Mean of the finite numbers, None of nothing."""
    numbers = numbers[np.isfinite(numbers)]
    return float(np.mean(numbers)) if len(numbers) else None


def _resampled(evaluation: Evaluation, images: list[str], seed: int) -> np.ndarray | None:
    """mAP in each of the bootstrap's resamples, which are the same photos for every variant."""
    if evaluation.protocol == "coco" or evaluation.map is None:
        return None  # pycocotools gives no matches to draw again
    return evaluation.bootstrap_maps(RESAMPLES, seed, images)


def _spread(maps: np.ndarray | None, base: np.ndarray | None = None) -> list[float | None]:
    """The 95 % interval of resampled mAPs, or of their differences from those of `base`, photo by photo the same."""
    if maps is None:
        return [None, None]
    return list(percentiles(maps if base is None else maps - base))


def _difference(value: float | None, base: float | None) -> float | None:
    return None if value is None or base is None else value - base


def _recovered(value: float | None, clean: float | None, distorted: float | None) -> float | None:
    lost, gained = _difference(clean, distorted), _difference(value, distorted)
    return None if gained is None or not lost else gained / lost


def _entry(run: Finished, variant: str, detector: str) -> tuple[dict[str, Any], np.ndarray | None]:
    """What results.json tells of a variant, and its resampled mAPs; what compares it with others is filled in later."""
    found, truth, images = predictions(run, variant, detector)
    evaluation = evaluate(found, truth, run.settings.protocol)
    means = run.numbers(("psnr", "ssim", *(f"seconds_{stage}" for stage in STAGES)), variant, detector)
    maps = _resampled(evaluation, images, run.settings.seed)
    entry = {
        "map": evaluation.map,
        "map_ci95": _spread(maps),
        "ap": evaluation.ap,
        "delta_map": None,
        "delta_map_ci95": [None, None],
        "delta_clean": None,
        "delta_clean_ci95": [None, None],
        "recovered": None,
        "psnr": _mean(means["psnr"]),
        "ssim": _mean(means["ssim"]),
        "seconds": {stage: _mean(means[f"seconds_{stage}"]) for stage in STAGES},
    }
    return entry, maps


def results(run: Finished, detector: str) -> dict[str, Any]:
    """The content of results.json for one detector."""
    settings = run.settings
    made = {name: _entry(run, name, detector) for name in run.variants}
    variants = {name: entry for name, (entry, _) in made.items()}
    clean, distorted = (variants[name]["map"] for name in ("clean", "distorted"))
    for entry, maps in made.values():
        for name, base in (("map", "distorted"), ("clean", "clean")):
            entry[f"delta_{name}"] = _difference(entry["map"], variants[base]["map"])
            entry[f"delta_{name}_ci95"] = _spread(maps, made[base][1])
        entry["recovered"] = _recovered(entry["map"], clean, distorted)
    skipped = set(run.failed)
    counted = run.truth.select([image for image in run.truth if image not in skipped])
    return {
        "protocol": settings.protocol,
        "iou": None if settings.protocol == "coco" else 0.5,
        "dataset": {
            "name": run.record["dataset"]["name"],
            "split": settings.split,
            "images": len(counted),
            "objects": int((~counted.difficult).sum()),
        },
        "recipe": settings.recipe if settings.levels is None else json.loads(settings.levels),
        "seed": settings.seed,
        "draws": settings.draws,
        "detector": {"name": detector, "weights_sha256": run.record["weights_sha256"].get(detector)},
        "variants": variants,
        "skipped": run.failed,
        "chosen": _notes(run, detector),
        "busy": busy(run.folder),
    }


def _notes(run: Finished, detector: str) -> dict[str, dict[str, int]]:
    """How often a restorer told the same of itself, such as RL-Restore's sequences of tools; the most frequent first."""
    told: dict[str, dict[str, int]] = {}
    for variant in run.variants:
        notes = (note for note in run.decoded("note", None, variant, detector) if note is not None)
        counted = Counter(note if isinstance(note, str) else json.dumps(note) for note in notes)
        if counted:
            told[variant] = dict(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])))
    return told


def busy(folder: Path) -> dict[str, float | None]:
    """The share of the run's wall time that each stage took in the main process, and the peak memory of its processes.

    `peak_memory_bytes` is the largest resident memory of any of them in any sitting, `peak_cuda_bytes` the same of a GPU's
    memory; None where it was not measured or not used.
    """
    path = folder / "timing.json"
    if not path.is_file():
        return {}
    spent = read_json(path, TIMING)
    peaks = {name: max(spent.pop(name, []), default=None) for name in PEAKS}
    wall = spent.pop("wall")
    return {stage: seconds / wall for stage, seconds in spent.items()} | {"wall_seconds": wall} | peaks
