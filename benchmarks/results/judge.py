"""The results of a finished run: each variant read once and evaluated once, for results.json, the tables and the page alike.

A variant is evaluated, measured and drawn before the next is read, so only one is in memory at a time.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace
from vocbench.benchmarks.results.finished import Finished, VariantRows, read_rows
from vocbench.benchmarks.results.intervals import Counted, difference, paired, photos_of_classes, resampled
from vocbench.benchmarks.results.schema import (
    UNDEFINED,
    Comparison,
    CountedClasses,
    CountedPhotos,
    DetectorIdentity,
    Interval,
    Results,
    StageSeconds,
    VariantResults,
)
from vocbench.benchmarks.results.sentences import verdict
from vocbench.benchmarks.storage.records import SPENT, WORKED, Number
from vocbench.benchmarks.storage.run_folder import RunFolder
from vocbench.benchmarks.variants import base, is_clean, restored
from vocbench.detection.average_precision import Evaluation, evaluate

STAGES = ("degrade", "restore", "detect")
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
        for place, levels in enumerate(self.rows.decoded("levels", dict[str, float])):
            for name, value in (levels or {}).items():
                photos, values = drawn.setdefault(name, (array("q"), array("d")))
                photos.append(place)
                values.append(value)
        return {name: (np.array(photos), np.array(values)) for name, (photos, values) in drawn.items()}


class Estimate(NamedTuple):
    """A number made of several mAPs and its 95 % interval."""

    value: float | None
    ci95: Interval


@dataclass(frozen=True)
class Measured:
    """The numbers of a judged variant for results.json, before it is compared with the others."""

    map: float | None  # over the classes that count
    maps: np.ndarray | None  # (resamples,) the same in each resample, None where there are none
    entry: VariantResults
    notes: dict[str, int]  # the count of each note of the restorer, the most frequent first


def counted_classes(run: Finished, detector: str) -> Counted:
    """Return the classes that a detector's mAP is over, from the photos that no restorer failed on."""
    failed, truth = set(run.failed), run.truth_of(detector)
    chosen = truth.select([image for image in truth if image not in failed])
    return Counted.of(photos_of_classes(chosen, run.classes), run.classes)


def judge(run: Finished, variant: str, detector: str) -> Judged:
    """Read a variant and evaluate its detections under the run's protocol."""
    rows = read_rows(run, variant, detector, (*MEASURED, "note", "levels"))
    return Judged(variant, rows, evaluate(rows.detections, rows.truth, run.settings.protocol, classes=run.classes))


def measure(judged: Judged, counted: Counted, seed: int) -> Measured:
    """Return a judged variant's numbers; what compares it with others is filled in by `results`."""
    rows, evaluation = judged.rows, judged.evaluation
    means = {name: _mean(rows.numbers(name)) for name in MEASURED}
    value, maps = counted.mean(evaluation.ap), counted.means(resampled(evaluation, rows.images, seed))
    entry = VariantResults(
        map=value,
        map_ci95=counted.bounds(value, maps),
        map_all=evaluation.map,
        ap=evaluation.ap,
        psnr=means["psnr"],
        ssim=means["ssim"],
        seconds=StageSeconds(**{stage: means[f"seconds_{stage}"] for stage in STAGES}),
    )
    return Measured(value, maps, entry, _notes(rows))


def measure_all(run: Finished, detector: str) -> dict[str, Measured]:
    """Judge and measure every variant in turn."""
    counted = counted_classes(run, detector)
    return {name: measure(judge(run, name, detector), counted, run.settings.seed) for name in run.variants}


def _mean(numbers: np.ndarray) -> float | None:
    """Return the mean of the finite numbers, None if there are none."""
    numbers = numbers[np.isfinite(numbers)]
    return float(np.mean(numbers)) if len(numbers) else None


def change(one: Measured, base: Measured, counted: Counted) -> Estimate:
    """Return the mAP of a variant minus another's, with its paired interval."""
    value = difference(one.map, base.map)
    return Estimate(value, counted.bounds(value, paired(one.maps, base.maps)))


