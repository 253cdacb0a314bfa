"""The coverage of the printed intervals: how often they contain the true value, on synthetic detections where it is known.

python -m vocbench.benchmarks.experiments.coverage

Sets of photos are drawn from one population and evaluated as a run is. Their 95 % intervals are compared with the average over
such sets: the mean AP of each class over all sets in which it counts, averaged over the classes that count in the set itself.
AP of few photos is biased, so a set of 50 cannot estimate the value for infinitely many photos.

In the population, every class has a share of the photos and a difficulty; every photo has a difficulty, which all its objects
share, and a strength of distortion. Confidence falls with the distortion, and restorers undo a part of that. Objects whose
confidence falls below a threshold are missed; false positives occur at a rate of each class. `skewed` has the shares of VOC
2012's twenty classes, `even` ten classes of equal shares.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context

import click
import numpy as np
from vocbench.benchmarks.results.intervals import Counted, class_bounds, difference, paired, resampled
from vocbench.benchmarks.results.judge import Measured, change, recovered
from vocbench.benchmarks.results.schema import UNDEFINED, Interval, VariantResults
from vocbench.detection.average_precision import VOC_RULES, Evaluation, Matches
from vocbench.detection.detections import VOC_CLASSES

# About the share of VOC 2012 trainval's photos with objects of each class, in the order of `VOC_CLASSES`.
SKEWED = (0.058, 0.048, 0.066, 0.044, 0.061, 0.037, 0.102, 0.093, 0.097, 0.026,
          0.047, 0.110, 0.042, 0.046, 0.380, 0.046, 0.028, 0.044, 0.047, 0.050)  # fmt: skip
SHARES = {"skewed": SKEWED, "even": (0.15,) * 10}
# What is left of the distortion's loss of confidence in each variant.
LEFT = {"clean": 0.0, "distorted": 1.2, "first": 0.6, "second": 0.75}
CASES = [(kind, photos) for kind in SHARES for photos in (50, 200)]
THRESHOLD = -0.6  # of confidence


@dataclass(frozen=True)
class Scored:
    """Objects or false positives of a set of photos, with their confidence before a variant changes it."""

    photo: np.ndarray  # (N,)
    label: np.ndarray  # (N,)
    confidence: np.ndarray  # (N,) on clean photos


@dataclass(frozen=True)
class Judgement:
    """The evaluation of one set: AP by variant and class, and every interval with its kind."""

    counted: Counted
    ap: dict[str, dict[str, float | None]]
    intervals: list[tuple[str, tuple[str, ...], Interval]]  # kind, the classes it is made of, bounds


def _spread(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the photo and label (N,) of each item from their counts (photos, classes)."""
    photo, label = np.nonzero(counts)
    times = counts[photo, label]
    return np.repeat(photo, times), np.repeat(label, times)


def draw_set(kind: str, photos: int, protocol: str, seed: int) -> dict[str, Evaluation]:
    """Draw a set of photos from the population and return the evaluation of each variant's detections in it."""
    share = np.array(SHARES[kind])
    fixed = np.random.default_rng(7)  # the population's
    strength, rate = fixed.normal(0.6, 0.9, len(share)), fixed.uniform(0.02, 0.12, len(share))
    random = np.random.default_rng(seed)
    there = random.random((photos, len(share))) < share
    photo, label = _spread(np.where(there, 1 + random.poisson(0.7, there.shape), 0))
    ease = strength[label] + random.normal(0, 0.7, photos)[photo]
    objects = Scored(photo, label, ease + random.normal(0, 0.8, len(photo)))
    photo, label = _spread(random.poisson(rate, there.shape))
    false_positives = Scored(photo, label, random.normal(-0.3, 0.8, len(photo)))
    distortion = random.gamma(4, 0.25, photos)
    return {name: _evaluation(objects, false_positives, distortion * left, protocol, random) for name, left in LEFT.items()}


def _evaluation(
    objects: Scored, false_positives: Scored, loss: np.ndarray, protocol: str, random: np.random.Generator
) -> Evaluation:  # fmt: skip
    """Return the evaluation of detections whose confidence a `loss` (photos,) lowers."""
    both = [(objects, 1.0), (false_positives, 0.3)]
    scores = np.concatenate([one.confidence - part * loss[one.photo] for one, part in both])
    scores = scores + random.normal(0, 0.5, len(scores))
    photo, label = (np.concatenate([getattr(one, name) for one, _ in both]) for name in ("photo", "label"))
    true_positive = np.arange(len(scores)) < len(objects.photo)
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > THRESHOLD]
    ap: dict[str, float | None] = {}
    matches = {}
    for place, name in enumerate(VOC_CLASSES):
        mine = order[label[order] == place]
        ours = objects.photo[objects.label == place]
        match = Matches(scores[mine], photo[mine], true_positive[mine], np.zeros(len(mine), bool), ours)
        matches[name], ap[name] = match, VOC_RULES[protocol](*match.curve()) if len(ours) else None
    return Evaluation(protocol, 0.5, [str(i) for i in range(len(loss))], ap, matches)


