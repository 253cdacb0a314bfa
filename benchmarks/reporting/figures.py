"""What the charts of a report show of a judged variant.

Of each variant only what is drawn is kept: corners of curves, means by level, at most `SHOWN_DOTS` photos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from vocbench.benchmarks.results.judge import Judged
from vocbench.benchmarks.variants import is_clean, restores_clean
from vocbench.detection.average_precision import RECALLS, Evaluation, Matches, evaluate
from vocbench.detection.columns import DetectionColumns, ObjectColumns
from vocbench.detection.detections import Detections
from vocbench.detection.error_types import error_types

BINS = 4  # of each degradation's levels
SHOWN_DOTS = 5000  # photos of a variant in one chart
STEPS = np.union1d(np.linspace(0, 1, 1001), RECALLS)  # recalls at which a curve of very many corners is kept
FEWEST = 3  # photos that have a correlation

Dots = list[tuple[float, float]]


@dataclass(frozen=True)
class Drawn:
    """What the report shows of one variant."""

    curves: dict[str, Dots]  # by class: corners of precision by recall
    levels: dict[str, list[float | None]]  # by degradation: mAP in each bin of its level
    errors: dict[str, float]
    dots: np.ndarray  # (photos, 2) PSNR and AP of each of the photos drawn, NaN where there is none
    photos: Mapping[str, Detections]  # of the gallery


@dataclass(frozen=True)
class Bins:
    """The photos of one degradation by its level: labels of the bins, and the places of the photos in each."""

    labels: list[str]
    photos: list[np.ndarray]


def draw(judged: Judged, bins: Mapping[str, Bins], gallery: Sequence[str]) -> Drawn:
    """Return everything shown of a variant; `gallery` has the photos whose pictures were kept."""
    found, truth, evaluation = judged.rows.detections, judged.rows.truth, judged.evaluation
    compared, skewed = not restores_clean(judged.name), not is_clean(judged.name)
    keys = [f"{image}#0" for image in gallery]
    return Drawn(
        {name: corners(match) for name, match in evaluation.matches.items()} if compared else {},
        by_level(found, truth, bins, evaluation.protocol) if skewed else {},
        error_types(found, truth) if compared else {},
        by_photo(judged.rows.numbers("psnr"), found, truth, evaluation) if skewed else np.zeros((0, 2)),
        found.select([key for key in keys if key in found]),
    )


def corners(match: Matches) -> Dots:
    """Where the precision that is reached at a recall or above falls: the last recall that has it, and it.

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
    """By degradation, in the order of names, the photos in bins of its level; distorted and restored ones have one order."""
    drawn = distorted.levels()
    return {name: _binned(*drawn[name]) for name in sorted(drawn)}


def _binned(photos: np.ndarray, levels: np.ndarray) -> Bins:
    edges = np.unique(np.quantile(levels, np.linspace(0, 1, BINS + 1)))
    labels, groups = [], []
    for low, high in pairwise(edges):
        last = high == edges[-1]
        inside = (levels >= low) & ((levels < high) | (last & (levels == high)))
        labels.append(f"{low:.3g} to {high:.3g} (n={int(inside.sum())})")
        groups.append(photos[inside])
    return Bins(labels, groups)


def by_level(
    found: DetectionColumns, truth: ObjectColumns, bins: Mapping[str, Bins], protocol: str
) -> dict[str, list[float | None]]:
    """mAP of a variant in every bin of each degradation's level."""
    keys = list(found)
    values: dict[str, list[float | None]] = {}
    for name, one in bins.items():
        groups = [[keys[photo] for photo in photos.tolist()] for photos in one.photos]
        values[name] = [evaluate(found.select(group), truth.select(group), protocol).map for group in groups]
    return values


def by_photo(psnr: np.ndarray, found: DetectionColumns, truth: ObjectColumns, evaluation: Evaluation) -> np.ndarray:
    """PSNR and AP at overlap 0.5 (photos, 2) of at most `SHOWN_DOTS` photos, evenly taken; `coco` is judged as `voc10`."""
    step = max(1, -(-len(found) // SHOWN_DOTS))
    rule = "voc10" if evaluation.protocol == "coco" else evaluation.protocol
    if step > 1 or rule != evaluation.protocol:
        keys = list(found)[::step]
        evaluation = evaluate(found.select(keys), truth.select(keys), rule)
    return np.stack([psnr[::step], evaluation.image_maps()], 1)


def gains(before: Drawn, after: Drawn) -> np.ndarray:
    """Of each photo that has both (photos, 2): the decibels and the AP gained. Photos have one order in all variants."""
    pairs = after.dots - before.dots
    return pairs[np.isfinite(pairs).all(1)]


def correlation(pairs: np.ndarray) -> float | None:
    """Pearson's r of the two columns; None where one does not vary or there are too few."""
    if len(pairs) < FEWEST or (np.ptp(pairs, 0) == 0).any():
        return None
    return float(np.corrcoef(pairs.T)[0, 1])
