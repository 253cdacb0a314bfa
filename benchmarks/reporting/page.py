"""report.html: a run in one file that needs no network, for people.

Everything is drawn from the numbers of results.json and the store: the headline, the photos that changed most, the tables,
charts by class, level, size and error type, image quality against detection, time, and the settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from markupsafe import Markup
from vocbench.benchmarks.reporting import summary, tables
from vocbench.benchmarks.reporting.charts import Cost, Level, curves, lines, rows, scatter, tradeoff
from vocbench.benchmarks.reporting.confused import Matrix, matrix
from vocbench.benchmarks.reporting.figures import Bins, Drawn, correlation, gains
from vocbench.benchmarks.reporting.looks import look_places, mark_class
from vocbench.benchmarks.reporting.photos import shown_photos, unit_of
from vocbench.benchmarks.results.finished import Finished
from vocbench.benchmarks.results.schema import Results, VariantResults
from vocbench.benchmarks.results.sentences import harm, headline
from vocbench.benchmarks.settings import to_json
from vocbench.benchmarks.variants import AS_IS, base, restored, restores_clean
from vocbench.benchmarks.words import counted
from vocbench.detection.error_types import ERROR_TYPES

if TYPE_CHECKING:
    from jinja2 import Environment

T = TypeVar("T")


def gigabytes(count: int | None) -> str:
    return "not measured" if count is None else f"{count / 1e9:.2f} GB"


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Return where the pages' templates come from; everything put into them is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("vocbench.benchmarks.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"percent": tables.percent, "gigabytes": gigabytes, "swatch": swatch, "label_for": summary.label_for}
    return made


def swatch(place: int) -> Markup:
    """Return a small square in a variant's colour."""
    shape = f'<rect class="{mark_class(place)}" width="12" height="12"/>'
    return Markup(f'<svg class="key" width="12" height="12" aria-hidden="true">{shape}</svg>')


class Shown(NamedTuple):
    """The variants of a run as the charts show them: results, what is drawn of each, names with identical ones, and looks."""

    results: Results
    drawn: Mapping[str, Drawn]
    labels: dict[str, str]  # of the variants shown: clean, distorted and restored ones
    looks: dict[str, int]  # by label and by name

    def series(self, value: Callable[[str], T]) -> list[tuple[str, T]]:
        """Return a label and a value for every variant."""
        return [(label, value(name)) for name, label in self.labels.items()]


def _shown(results: Results, drawn: Mapping[str, Drawn]) -> Shown:
    labels = {name: summary.named(name, same) for name, same in summary.folded(results).items() if not restores_clean(name)}
    places = look_places(results.variants)
    return Shown(results, drawn, labels, places | {label: places[name] for name, label in labels.items()})


def class_chart(shown: Shown) -> Markup:
    """Draw the AP of every class, or of those that restoring changed most where there are very many."""
    classes, variants = charted(shown.results), shown.results.variants
    most = len(classes) < len(tables.shown_classes(shown.results))
    title = f"AP of the {len(classes)} classes that changed most, %" if most else "AP per class, %"
    return rows(classes, shown.series(lambda name: [variants[name].ap[c] for c in classes]), title, shown.looks)


def charted(results: Results) -> list[str]:
    """Return the classes that have a chart: all, or the `tables.WIDE` that changed most, so that the page stays readable."""
    names = tables.shown_classes(results)
    if len(names) <= tables.WIDE:
        return names
    most = set(sorted(names, key=lambda name: -summary.widest(results, name))[: tables.WIDE])
    return [name for name in names if name in most]


def curve_charts(shown: Shown) -> list[tuple[str, Markup]]:
    """Draw the curves of precision and recall by class, none under `coco`."""
    classes = [] if shown.results.protocol == "coco" else charted(shown.results)
    return [(c, _curve_chart(shown, c)) for c in classes]


def _curve_chart(shown: Shown, name: str) -> Markup:
    title = f"Precision and recall of {name}"
    return curves(shown.series(lambda variant: shown.drawn[variant].curves[name]), "recall", "precision", title, shown.looks)


def level_charts(shown: Shown, bins: Mapping[str, Bins]) -> list[Markup]:
    """Draw mAP by the level of each degradation, with the clean photos for reference."""
    return [_level_chart(shown, name, one) for name, one in bins.items() if one.labels]