def judge_set(kind: str, photos: int, protocol: str, seed: int) -> Judgement:
    """Draw a set and compute all intervals that a run or a comparison of runs prints, by the same functions."""
    evaluations = draw_set(kind, photos, protocol, seed)
    counted = Counted.of({name: len(np.unique(match.objects)) for name, match in evaluations["clean"].matches.items()})
    drawn = {name: resampled(one, one.images, seed) for name, one in evaluations.items()}
    made = {
        name: Measured(counted.mean(one.ap), counted.means(drawn[name]), VariantResults(map=None), {})
        for name, one in evaluations.items()
    }
    intervals = [
        ("mAP, clean", counted.bounds(made["clean"].map, made["clean"].maps)),
        ("mAP, distorted", counted.bounds(made["distorted"].map, made["distorted"].maps)),
        ("change by restoring", change(made["first"], made["distorted"], counted).ci95),
        ("one restorer against another", change(made["second"], made["first"], counted).ci95),
        ("share recovered", recovered(made["first"], made, counted).ci95),
    ]
    named = [(kind, counted.names, one) for kind, one in intervals]
    spread = paired(drawn["first"], drawn["distorted"])
    for place, name in enumerate(VOC_CLASSES):
        value = difference(evaluations["first"].ap[name], evaluations["distorted"].ap[name])
        named.append(("change of one class", (name,), _of_class(value, spread, place, counted.photos.get(name, 0))))
    return Judgement(counted, {name: one.ap for name, one in evaluations.items()}, named)


def _of_class(value: float | None, spread: np.ndarray | None, place: int, photos: int) -> Interval:
    return UNDEFINED if spread is None else class_bounds(value, spread[:, place], photos)


def truths(sets: list[Judgement]) -> dict[str, dict[str, float]]:
    """Return by variant and class the mean AP over the sets in which the class counts."""
    values: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in LEFT}
    for one in sets:
        for variant, ap in one.ap.items():
            for name in one.counted.names:
                values[variant][name].append(ap[name] or 0.0)
    return {variant: {name: float(np.mean(found)) for name, found in of.items()} for variant, of in values.items()}


def true_value(kind: str, names: tuple[str, ...], truth: dict[str, dict[str, float]]) -> float:
    """Return the true value for an interval of this kind over these classes."""
    clean, distorted, first, second = (float(np.mean([truth[variant][name] for name in names])) for variant in LEFT)
    return {
        "mAP, clean": clean,
        "mAP, distorted": distorted,
        "change by restoring": first - distorted,
        "one restorer against another": second - first,
        "share recovered": (first - distorted) / (clean - distorted),
        "change of one class": first - distorted,
    }[kind]


def coverage(sets: list[Judgement]) -> dict[str, tuple[float, int]]:
    """Return, by kind, the share of intervals that contain the true value, and their number.

    Intervals of a class that counts in no set are left out, as its true value is not known.
    """
    truth, held = truths(sets), defaultdict(list)
    for one in sets:
        for kind, names, (low, high) in one.intervals:
            if low is not None and high is not None and all(name in truth["clean"] for name in names):
                held[kind].append(low <= true_value(kind, names, truth) <= high)
    return {kind: (float(np.mean(of)), len(of)) for kind, of in held.items()}


def simulate(kind: str, photos: int, protocol: str, sets: int, seed: int, processes: int) -> list[Judgement]:
    """Draw and judge many sets of one size."""
    jobs = [(kind, photos, protocol, sets * seed + i) for i in range(sets)]
    with get_context("spawn").Pool(processes) as pool:
        return pool.starmap(judge_set, jobs, chunksize=8)


def rows(by_set: dict[tuple[str, int], dict[str, tuple[float, int]]]) -> Iterator[str]:
    """Yield the lines of a Markdown table: kinds of intervals down, sets across."""
    yield "| interval of | " + " | ".join(f"{kind}, {photos} photos" for kind, photos in by_set) + " |"
    yield "| --- |" + " ---: |" * len(by_set)
    kinds = list(dict.fromkeys(kind for one in by_set.values() for kind in one))
    for kind in kinds:
        cells = [one.get(kind) for one in by_set.values()]
        yield f"| {kind} | " + " | ".join("–" if one is None else f"{100 * one[0]:.1f} % of {one[1]}" for one in cells) + " |"


@click.command()
@click.option("--sets", default=1000, show_default=True, type=click.IntRange(2), help="Sets of photos of each kind and size.")
@click.option("--protocol", default="voc07", show_default=True, type=click.Choice(list(VOC_RULES)))
@click.option("--seed", default=0, show_default=True)
@click.option("--processes", default=2, show_default=True, type=click.IntRange(1))
def main(sets: int, protocol: str, seed: int, processes: int) -> None:
    """Show the share of 95 % intervals that contain the true value, on synthetic detections."""
    by_set = {}
    for kind, photos in CASES:
        by_set[kind, photos] = coverage(simulate(kind, photos, protocol, sets, seed, processes))
        click.echo(f"{kind}, {photos} photos: done", err=True)
    for line in rows(by_set):
        click.echo(line)


if __name__ == "__main__":
    main()
