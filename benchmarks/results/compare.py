"""Questions to finished runs: what differs between two of them, and is it more than chance?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from vocbench.benchmarks.results.finished import Finished, load_run, predictions
from vocbench.detection.average_precision import Evaluation, evaluate, resample
from vocbench.detection.detections import VOC_CLASSES

RESAMPLES = 1000
FEW = 5  # photos; below it a class says nothing of others, however narrow its interval


@dataclass(frozen=True)
class Difference:
    """B minus A, with the 95 % interval of a bootstrap that draws the same images for both; None where undefined."""

    value: float | None
    low: float | None
    high: float | None
    photos: int  # with objects of the class

    @property
    def distinguishable(self) -> bool:
        """Whether the interval, of at least `FEW` photos, leaves zero out; of 20 classes one may by chance."""
        return self.photos >= FEW and self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def same_ground(a: Finished, b: Finished) -> None:
    """Raise ValueError, naming the difference, unless two runs judge the same images by the same protocol."""
    one, two = a.settings, b.settings
    if one.protocol != two.protocol:
        raise ValueError(f"the runs use different protocols: {one.protocol} and {two.protocol}")
    if one.protocol == "coco":
        raise ValueError("the protocol coco gives no matches to draw again; compare runs under voc07 or voc10")
    if a.record["dataset"]["sha256"] != b.record["dataset"]["sha256"]:
        odd = sorted(set(a.truth) ^ set(b.truth))
        what = f"first {odd[0]}" if odd else "same names, other content"
        raise ValueError(f"the runs are on different photos ({len(a.truth)} and {len(b.truth)}, {what})")
    if a.failed != b.failed:
        raise ValueError("the runs left out different photos on which a restorer failed")


def _evaluation(run: Finished, variant: str, detector: str) -> tuple[Evaluation, list[str]]:
    if variant not in run.variants:
        raise ValueError(f"{run.folder}: has no variant {variant!r}; there are {', '.join(run.variants)}")
    if detector not in run.detectors:
        raise ValueError(f"{run.folder}: has no detector {detector!r}; there are {', '.join(run.detectors)}")
    found, truth, images = predictions(run, variant, detector)
    return evaluate(found, truth, run.settings.protocol), images


def _spread(
    one: Evaluation, two: Evaluation, images_a: list[str], images_b: list[str], order: list[str], seed: int
) -> dict[str, np.ndarray]:  # fmt: skip
    """`two` minus `one` in every resample of the photos in `order`: of the mAP (`map`) and of every class that both have."""
    place = {image: i for i, image in enumerate(order)}
    first, second = ([place[image] for image in images] for images in (images_a, images_b))
    names = [name for name in VOC_CLASSES if one.ap[name] is not None and two.ap[name] is not None]
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("map", *names)}
    for drawn in resample(order, RESAMPLES, seed):
        before, after = drawn[:, first], drawn[:, second]  # by (image, draw) key
        found["map"].append(two.resampled_maps(after) - one.resampled_maps(before))
        for name in names:
            found[name].append(two.resampled_ap(name, after) - one.resampled_ap(name, before))
    return {name: np.concatenate(blocks) for name, blocks in found.items()}


def _interval(values: np.ndarray) -> tuple[float | None, float | None]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None, None
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)


def differences(
    a: Finished, b: Finished, variant_a: str, variant_b: str, detector: str, seed: int = 0
) -> dict[str, Difference]:  # fmt: skip
    """The paired difference of mAP (`map`) and of every class with objects."""
    same_ground(a, b)
    (one, images_a), (two, images_b) = _evaluation(a, variant_a, detector), _evaluation(b, variant_b, detector)
    spread = _spread(one, two, images_a, images_b, list(a.truth), seed)
    values = {name: (one.map, two.map) if name == "map" else (one.ap[name], two.ap[name]) for name in spread}
    counts = {name: len({images_a[i] for i in match.objects.tolist()}) for name, match in one.matches.items()}
    counts["map"] = len(set(images_a))
    return {name: _difference(*values[name], spread[name], counts[name]) for name in spread}


def _difference(one: float | None, two: float | None, spread: np.ndarray, photos: int) -> Difference:
    if one is None or two is None:
        return Difference(None, None, None, photos)
    return Difference(two - one, *_interval(spread), photos)


def open_runs(*folders: Path) -> list[Finished]:
    return [load_run(folder) for folder in folders]