def _level_chart(shown: Shown, name: str, one: Bins) -> Markup:
    levels = [Level(label, mean) for label, mean in zip(one.labels, one.means, strict=True)]
    series = shown.series(lambda variant: shown.drawn[variant].levels[name])
    return lines(levels, series, f"{name}, {unit_of(name)}", f"mAP by level of {name}, %", shown.looks)


def size_chart(shown: Shown) -> Markup:
    """Draw the AP of small, medium and large objects."""
    sizes = {name: one.objects for name, one in next(iter(shown.drawn.values())).sizes.items() if one.objects}
    labels = [f"{name} ({counted(count, 'object')})" for name, count in sizes.items()]
    series = shown.series(lambda variant: [shown.drawn[variant].sizes[name].map for name in sizes])
    return rows(labels, series, "mAP by size of the objects, %", shown.looks)


def error_chart(shown: Shown) -> Markup:
    """Draw what each type of error costs."""
    series = shown.series(lambda name: [shown.drawn[name].errors[kind] for kind in ERROR_TYPES])
    return rows(list(ERROR_TYPES), series, "mAP gained if errors of a type were fixed, points", shown.looks, 0)


def cost_chart(shown: Shown) -> Markup | None:
    """Draw mAP against the time per photo, None where fewer than two variants were timed."""
    costs = [cost(label, shown.results.variants[name]) for name, label in shown.labels.items()]
    timed = [one for one in costs if one is not None]
    return tradeoff(timed, "mAP against time", shown.looks) if len(timed) > 1 else None


def cost(label: str, entry: VariantResults) -> Cost | None:
    """Return the cost and benefit of a variant, None if one of them is unknown."""
    spent, value = entry.seconds.milliseconds, entry.map
    return Cost(label, spent, value, *entry.map_ci95) if spent and value is not None else None


def quality_chart(shown: Shown) -> tuple[Markup, list[str]]:
    """Draw each photo's gains of PSNR and AP, with a sentence on their correlation for each restorer."""
    names = {name: label for name, label in shown.labels.items() if name in restored([name])}
    pairs = {label: gains(shown.drawn[base(shown.drawn)], shown.drawn[name]) for name, label in names.items()}
    dots = [(label, [(x, y) for x, y in group.tolist()]) for label, group in pairs.items()]
    chart = scatter(dots, "PSNR gained, dB", "AP gained", "PSNR gain against AP gain", shown.looks)
    return chart, [_correlated(label, correlation(group), len(group)) for label, group in pairs.items()]


def _correlated(label: str, value: float | None, photos: int) -> str:
    return f"Correlation for {label}: {'not defined' if value is None else f'{value:+.2f}'} ({photos} photos)."


def confusions(shown: Shown) -> list[Matrix]:
    """Return a matrix for each variant, of the classes that occur."""
    classes = list(next(iter(shown.results.variants.values())).ap)
    series = shown.series(lambda name: shown.drawn[name].confusion)
    return [matrix(label, one, classes) for label, one in series if one is not None]


def scope(results: Results) -> dict[str, str]:
    """Return, for each part of the page, the rule by which it is evaluated."""
    rule = results.protocol
    table = f"In percent, protocol {rule}"
    photo = f"the rule of {rule}"
    if rule == "coco":
        table += ": the mean of AP at IoU 0.50 to 0.95. It has no single curve of precision and recall"
        photo = "the rule of voc10, as coco has no single IoU"
    return {
        "table": f"{table}; mAP is over {tables.classes(results)}.",
        "levels": f"mAP in percent under protocol {rule}, as in the table, of the photos in each range of a level; clean: "
        "of the same photos before distortion.",
        "sizes": f"Areas of COCO: small is below 32² pixels, large from 96² on. IoU 0.5, {photo}.",
        "photo": f"AP of a photo: the mean over the classes in it of AP at IoU 0.5 in this photo alone, by {photo}.",
        "errors": "Error types of TIDE, in points of mAP at IoU 0.5 over all points of the curve (the rule of voc10)"
        + ("" if rule == "voc10" else f", so they do not add up to differences of the table's mAP under {rule}"),
    }


