"""The results of a finished run: each variant read once and evaluated once, for results.json, the tables and the page alike.

A variant is judged, measured and drawn before the next is read, so that memory is that of one.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from vocbench.benchmarks.results.finished import Finished, VariantRows, read_rows
from vocbench.benchmarks.storage.records import NUMBER, TIMING, Each, read_json
from vocbench.detection.average_precision import Evaluation, evaluate, percentiles

RESAMPLES = 1000
STAGES = ("degrade", "restore", "detect")
PEAKS = ("peak_memory_bytes", "peak_cuda_bytes")
MEASURED = ("psnr", "ssim", *(f"seconds_{stage}" for stage in STAGES))


@dataclass(frozen=True)
class Judged:
    """One variant under one detector, with the evaluation of its detections."""

    name: str
    rows: VariantRows
    evaluation: Evaluation

    def levels(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return, by degradation, the places of the photos that have it (rows,) and its level in each (rows,)."""
        drawn: dict[str, tuple[array, array]] = {}
        for place, levels in enumerate(self.rows.decoded("levels", Each(NUMBER))):
            for name, value in (levels or {}).items():
                photos, values = drawn.setdefault(name, (array("q"), array("d")))
                photos.append(place)
                values.append(value)
        return {name: (np.array(photos), np.array(values)) for name, (photos, values) in drawn.items()}


@dataclass(frozen=True)
class Measured:
    """What a judged variant gives for results.json before it is compared with the others."""

    entry: dict[str, Any]
    maps: np.ndarray | None  # (resamples,) mAP of each resample, None where there are none
    notes: dict[str, int]  # how often each note of the restorer came, the most frequent first


def judge(run: Finished, variant: str, detector: str) -> Judged:
    """Read a variant and evaluate its detections under the run's protocol."""
    rows = read_rows(run, variant, detector, (*MEASURED, "note", "levels"))
    return Judged(variant, rows, evaluate(rows.detections, rows.truth, run.settings.protocol))


def measure(judged: Judged, seed: int) -> Measured:
    """Return a judged variant's numbers; what compares it with others is filled in by `results`."""
    rows, evaluation = judged.rows, judged.evaluation
    means = {name: _mean(rows.numbers(name)) for name in MEASURED}
    maps = _resampled(evaluation, rows.images, seed)
    entry = {
        "map": evaluation.map,
        "map_ci95": _spread(maps),
        "ap": evaluation.ap,
        "delta_map": None,
        "delta_map_ci95": [None, None],
        "delta_clean": None,
        "delta_clean_ci95": [None, None],
        "recovered": None,
        "psnr": means["psnr"],
        "ssim": means["ssim"],
        "seconds": {stage: means[f"seconds_{stage}"] for stage in STAGES},
    }
    return Measured(entry, maps, _notes(rows))


def measure_all(run: Finished, detector: str) -> dict[str, Measured]:
    """Judge and measure every variant in turn."""
    return {name: measure(judge(run, name, detector), run.settings.seed) for name in run.variants}


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


def results(run: Finished, detector: str, made: Mapping[str, Measured]) -> dict[str, Any]:
    """Return the content of results.json for one detector from its measured variants."""
    settings = run.settings
    variants = {name: dict(made[name].entry) for name in run.variants}
    clean, distorted = (variants[name]["map"] for name in ("clean", "distorted"))
    for variant, entry in variants.items():
        for name, base in (("map", "distorted"), ("clean", "clean")):
            entry[f"delta_{name}"] = _difference(entry["map"], variants[base]["map"])
            entry[f"delta_{name}_ci95"] = _spread(made[variant].maps, made[base].maps)
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
            "skip": settings.skip,
        },
        "recipe": settings.recipe if settings.levels is None else json.loads(settings.levels),
        "seed": settings.seed,
        "draws": settings.draws,
        "detector": {"name": detector, "weights_sha256": run.record["weights_sha256"].get(detector)},
        "variants": variants,
        "skipped": run.failed,
        "chosen": {name: made[name].notes for name in run.variants if made[name].notes},
        "busy": busy(run.folder),
    }


def _notes(rows: VariantRows) -> dict[str, int]:
    """Count how often a restorer noted the same, such as RL-Restore's sequences of tools; the most frequent first."""
    notes = (note for note in rows.decoded("note", None) if note is not None)
    counted = Counter(note if isinstance(note, str) else json.dumps(note) for note in notes)
    return dict(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])))


def busy(folder: Path) -> dict[str, float | None]:
    """The share of the run's wall time that each stage took in the main process, and the peak memory of its processes.

    `peak_memory_bytes` is the largest resident memory of any of them in any session, `peak_cuda_bytes` the same of a GPU's
    memory; None where it was not measured or not used.
    """
    path = folder / "timing.json"
    if not path.is_file():
        return {}
    spent = read_json(path, TIMING)
    peaks = {name: max(spent.pop(name, []), default=None) for name in PEAKS}
    wall = spent.pop("wall")
    return {stage: seconds / wall for stage, seconds in spent.items()} | {"wall_seconds": wall} | peaks
