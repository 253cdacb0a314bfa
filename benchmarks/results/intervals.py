"""The 95 % intervals of all printed results: a bootstrap over photos, widened if they are few.

Photos are resampled with replacement, the same ones for every variant, so that differences are paired (Efron, 1979). An
interval is a percentile interval with two corrections: its levels are those of Student's t with the degrees of freedom of few
photos (expanded percentiles; Hesterberg, 2015, arXiv:1411.5279, section 5.3), and it is shifted towards the estimate by half
the distance from its median, as drawing a photo twice raises AP. It estimates the average over sets of as many photos, for the
classes that count here. Its coverage: `python -m vocbench.benchmarks.experiments.coverage`, docs/intervals.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from vocbench.benchmarks.results.schema import UNDEFINED, Interval
from vocbench.detection.average_precision import Evaluation, resample
from vocbench.detection.columns import ObjectColumns
from vocbench.detection.detections import VOC_CLASSES

RESAMPLES = 1000
LEAST = 5  # photos with objects of a class that counts in the mAP; a class with fewer is missing from many resamples
TELLING = 10  # photos below which a single class has no interval: no method is known to have the right coverage


@dataclass(frozen=True)
class Counted:
    """The classes that the mAP of a run is over."""

    photos: dict[str, int]  # with objects of each class that has any
    names: tuple[str, ...]  # of the classes that count: those in at least `least` photos
    least: int  # `LEAST`, or 1 where no class has as many and all count
    classes: tuple[str, ...] = VOC_CLASSES  # that labels index

    @classmethod
    def of(cls, photos: Mapping[str, int], classes: tuple[str, ...] = VOC_CLASSES) -> Counted:
        """Choose the classes from the number of photos that each is in."""
        there = {name: count for name, count in photos.items() if count}
        least = LEAST if any(count >= LEAST for count in there.values()) else 1
        return cls(there, tuple(name for name, count in there.items() if count >= least), least, classes)

    def mean(self, ap: Mapping[str, float | None]) -> float | None:
        """Return the mean AP of the classes that count, None where none does."""
        values = [value for name in self.names if (value := ap[name]) is not None]
        return float(np.mean(values)) if values else None

    def means(self, drawn: np.ndarray | None) -> np.ndarray | None:
        """Return the mAP (R,) of resampled AP (R, classes); NaN in a resample without objects of classes that count.

        None without resamples, or if each class is in so few photos that no interval would have the right coverage.
        """
        if drawn is None or not self.names or self.least < LEAST:
            return None
        chosen = drawn[:, [self.classes.index(name) for name in self.names]]
        count = (~np.isnan(chosen)).sum(1)
        return np.where(count > 0, np.nansum(chosen, 1) / np.maximum(count, 1), np.nan)

    def bounds(self, value: float | None, drawn: np.ndarray | None) -> Interval:
        """Return the interval of a value computed from the mAP over the classes that count, from its resamples (R,)."""
        return bounds(value, drawn, [self.photos[name] for name in self.names])


def photos_of_classes(truth: ObjectColumns, classes: Sequence[str] = VOC_CLASSES) -> dict[str, int]:
    """Count the photos with objects that are not `difficult`, by class."""
    counts = {}
    for label, name in enumerate(classes):
        counts[name] = len(np.unique(truth.image[(truth.labels == label) & ~truth.difficult]))
    return counts


def resampled(evaluation: Evaluation, images: Sequence[str], seed: int) -> np.ndarray | None:
    """Return the AP (R, classes) of resampled photos; all keys of one of `images` are drawn together. None under `coco`.

    pycocotools has no matches to resample.
    """
    if evaluation.protocol == "coco" or evaluation.map is None:
        return None
    return np.concatenate([evaluation.resampled_class_ap(weights) for weights in resample(images, RESAMPLES, seed)])


def bounds(value: float | None, drawn: np.ndarray | None, photos: Sequence[int]) -> Interval:
    """Return the 95 % interval of a number from its resamples (R,); `photos` counts those of each class that it is made of.

    None where there is no number or too few resamples have one.
    """
    finite = np.zeros(0) if value is None or drawn is None else drawn[np.isfinite(drawn)]
    if value is None or len(finite) < RESAMPLES // 2 or max(photos, default=0) < 2:
        return UNDEFINED
    tail = _tail(np.asarray(photos, np.float64))
    low, middle, high = np.quantile(finite, [tail, 0.5, 1 - tail])
    moved = (value - middle) / 2
    least, most = min(finite.min(), value), max(finite.max(), value)  # an AP beyond 1 was never drawn
    return Interval(float(max(low + moved, least)), float(min(high + moved, most)))


def class_bounds(value: float | None, drawn: np.ndarray | None, photos: int) -> Interval:
    """Return the interval of a number of one class from its resamples (R,); None where it is in fewer than `TELLING` photos."""
    return bounds(value, drawn, [photos]) if photos >= TELLING else UNDEFINED


def _tail(photos: np.ndarray) -> float:
    """Return the share of resamples outside at either end: the normal's at the 97.5 % quantile of Student's t.

    Degrees of freedom of a mean over classes by Welch and Satterthwaite, the variance of a class being 1 / photos.
    """
    from scipy.stats import norm, t

    variance = 1 / photos[photos > 1]
    freedom = variance.sum() ** 2 / (variance**3 / (1 - variance)).sum()
    return float(norm.cdf(t.ppf(0.025, freedom)))


def difference(value: float | None, base: float | None) -> float | None:
    """Return `value` minus `base`, None where one is missing."""
    return None if value is None or base is None else value - base


def paired(one: np.ndarray | None, base: np.ndarray | None) -> np.ndarray | None:
    """Return `one` minus `base`, resample by resample."""
    return None if one is None or base is None else one - base