def headed(run: Finished) -> list[str]:
    """Return the run's name, day and version, as far as they are known."""
    made_by = run.record.versions.get("vocbench")
    return [run.folder.resolve().name, run.record.started[:10], *([f"vocbench {made_by}"] if made_by else [])]


def render(
    run: Finished,
    results: Results,
    drawn: Mapping[str, Drawn],
    bins: Mapping[str, Bins],
    levels: Mapping[str, Mapping[str, float]],
) -> str:
    """Return the report of one detector as HTML; `levels` has those of the photos in the gallery."""
    shown = _shown(results, drawn)
    photos = shown_photos(run, results.detector.name, {name: drawn[name].photos for name in shown.labels}, levels)
    page, top = environment().get_template("report.html"), _top(run, results)
    tabled, charts = _tables(results), _charts(shown, bins)
    return page.render(results=results, top=top, tables=tabled, charts=charts, photos=photos, shown=shown, run=run)


@dataclass(frozen=True)
class Top:
    """The sentences of a report, most of them above the tables."""

    facts: list[str]
    headline: str
    harm: list[str]
    over: str  # the classes of the mAP
    tiles: list[summary.Tile]
    base: str  # the variant that others are compared with
    caveat: str
    without_photos: str  # instead of the gallery, where it has no photo
    caption: str
    scope: dict[str, str]  # by part of the page: by which rule it is counted
    settings: str  # JSON


@dataclass(frozen=True)
class Tables:
    """The data of a report's tables; the column of a class is named after it, that of the mAP `map`."""

    rows: list[summary.Row]
    classes: list[str]
    columns: list[str]  # the variants
    folded: list[str]
    best: dict[str, set[str]]
    notes: list[tuple[str, str, int, float]]
    comparisons: list[summary.Pair]
    results: Results

    def cell(self, variant: str, column: str) -> float | None:
        """Return the value of a cell, from 0 to 1."""
        return tables.cell(self.results, variant, column)

    def change(self, variant: str, column: str) -> float | None:
        """Return by how much restoring changed a cell's value."""
        return summary.change_of(self.results, variant, column)

    def shade(self, change: float | None) -> str:
        """Return the CSS of a cell that changed so."""
        return summary.shade(change)


@dataclass(frozen=True)
class Charts:
    """The charts of a report, None or empty if a run has no such chart."""

    class_chart: Markup
    curves: list[tuple[str, Markup]]
    opens: str | None  # the class whose curves are seen first
    level_charts: list[Markup]
    size_chart: Markup
    error_chart: Markup
    error_names: Mapping[str, str]
    cost_chart: Markup | None
    quality_chart: Markup | None
    correlations: list[str]
    confusions: list[Matrix]


def _top(run: Finished, results: Results) -> Top:
    return Top(
        facts=headed(run),
        headline=headline(results),
        harm=harm(results),
        over=tables.classes(results),
        tiles=summary.tiles(results),
        base=base(results.variants),
        caveat=summary.caveat(results.dataset.images),
        without_photos=summary.without_photos(results, run.detectors[0]),
        caption=tables.caption(results),
        scope=scope(results),
        settings=to_json(run.record),
    )


def _tables(results: Results) -> Tables:
    folded = summary.folded(results)
    return Tables(
        rows=summary.table_rows(results),
        classes=tables.shown_classes(results),
        columns=list(folded),
        folded=[summary.named(name, same) for name, same in folded.items() if same],
        best=tables.best_rows(results),
        notes=tables.note_rows(results),
        comparisons=summary.comparison_rows(results),
        results=results,
    )


def _charts(shown: Shown, bins: Mapping[str, Bins]) -> Charts:
    quality, correlations = (None, []) if AS_IS in shown.labels else quality_chart(shown)
    return Charts(
        class_chart=class_chart(shown),
        curves=curve_charts(shown),
        opens=summary.widest_change(shown.results, charted(shown.results)),
        level_charts=level_charts(shown, bins),
        size_chart=size_chart(shown),
        error_chart=error_chart(shown),
        error_names=ERROR_TYPES,
        cost_chart=cost_chart(shown),
        quality_chart=quality,
        correlations=correlations,
        confusions=confusions(shown),
    )
