"""report.html: a run in one file that needs no network, for people.

Everything is drawn from the numbers of results.json and the store: a headline in plain English, the table, AP per class,
precision and recall, mAP by degradation level, image quality against detection, error types, pictures, time, and the settings.
The store is read one variant at a time, and of each only what is drawn is kept.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from vocbench.benchmarks import tables
from vocbench.benchmarks.charts import bars, lines, scatter
from vocbench.benchmarks.gallery import changes, shown_photos
from vocbench.benchmarks.results import Finished, predictions
from vocbench.detection.average_precision import Evaluation, evaluate
from vocbench.detection.columns import DetectionColumns, ObjectColumns
from vocbench.detection.detections import Detections
from vocbench.detection.errors import ERROR_TYPES, error_types

if TYPE_CHECKING:
    from jinja2 import Environment

BINS = 4  # of each degradation's levels
SHOWN_CURVES = 6  # variants in one chart
SHOWN_DOTS = 5000  # photos of a variant in one chart
SURE = 0.3  # score of a detection that counts as an object found

Dots = list[tuple[float, float]]


def points(value: float) -> str:
    """A difference of mAP in points, without sign."""
    return f"{abs(100 * value):.1f}"


def restored_names(results: dict[str, Any]) -> list[str]:
    return [name for name in results["variants"] if name not in ("clean", "distorted") and not name.startswith("clean+")]


def headline(results: dict[str, Any]) -> str:
    """What the best restorer gained or lost, in one sentence that is right either way."""
    variants = results["variants"]
    names = [name for name in restored_names(results) if variants[name]["map"] is not None]
    clean, distorted = variants["clean"]["map"], variants["distorted"]["map"]
    if not names or clean is None or distorted is None:
        return "No restorer was measured on photos with objects in this run."
    best = max(names, key=lambda name: variants[name]["map"])
    entry = variants[best]
    begin = f"Distortion took mAP from {100 * clean:.1f} to {100 * distorted:.1f}; "
    if clean < distorted:
        begin = f"mAP was {100 * clean:.1f} on clean photos and {100 * distorted:.1f} on distorted ones; "
    change, reached = entry["delta_map"], f"{100 * entry['map']:.1f}"
    doubt = interval(entry["delta_map_ci95"])
    if change == 0:
        return f"{begin}restoring with {best} changed nothing{doubt}."
    if change < 0:
        return f"{begin}restoring with {best} lowered it by another {points(change)} points to {reached}{doubt}."
    share = f", {100 * entry['recovered']:.0f} % of what was lost" if (entry["recovered"] or 0) > 0 else ""
    return f"{begin}restoring with {best} raised it by {points(change)} points to {reached}{share}{doubt}."


def interval(bounds: list[float | None]) -> str:
    """A change's 95 % interval in points, in brackets, and whether it may be chance; nothing where there is none."""
    low, high = bounds
    if low is None or high is None:
        return ""
    chance = ", not distinguishable from chance" if low <= 0 <= high else ""
    return f" (95 % interval of the change {100 * low:+.1f} to {100 * high:+.1f} points{chance})"


def harm(results: dict[str, Any]) -> list[str]:
    """One sentence for each restorer that was also run on clean photos."""
    clean, told = results["variants"]["clean"]["map"], []
    for name, entry in results["variants"].items():
        if name.startswith("clean+") and entry["map"] is not None and clean is not None:
            change = entry["delta_clean"]
            what = f"{'gained' if change > 0 else 'lost'} {points(change)} points" if change else "changed nothing"
            told.append(f"On clean photos {name.removeprefix('clean+')} {what}{interval(entry['delta_clean_ci95'])}.")
    return told


@dataclass(frozen=True)
class Drawn:
    """What the report shows of one variant."""

    curves: dict[str, Dots]  # by class: recall and precision
    levels: dict[str, list[float | None]]  # by degradation: mAP in each bin of its level
    errors: dict[str, float]
    hits: np.ndarray  # (photos,) objects found
    quality: np.ndarray  # (photos,) PSNR, NaN where there is none
    photos: Mapping[str, Detections]  # of the gallery


@dataclass(frozen=True)
class Bins:
    """The photos of one degradation by its level: labels of the bins, and the places of the photos in each."""

    labels: list[str]
    photos: list[np.ndarray]


def draw(run: Finished, variant: str, detector: str, bins: Mapping[str, Bins]) -> Drawn:
    """Everything shown of a variant."""
    found, truth, _ = predictions(run, variant, detector)
    evaluation = evaluate(found, truth, run.settings.protocol)
    quality = run.numbers(["psnr"], variant, detector)["psnr"]
    compared, skewed = not variant.startswith("clean+"), not variant.startswith("clean")
    gallery = [f"{made.image}#0" for made in changes(run.folder / "gallery")]
    return Drawn(
        {name: _curve(evaluation, name) for name in evaluation.matches},
        by_level(found, truth, bins, run.settings.protocol) if skewed else {},
        error_types(found, truth) if compared else {},
        hits(found, truth, run.settings.protocol, evaluation),
        quality,
        found.select([key for key in gallery if key in found]),
    )


