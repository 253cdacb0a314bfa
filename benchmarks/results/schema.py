"""The content of results.json, typed: written and read here and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from msgspec import Struct
from vocbench.benchmarks.settings import write_json
from vocbench.benchmarks.storage.records import Number, read_json
from vocbench.benchmarks.variants import AS_IS


class Interval(NamedTuple):
    """Both ends of a 95 % interval; None where it is not defined."""

    low: float | None
    high: float | None


UNDEFINED = Interval(None, None)


class StageSeconds(Struct, frozen=True, kw_only=True):
    """Mean seconds of each photo in each stage."""

    degrade: float | None = None
    restore: float | None = None
    detect: float | None = None

    @property
    def milliseconds(self) -> float | None:
        """Return what restoring and detecting take for a photo, None where detecting was not timed."""
        return None if self.detect is None else 1000 * (self.detect + (self.restore or 0.0))


class VariantResults(Struct, frozen=True, kw_only=True):
    """The numbers of one variant under one detector; shares of 1, PSNR in dB, None where a number is not defined."""

    map: float | None  # over the classes that count
    map_ci95: Interval = UNDEFINED
    map_all: float | None = None  # over all classes with objects
    ap: dict[str, float | None] = {}  # by class
    delta_map: float | None = None  # minus that of `distorted`, or of `as-is`
    delta_map_ci95: Interval = UNDEFINED
    delta_clean: float | None = None  # minus that of `clean`
    delta_clean_ci95: Interval = UNDEFINED
    recovered: float | None = None  # share of what distortion took; None for clean photos and where nothing was lost
    recovered_ci95: Interval = UNDEFINED
    psnr: float | None = None
    ssim: float | None = None
    seconds: StageSeconds = StageSeconds()


class CountedPhotos(Struct, frozen=True, kw_only=True):
    """The photos that count, without those on which a restorer failed, and their objects but for difficult ones."""

    name: str
    split: str
    images: int
    objects: int
    skip: int = 0  # photos of the split left out before the first


class DetectorIdentity(Struct, frozen=True, kw_only=True):
    """The detector of the results."""

    name: str
    weights_sha256: str | None = None


class CountedClasses(Struct, frozen=True, kw_only=True):
    """The classes that the mAP is over: those in at least `least_photos` photos, of all that have objects."""

    counted: list[str]
    all: int
    least_photos: int


class Comparison(Struct, frozen=True, kw_only=True):
    """The mAP of one restorer minus another's, photo by photo on the same ones."""

    first: str
    second: str
    delta_map: float | None  # of the second minus the first
    delta_map_ci95: Interval


class Verdict(Struct, frozen=True, kw_only=True):
    """The answer to whether photos like these should be restored."""

    answer: str  # yes, no or cannot be told
    restorer: str | None  # the best one, which the answer is about
    sentence: str


class Results(Struct, frozen=True, kw_only=True):
    """The results of a run under one of its detectors."""

    protocol: str
    iou: float | None = None  # at which a detection is a true positive; None: COCO's ten
    dataset: CountedPhotos
    recipe: str | dict[str, Number]  # its name, or fixed levels
    seed: int
    draws: int
    detector: DetectorIdentity
    classes: CountedClasses = CountedClasses(counted=[], all=0, least_photos=0)  # missing in runs of early versions
    variants: dict[str, VariantResults]  # with `clean` and `distorted`, or with `as-is`
    comparisons: list[Comparison] = []  # of every two restorers
    skipped: list[str] = []  # images on which a restorer failed
    chosen: dict[str, dict[str, int]] = {}  # by variant: how often a restorer noted the same, the most frequent first
    busy: dict[str, Number | None] = {}  # see `judge.busy`
    verdict: Verdict | None = None  # of photos taken as they are

    def __post_init__(self) -> None:
        needed = (AS_IS,) if AS_IS in self.variants else ("clean", "distorted")
        missing = next((name for name in needed if name not in self.variants), None)
        if missing is not None:
            raise ValueError(f"'variants' has no {missing!r}")


def read_results(path: Path) -> Results:
    """Return the content of a results.json; ValueError naming the file where it is anything else."""
    return read_json(path, Results)


def write_results(path: Path, results: Results) -> None:
    """Write a results.json, whole or not at all."""
    write_json(path, results)
