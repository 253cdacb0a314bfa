"""report.html: a run in one file that needs no network, for people.

Everything is drawn from the numbers of results.json and the store: a headline in plain English, the table, AP per class,
precision and recall, mAP by degradation level, image quality against detection, error types, pictures, time, and the settings.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from vocbench.benchmarks import tables
from vocbench.benchmarks.charts import bars, lines, scatter
from vocbench.benchmarks.gallery import shown_photos
from vocbench.benchmarks.results import Finished, evaluations, failed_images, predictions
from vocbench.detection.average_precision import Evaluation, evaluate
from vocbench.detection.errors import ERROR_TYPES, error_types

if TYPE_CHECKING:
    from jinja2 import Environment

BINS = 4  # of each degradation's levels
SHOWN_CURVES = 6  # variants in one chart


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
    low, high = entry["map_ci95"]
    interval = "" if low is None else f" (95 % interval {100 * low:.1f} to {100 * high:.1f})"
    begin = f"Distortion took mAP from {100 * clean:.1f} to {100 * distorted:.1f}; "
    if clean < distorted:
        begin = f"mAP was {100 * clean:.1f} on clean photos and {100 * distorted:.1f} on distorted ones; "
    change, reached = entry["delta_map"], f"{100 * entry['map']:.1f}{interval}"
    if change == 0:
        return f"{begin}restoring with {best} changed nothing{interval}."
    if change < 0:
        return f"{begin}restoring with {best} lowered it by another {points(change)} points to {reached}."
    share = f", {100 * entry['recovered']:.0f} % of what was lost" if (entry["recovered"] or 0) > 0 else ""
    return f"{begin}restoring with {best} raised it by {points(change)} points to {reached}{share}."


def harm(results: dict[str, Any]) -> list[str]:
    """One sentence for each restorer that was also run on clean photos."""
    clean, told = results["variants"]["clean"]["map"], []
    for name, entry in results["variants"].items():
        if name.startswith("clean+") and entry["map"] is not None and clean is not None:
            change = entry["map"] - clean
            verb = "gained" if change > 0 else "lost" if change < 0 else "changed"
            told.append(f"On clean photos {name.removeprefix('clean+')} {verb} {points(change)} points.")
    return told


def _curves(found: dict[str, tuple[Evaluation, list[str]]], name: str) -> list[tuple[str, list[tuple[float, float]]]]:
    series = []
    for variant, (evaluation, _) in list(found.items())[:SHOWN_CURVES]:
        recall, precision = evaluation.matches[name].curve()
        keep = np.unique(np.linspace(0, len(recall) - 1, 120).astype(int)) if len(recall) else np.zeros(0, int)
        series.append((variant, [(float(recall[i]), float(precision[i])) for i in keep]))
    return series


def by_level(run: Finished, detector: str) -> list[dict[str, Any]]:
    """mAP of every restored variant in bins of each degradation's level, with the number of photos."""
    rows = run.table[(run.table["variant"] == "distorted") & (run.table["detector"] == detector)]
    rows = rows[~rows["image"].isin(failed_images(run))]
    levels = {f"{r.image}#{r.draw}": json.loads(r.levels) for r in rows.itertuples()}
    names = sorted({name for level in levels.values() for name in level})
    variants = [name for name in run.variants if not name.startswith("clean")]
    held = {variant: predictions(run, variant, detector) for variant in variants}
    charts = []
    for name in names:
        drawn = {key: level[name] for key, level in levels.items() if name in level}
        edges = np.unique(np.quantile(list(drawn.values()), np.linspace(0, 1, BINS + 1)))
        groups = []
        for low, high in pairwise(edges):
            last = high == edges[-1]
            keys = [key for key, value in drawn.items() if low <= value < high or (last and value == high)]
            groups.append((f"{low:.3g} to {high:.3g}", keys))
        series = []
        for variant in variants:
            found, truth, _ = held[variant]
            values = []
            for _, keys in groups:
                inside = [key for key in keys if key in truth]
                part = evaluate({k: found[k] for k in inside}, {k: truth[k] for k in inside}, run.settings.protocol)
                values.append(part.map)
            series.append((variant, values))
        labels = [f"{label} (n={len(keys)})" for label, keys in groups]
        if groups:
            charts.append({"name": name, "labels": labels, "series": series})
    return charts


def gains(run: Finished, detector: str, variant: str) -> list[tuple[float, float, str]]:
    """Per photo: PSNR gained (dB), objects regained (more found than on the distorted photo), and its id."""
    table = run.table[run.table["detector"] == detector]
    before = table[table["variant"] == "distorted"].set_index(["image", "draw"])
    after = table[table["variant"] == variant].set_index(["image", "draw"])
    hits = {name: _hits(run, name, detector) for name in ("distorted", variant)}
    found = []
    for key in after.index:
        gain = after.loc[key, "psnr"] - before.loc[key, "psnr"]
        name = f"{key[0]}#{key[1]}"
        if np.isfinite(gain):
            found.append((float(gain), float(hits[variant].get(name, 0) - hits["distorted"].get(name, 0)), key[0]))
    return found


def _hits(run: Finished, variant: str, detector: str, score: float = 0.3) -> dict[str, int]:
    """Objects found with at least `score`, by (image, draw) key."""
    found, truth, _ = predictions(run, variant, detector)
    protocol = "voc10" if run.settings.protocol == "coco" else run.settings.protocol
    evaluation = evaluate(found, truth, protocol)
    counted = np.zeros(len(evaluation.images), int)
    for match in evaluation.matches.values():
        np.add.at(counted, match.image[match.right & (match.scores >= score)], 1)
    return dict(zip(evaluation.images, counted.tolist(), strict=True))


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Where the pages' templates come from; everything put into them is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(loader=PackageLoader("vocbench.benchmarks"), autoescape=True, undefined=StrictUndefined)
    made.filters["percent"] = tables.percent
    return made


def _errors(run: Finished, detector: str, variants: Sequence[str]) -> dict[str, dict[str, float]]:
    return {variant: error_types(*predictions(run, variant, detector)[:2]) for variant in variants}


def render(run: Finished, detector: str, results: dict[str, Any]) -> str:
    """The report of one detector as HTML."""
    found = evaluations(run, detector)
    classes = tables.shown_classes(results)
    variants = list(results["variants"])
    compared = [name for name in variants if not name.startswith("clean+")]
    per_class = [(name, [results["variants"][name]["ap"][c] for c in classes]) for name in compared]
    curves = []
    if run.settings.protocol != "coco":
        curves = [
            (c, lines(_curves(found, c), "recall", "precision", f"Precision and recall of {c}", variants)) for c in classes
        ]
    restored = restored_names(results)
    quality = [(name, gains(run, detector, name)) for name in restored]
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
                (chart["name"], bars(chart["labels"], chart["series"], f"mAP by level of {chart['name']}", variants))
                for chart in by_level(run, detector)
            ],
            quality_chart=scatter(
                [(n, [p[:2] for p in g]) for n, g in quality], "PSNR gained, dB", "objects regained", "Quality", variants
            ),
            error_names=ERROR_TYPES,
            errors=_errors(run, detector, compared),
            photos=shown_photos(run, {name: predictions(run, name, detector)[0] for name in compared}),
            settings=json.dumps(run.record, indent=2),
        )
    )