def recovered(one: Measured, made: Mapping[str, Measured], counted: Counted) -> Estimate:
    """Return the share of the lost mAP that a variant recovers, with its paired interval.

    None if nothing was lost: if the loss, or any part of its interval if it has one, is not above zero.
    """
    clean, distorted = made["clean"], made["distorted"]
    lost, gained = difference(clean.map, distorted.map), difference(one.map, distorted.map)
    losses, gains = paired(clean.maps, distorted.maps), paired(one.maps, distorted.maps)
    least = counted.bounds(lost, losses).low
    if lost is None or gained is None or (lost if least is None else least) <= 0:
        return Estimate(None, UNDEFINED)
    value = gained / lost
    if losses is None or gains is None:
        return Estimate(value, UNDEFINED)
    shares = np.divide(gains, losses, out=np.full(len(gains), np.nan), where=losses > 0)
    return Estimate(value, counted.bounds(value, shares))


def comparisons(made: Mapping[str, Measured], counted: Counted) -> list[Comparison]:
    """Compare every two restorers of a run on its distorted photos: the second's mAP minus the first's."""
    changes = {(one, two): change(made[two], made[one], counted) for one, two in combinations(restored(made), 2)}
    return [
        Comparison(first=one, second=two, delta_map=found.value, delta_map_ci95=found.ci95)
        for (one, two), found in changes.items()
    ]


def results(run: Finished, detector: str, made: Mapping[str, Measured]) -> Results:
    """Return the content of results.json for one detector from its measured variants."""
    settings, counted, skipped = run.settings, counted_classes(run, detector), set(run.failed)
    truth = run.truth_of(detector)
    photos = truth.select([image for image in truth if image not in skipped])
    content = Results(
        protocol=settings.protocol,
        iou=None if settings.protocol == "coco" else 0.5,
        dataset=CountedPhotos(
            name=run.record.dataset.name,
            split=settings.split,
            images=len(photos),
            objects=int((~photos.difficult).sum()),
            skip=settings.skip,
        ),
        recipe=settings.recipe if settings.levels is None else json.loads(settings.levels),
        seed=settings.seed,
        draws=settings.draws,
        detector=DetectorIdentity(name=detector, weights_sha256=run.record.weights_sha256.get(detector)),
        classes=CountedClasses(counted=list(counted.names), all=len(counted.photos), least_photos=counted.least),
        variants={name: _compared(name, made, counted) for name in run.variants},
        comparisons=comparisons({name: made[name] for name in run.variants}, counted),
        skipped=run.failed,
        chosen={name: made[name].notes for name in run.variants if made[name].notes},
        busy=busy(run.folder),
    )
    return replace(content, verdict=verdict(content)) if settings.as_they_are else content


def _compared(name: str, made: Mapping[str, Measured], counted: Counted) -> VariantResults:
    """Return a variant's numbers with their differences from those of clean and of distorted photos."""
    one, unknown, twin = made[name], Estimate(None, UNDEFINED), made.get("clean")
    from_distorted = change(one, made[base(made)], counted)
    from_clean = unknown if twin is None else change(one, twin, counted)
    share = unknown if twin is None or is_clean(name) else recovered(one, made, counted)
    return replace(
        one.entry,
        delta_map=from_distorted.value,
        delta_map_ci95=from_distorted.ci95,
        delta_clean=from_clean.value,
        delta_clean_ci95=from_clean.ci95,
        recovered=share.value,
        recovered_ci95=share.ci95,
    )


def _notes(rows: VariantRows) -> dict[str, int]:
    """Count how often a restorer noted the same, such as RL-Restore's sequences of tools; the most frequent first."""
    notes = (note for note in rows.decoded("note", Any) if note is not None)
    counted = Counter(note if isinstance(note, str) else json.dumps(note) for note in notes)
    return dict(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])))


def busy(folder: Path) -> dict[str, Number | None]:
    """Return the share of the run's wall time that each stage took in the main process, and the peak memory of its processes.

    `workers_read`, `workers_degrade` and `workers_measure` are the workers' times as shares of the same wall time, summed over
    the workers: 2 means that two workers did nothing else.

    `peak_memory_bytes` is the largest resident memory of any of them in any session, `peak_cuda_bytes` the same of a GPU's
    memory; None where it was not measured or not used.
    """
    spent = RunFolder(folder).read_timing()
    if spent is None:
        return {}
    shares: dict[str, Number | None] = {stage: getattr(spent, stage) / (spent.wall or 1.0) for stage in (*SPENT, *WORKED)}
    peaks = {"peak_memory_bytes": spent.peak_memory_bytes, "peak_cuda_bytes": spent.peak_cuda_bytes}
    return shares | {"wall_seconds": spent.wall} | {name: max(counts, default=None) for name, counts in peaks.items()}