def _curve(evaluation: Evaluation, name: str) -> Dots:
    recall, precision = evaluation.matches[name].curve()
    keep = np.unique(np.linspace(0, len(recall) - 1, 120).astype(int)) if len(recall) else np.zeros(0, int)
    return [(float(recall[i]), float(precision[i])) for i in keep]


def level_bins(run: Finished, detector: str) -> dict[str, Bins]:
    """By degradation, in the order of names, the photos in bins of its level; distorted and restored ones have one order."""
    place = 0
    drawn: dict[str, tuple[array, array]] = {}  # by degradation: photos and their levels
    for table in run.tables(["levels"], "distorted", detector):
        for levels in table["levels"].to_pylist():
            for name, value in json.loads(levels).items():
                photos, values = drawn.setdefault(name, (array("q"), array("d")))
                photos.append(place)
                values.append(value)
            place += 1
    return {name: _binned(*(np.array(column) for column in drawn[name])) for name in sorted(drawn)}


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


def hits(found: DetectionColumns, truth: ObjectColumns, protocol: str, evaluation: Evaluation) -> np.ndarray:
    """Objects found in each photo with a score of at least `SURE`."""
    if protocol == "coco":
        evaluation = evaluate(found, truth, "voc10")
    counted = np.zeros(len(evaluation.images), int)
    for match in evaluation.matches.values():
        np.add.at(counted, match.image[match.right & (match.scores >= SURE)], 1)
    return counted


def gains(before: Drawn, after: Drawn) -> np.ndarray:
    """Of each photo with a finite PSNR (photos, 2): the decibels gained, and the objects regained (more found than before)."""
    pairs = np.stack([after.quality - before.quality, after.hits - before.hits], 1)  # photos have one order
    return pairs[np.isfinite(pairs[:, 0])]


def thinned(pairs: np.ndarray) -> Dots:
    """At most `SHOWN_DOTS` of them, evenly taken."""
    return [(x, y) for x, y in pairs[:: max(1, -(-len(pairs) // SHOWN_DOTS))].tolist()]


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Where the pages' templates come from; everything put into them is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(loader=PackageLoader("vocbench.benchmarks"), autoescape=True, undefined=StrictUndefined)
    made.filters["percent"] = tables.percent
    return made


def render(run: Finished, detector: str, results: dict[str, Any]) -> str:
    """The report of one detector as HTML."""
    classes = tables.shown_classes(results)
    variants = list(results["variants"])
    bins = level_bins(run, detector)
    drawn = {name: draw(run, name, detector, bins) for name in variants}
    compared = [name for name in variants if not name.startswith("clean+")]
    skewed = [name for name in variants if not name.startswith("clean")]
    per_class = [(name, [results["variants"][name]["ap"][c] for c in classes]) for name in compared]
    curves = []
    if run.settings.protocol != "coco":
        shown = variants[:SHOWN_CURVES]
        title = "Precision and recall of {}".format
        curves = [
            (c, lines([(v, drawn[v].curves[c]) for v in shown], "recall", "precision", title(c), variants)) for c in classes
        ]
    quality = [(name, gains(drawn["distorted"], drawn[name])) for name in restored_names(results)]
    dots = [(name, thinned(group)) for name, group in quality]
    photos = max((len(group) for _, group in quality), default=0)
    seen = max((len(group) for _, group in dots), default=0)
    note = f" ({seen} of {photos} photos)" if seen < photos else ""
    return (
        environment()
        .get_template("report.html")
        .render(
            results=results,
            headline=headline(results),
            harm=harm(results),
            caption=tables.caption(results),
            columns=["map", *classes],
            short=tables.SHORT,
            cell=lambda variant, column: tables.cell(results, variant, column),
            best=tables.best_rows(results),
            is_loss=lambda variant, column: tables.is_loss(results, variant, column),
            variants=variants,
            class_chart=bars(classes, per_class, "AP per class", variants),
            curves=curves,
            level_charts=[
                (name, bars(one.labels, [(v, drawn[v].levels[name]) for v in skewed], f"mAP by level of {name}", variants))
                for name, one in bins.items()
                if one.labels
            ],
            quality_chart=scatter(dots, f"PSNR gained, dB{note}", "objects regained", "Quality", variants),
            error_names=ERROR_TYPES,
            errors={name: drawn[name].errors for name in compared},
            photos=shown_photos(run, {name: drawn[name].photos for name in compared}),
            settings=json.dumps(run.record, indent=2),
        )
    )
