"""Compare two finished runs: the differences of their AP, and whether they are more than chance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vocbench.benchmarks.results.finished import Finished, load_run, predictions
from vocbench.benchmarks.results.intervals import class_bounds, difference, paired, resampled
from vocbench.benchmarks.results.judge import counted_classes
from vocbench.detection.average_precision import Evaluation, evaluate


@dataclass(frozen=True)
class Difference:
    """B minus A, with the 95 % interval of a bootstrap that draws the same images for both; None where undefined.

    A class of few photos has no interval; see `intervals`.
    """

    value: float | None
    low: float | None
    high: float | None
    photos: int  # with objects of the class

    @property
    def distinguishable(self) -> bool:
        """Return whether the interval excludes zero; for one of 20 classes it may by chance."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def same_ground(a: Finished, b: Finished) -> None:
    """Raise ValueError, naming the difference, unless two runs judge the same images by the same protocol."""
    one, two = a.settings, b.settings
    if one.protocol != two.protocol:
        raise ValueError(f"the runs use different protocols: {one.protocol} and {two.protocol}")
    if one.protocol == "coco":
        raise ValueError("the protocol coco has no matches to resample; compare runs under voc07 or voc10")
    if a.record.dataset.sha256 != b.record.dataset.sha256:
        images = sorted(set(a.truth) ^ set(b.truth))
        reason = f"first {images[0]}" if images else "same names, other content"
        raise ValueError(f"the runs are on different photos ({len(a.truth)} and {len(b.truth)}, {reason})")
    if a.classes != b.classes:
        odd = next(iter(sorted(set(a.classes) ^ set(b.classes))), "in another order")
        raise ValueError(f"the runs count different classes ({len(a.classes)} and {len(b.classes)}, first {odd})")
    if a.failed != b.failed:
        raise ValueError("the runs left out different photos on which a restorer failed")


def _evaluation(run: Finished, variant: str, detector: str) -> tuple[Evaluation, list[str]]:
    if variant not in run.variants:
        raise ValueError(f"{run.folder}: has no variant {variant!r}; there are {', '.join(run.variants)}")
    if detector not in run.detectors:
        raise ValueError(f"{run.folder}: has no detector {detector!r}; there are {', '.join(run.detectors)}")
    found, truth, images = predictions(run, variant, detector)
    return evaluate(found, truth, run.settings.protocol, classes=run.classes), images


def differences(
    a: Finished, b: Finished, variant_a: str, variant_b: str, detector: str, seed: int = 0
) -> dict[str, Difference]:  # fmt: skip
    """Return the paired difference of mAP (`map`) and of every class with objects."""
    same_ground(a, b)
    (one, images_a), (two, images_b) = _evaluation(a, variant_a, detector), _evaluation(b, variant_b, detector)
    counted = counted_classes(a, detector)
    before, after = resampled(one, images_a, seed), resampled(two, images_b, seed)
    value = difference(counted.mean(two.ap), counted.mean(one.ap))
    whole = counted.bounds(value, paired(counted.means(after), counted.means(before)))
    by_class = {"map": Difference(value, *whole, len(set(images_a)))}
    spread = paired(after, before)
    for place, name in enumerate(one.ap):
        if name in counted.photos:
            photos, change = counted.photos[name], difference(two.ap[name], one.ap[name])
            drawn = None if spread is None else spread[:, place]
            by_class[name] = Difference(change, *class_bounds(change, drawn, photos), photos)
    return by_class


def open_runs(*folders: Path) -> list[Finished]:
    return [load_run(folder) for folder in folders]
