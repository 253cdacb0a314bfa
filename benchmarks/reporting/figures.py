"""The data that the charts of a report show for a judged variant.

Only what is drawn is kept for each variant: corners of curves, means by level, at most `SHOWN_DOTS` photos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from vocbench.benchmarks.results.intervals import Counted
from vocbench.benchmarks.results.judge import Judged
from vocbench.benchmarks.variants import is_clean, restores_clean
from vocbench.detection.average_precision import RECALLS, Evaluation, Matches, evaluate
from vocbench.detection.columns import DetectionColumns, ObjectColumns
from vocbench.detection.confusion import Confusion, confusion
from vocbench.detection.detections import Detections
from vocbench.detection.error_types import error_types
from vocbench.detection.object_sizes import SizeResult, by_size

BINS = 4  # of each degradation's levels
SHOWN_DOTS = 5000  # photos of a variant in one chart
STEPS = np.union1d(np.linspace(0, 1, 1001), RECALLS)  # recalls at which a curve of very many corners is kept
FEWEST = 3  # photos that have a correlation

Dots = list[tuple[float, float]]


@dataclass(frozen=True)
class Drawn:
    """The data that the report shows for one variant."""

    curves: dict[str, Dots]  # by class: corners of precision by recall
    levels: dict[str, list[float | None]]  # by degradation: mAP in each bin of its level
    errors: dict[str, float]
    dots: np.ndarray  # (photos, 2) PSNR and AP of each of the photos drawn, NaN where there is none
    photos: Mapping[str, Detections]  # of the gallery
    sizes: dict[str, SizeResult]  # by the size of objects
    confusion: Confusion | None


@dataclass(frozen=True)
class Bins:
    """The photos of one degradation in bins by level: each bin's label, mean level, and `IMAGE#DRAW` keys."""

    labels: list[str]
    means: list[float]
    keys: list[list[str]]


def draw(judged: Judged, bins: Mapping[str, Bins], gallery: Sequence[str], counted: Counted) -> Drawn:
    """Return everything shown of a variant; `gallery` has the photos whose pictures were kept, `counted` the mAP's classes."""
    detections, truth, evaluation = judged.rows.detections, judged.rows.truth, judged.evaluation
    compared, skewed = not restores_clean(judged.name), not is_clean(judged.name)
    keys, classes = [f"{image}#0" for image in gallery], list(evaluation.ap)
    return Drawn(
        {name: corners(match) for name, match in evaluation.matches.items()} if compared else {},
        by_level(detections, truth, bins, evaluation.protocol, counted) if compared else {},
        error_types(detections, truth) if compared else {},
        by_photo(judged.rows.numbers("psnr"), detections, truth, evaluation) if skewed else np.zeros((0, 2)),
        detections.select([key for key in keys if key in detections]),
        by_size(detections, truth, voc_rule(evaluation.protocol), classes) if compared else {},
        confusion(detections, truth, len(classes)) if compared else None,
    )


def voc_rule(protocol: str) -> str:
    """Return the rule for a single IoU: the protocol's own, or `voc10` for `coco`, which has several IoUs."""
    return "voc10" if protocol == "coco" else protocol


def corners(match: Matches) -> Dots:
    """Return the corners (x, y) of a curve: the last recall that reaches a precision, and that precision.

    AP under `voc07` and `voc10` is that of all points; beyond a thousand corners it may be less by a thousandth.
    """
    recall, precision = match.curve()
    hit = np.diff(recall, prepend=0.0) > 0
    recall, best = recall[hit], np.maximum.accumulate(precision[hit][::-1])[::-1]
    last = np.flatnonzero(np.diff(best, append=-1.0))
    if len(last) > len(STEPS):
        kept = np.searchsorted(recall, STEPS)
        last = np.unique(np.append(kept[kept < len(recall)], last[-1]))
    return list(zip(recall[last].tolist(), best[last].tolist(), strict=True))


def level_bins(distorted: Judged) -> dict[str, Bins]:
    """Return, by degradation, the photos in bins of its level; distorted and restored ones have one order."""
    drawn, keys = distorted.levels(), list(distorted.rows.detections)
    return {name: _binned(*drawn[name], keys) for name in sorted(drawn)}


def photo_levels(distorted: Judged, images: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the levels by degradation of the first draw of each of these images."""
    rows = distorted.rows
    wanted = {rows.detections.index[f"{image}#0"]: image for image in images if f"{image}#0" in rows.detections}
    levels: dict[str, dict[str, float]] = {image: {} for image in wanted.values()}
    for name, (places, values) in distorted.levels().items():
        for place, value in zip(places.tolist(), values.tolist(), strict=True):
            if place in wanted:
                levels[wanted[place]][name] = value
    return levels


def _binned(photos: np.ndarray, levels: np.ndarray, keys: Sequence[str]) -> Bins:
    edges = np.unique(np.quantile(levels, np.linspace(0, 1, BINS + 1)))
    labels, means, groups = [], [], []
    for low, high in pairwise(edges):
        last = high == edges[-1]
        inside = (levels >= low) & ((levels < high) | (last & (levels == high)))
        if not inside.any():
            continue  # a quantile between two levels
        labels.append(f"{low:.3g} to {high:.3g} (n={int(inside.sum())})")
        means.append(float(levels[inside].mean()))
        groups.append([keys[i] for i in photos[inside].tolist()])
    return Bins(labels, means, groups)


def by_level(
    detections: DetectionColumns, truth: ObjectColumns, bins: Mapping[str, Bins], protocol: str, counted: Counted
) -> dict[str, list[float | None]]:
    """Return the mAP of a variant in every bin of each degradation's level, over the classes that count and are in the bin.

    Clean photos have one draw, which is used for all.
    """
    values: dict[str, list[float | None]] = {}
    for name, one in bins.items():
        groups = [list(dict.fromkeys(_at_hand(key, detections) for key in keys)) for keys in one.keys]
        evaluations = (
            evaluate(detections.select(group), truth.select(group), protocol, classes=counted.classes) for group in groups
        )
        values[name] = [counted.mean(one.ap) for one in evaluations]
    return values


def _at_hand(key: str, detections: DetectionColumns) -> str:
    return key if key in detections else f"{key.rpartition('#')[0]}#0"


def by_photo(psnr: np.ndarray, detections: DetectionColumns, truth: ObjectColumns, evaluation: Evaluation) -> np.ndarray:
    """Return PSNR and AP at IoU 0.5 (photos, 2) of at most `SHOWN_DOTS` photos, evenly taken; `coco` counts as `voc10`."""
    step = max(1, -(-len(detections) // SHOWN_DOTS))
    rule = voc_rule(evaluation.protocol)
    if step > 1 or rule != evaluation.protocol:
        keys = list(detections)[::step]
        evaluation = evaluate(detections.select(keys), truth.select(keys), rule, classes=list(evaluation.ap))
    return np.stack([psnr[::step], evaluation.image_maps()], 1)


def gains(before: Drawn, after: Drawn) -> np.ndarray:
    """Return the decibels and the AP gained (photos, 2) of each photo that has both; all variants have one order."""
    pairs = after.dots - before.dots
    return pairs[np.isfinite(pairs).all(1)]


def correlation(pairs: np.ndarray) -> float | None:
    """Return Pearson's r of the two columns; None where one does not vary or there are too few."""
    if len(pairs) < FEWEST or (np.ptp(pairs, 0) == 0).any():
        return None
    return float(np.corrcoef(pairs.T)[0, 1])
