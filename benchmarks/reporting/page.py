"""report.html: a run in one file that needs no network, for people.

Everything is drawn from the numbers of results.json and the store: a headline in plain English, the table, AP per class,
precision and recall, mAP by degradation level, image quality against detection, error types, pictures, time, and the settings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from vocbench.benchmarks.reporting import tables
from vocbench.benchmarks.reporting.charts import bars, curves, scatter
from vocbench.benchmarks.reporting.figures import Bins, Drawn, correlation, gains
from vocbench.benchmarks.reporting.gallery import shown_photos
from vocbench.benchmarks.results.finished import Finished
from vocbench.benchmarks.results.sentences import harm, headline
from vocbench.benchmarks.variants import is_clean, restored, restores_clean
from vocbench.detection.error_types import ERROR_TYPES

if TYPE_CHECKING:
    from jinja2 import Environment


def gigabytes(count: int | None) -> str:
    return "not measured" if count is None else f"{count / 1e9:.2f} GB"


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Where the pages' templates come from; everything put into them is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(loader=PackageLoader("vocbench.benchmarks.reporting"), autoescape=True, undefined=StrictUndefined)
    made.filters["percent"] = tables.percent
    made.filters["gigabytes"] = gigabytes
    return made


def compared_names(results: dict[str, Any]) -> list[str]:
    return [name for name in results["variants"] if not restores_clean(name)]


def class_charts(results: dict[str, Any], drawn: Mapping[str, Drawn]) -> tuple[Markup, list[tuple[str, Markup]]]:
    """AP of every class as bars, and by class the curves of precision and recall (none under `coco`)."""
    classes, names, order = tables.shown_classes(results), compared_names(results), list(results["variants"])
    values = [(name, [results["variants"][name]["ap"][c] for c in classes]) for name in names]
    title = "Precision and recall of {}".format
    shown = [] if results["protocol"] == "coco" else classes
    drawn_curves = [
        (c, curves([(name, drawn[name].curves[c]) for name in names], "recall", "precision", title(c), order)) for c in shown
    ]
    return bars(classes, values, "AP per class, %", order), drawn_curves


def level_charts(results: dict[str, Any], drawn: Mapping[str, Drawn], bins: Mapping[str, Bins]) -> list[Markup]:
    """mAP by the level of each degradation."""
    order = list(results["variants"])
    skewed = [name for name in order if not is_clean(name)]
    return [
        bars(
            one.labels,
            [(variant, drawn[variant].levels[name]) for variant in skewed],
            f"mAP by level of {name}, %; n is the number of photos",
            order,
        )
        for name, one in bins.items()
        if one.labels
    ]


def quality_chart(results: dict[str, Any], drawn: Mapping[str, Drawn]) -> tuple[Markup, list[str]]:
    """Each photo's gains of PSNR and AP, and a sentence for each restorer on how they go together."""
    pairs = {name: gains(drawn["distorted"], drawn[name]) for name in restored(results["variants"])}
    dots = [(name, [(x, y) for x, y in group.tolist()]) for name, group in pairs.items()]
    told = []
    for name, group in pairs.items():
        value = correlation(group)
        text = "not defined" if value is None else f"{value:+.2f}"
        told.append(f"Correlation for {name}: {text} ({len(group)} photos).")
    return scatter(dots, "PSNR gained, dB", "AP gained", "PSNR gain against AP gain", list(results["variants"])), told


def scope(results: dict[str, Any]) -> dict[str, str]:
    """In words, by which rule each part of the page is counted."""
    rule = results["protocol"]
    table = f"In percent, protocol {rule}"
    photo = f"the rule of {rule}"
    if rule == "coco":
        table += ": the mean of AP at overlaps 0.50 to 0.95. It has no single curve of precision and recall"
        photo = "the rule of voc10, as coco has no single overlap"
    return {
        "table": f"{table}.",
        "levels": f"mAP in percent under protocol {rule}, as in the table, of the photos in each range of a level.",
        "photo": f"AP of a photo: the mean over the classes in it of AP at overlap 0.5 in this photo alone, by {photo}.",
        "errors": "Error types of TIDE, in points of mAP at overlap 0.5 over all points of the curve (the rule of voc10)"
        + ("" if rule == "voc10" else f", so they do not add up to differences of the table's mAP under {rule}"),
    }


def render(run: Finished, results: dict[str, Any], drawn: Mapping[str, Drawn], bins: Mapping[str, Bins]) -> str:
    """Return the report of one detector as HTML."""
    compared = compared_names(results)
    class_chart, curve_charts = class_charts(results, drawn)
    quality, correlations = quality_chart(results, drawn)
    return (
        environment()
        .get_template("report.html")
        .render(
            results=results,
            headline=headline(results),
            harm=harm(results),
            caption=tables.caption(results),
            columns=["map", *tables.shown_classes(results)],
            short=tables.SHORT,
            cell=lambda variant, column: tables.cell(results, variant, column),
            best=tables.best_rows(results),
            variants=list(results["variants"]),
            is_loss=lambda variant, column: tables.is_loss(results, variant, column),
            scope=scope(results),
            class_chart=class_chart,
            curves=curve_charts,
            level_charts=level_charts(results, drawn, bins),
            quality_chart=quality,
            correlations=correlations,
            error_names=ERROR_TYPES,
            errors={name: drawn[name].errors for name in compared},
            first_detector=run.detectors[0],
            photos=shown_photos(run, {name: drawn[name].photos for name in compared}),
            told=tables.told_rows(results),
            settings=json.dumps(run.record, indent=2),
        )
    )
