"""The paper's Table 2 of a run: one row per variant, mAP and the classes as columns, in percent."""

from __future__ import annotations

import csv
import io

from vocbench.benchmarks.results.schema import CountedPhotos, Interval, Results, VariantResults
from vocbench.benchmarks.variants import restored, restores_clean

SHORT = {"aeroplane": "aero", "bicycle": "bike", "diningtable": "table", "motorbike": "mbike", "pottedplant": "plant",
         "tvmonitor": "tv"}  # fmt: skip
TOLD = 10  # kinds of what a restorer tells of itself


def shown_classes(results: Results) -> list[str]:
    """Classes with objects; the others have no AP in any variant."""
    first = next(iter(results.variants.values())).ap
    return [name for name, value in first.items() if value is not None]


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def best_rows(results: Results) -> dict[str, set[str]]:
    """For each column the restored variants that reach its best value, as printed; none where that does not beat distorted."""
    names = restored(results.variants)
    best: dict[str, set[str]] = {}
    for column in ["map", *shown_classes(results)]:
        printed = {name: percent(cell(results, name, column)) for name in ["distorted", *names]}
        numbers = {name: float(text) for name, text in printed.items() if text != "–"}
        top = max(numbers.values(), default=0.0)
        beaten = len(names) > 1 and numbers.get("distorted", top) < top
        best[column] = {name for name, number in numbers.items() if number == top} if beaten else set()
    return best


def cell(results: Results, variant: str, column: str) -> float | None:
    entry = results.variants[variant]
    return entry.map if column == "map" else entry.ap[column]


def photos(data: CountedPhotos) -> str:
    """Return a data set's name, split and number of photos in words."""
    after = f" after the first {data.skip}" if data.skip else ""
    return f"{data.name} {data.split}, {data.images} photos{after}"


def caption(results: Results) -> str:
    data = results.dataset
    recipe = results.recipe if isinstance(results.recipe, str) else "fixed levels"
    failed = f" ({len(results.skipped)} more left out, as a restorer failed on them)" if results.skipped else ""
    return (
        f"{photos(data)}{failed}, {data.objects} objects, recipe {recipe}, "
        f"seed {results.seed}, {results.draws} draw(s) a photo, detector {results.detector.name}, "
        f"AP in % under protocol {results.protocol}, mAP over {classes(results)}"
    )


def classes(results: Results) -> str:
    """Return in words which classes the mAP is over."""
    of = results.classes
    if of.least_photos == 1:
        return f"all {of.all} classes, as none is in enough photos for an interval"
    return f"{len(of.counted)} of {of.all} classes, those in at least {of.least_photos} photos"


def to_markdown(results: Results) -> str:
    """Table 2's layout; the best restored value of a column bold, a restored value below distorted marked ▼."""
    names, best = shown_classes(results), best_rows(results)
    head = ["", "mAP", "95 % interval", "all classes", "lost mAP recovered", "PSNR", *(SHORT.get(n, n) for n in names)]
    lines = [caption(results), "", _row(head), _row(["---", *["---:"] * (len(head) - 1)])]
    for variant, entry in results.variants.items():
        interval = bounds(entry.map_ci95) or "–"
        psnr = "–" if entry.psnr is None else f"{entry.psnr:.2f}"
        cells = [_marked(results, variant, column, best) for column in ["map", *names]]
        lines.append(_row([variant, cells[0], interval, percent(entry.map_all), share(entry), psnr, *cells[1:]]))
    return "\n".join([*lines, *_compared(results), *_told(results)]) + "\n"


def bounds(interval: Interval) -> str:
    """Return an interval in percent, empty where there is none."""
    low, high = interval
    return "" if low is None else f"{percent(low)} to {percent(high)}"


def share(entry: VariantResults) -> str:
    """Return the share of the lost mAP that a variant recovers, with its interval, in percent."""
    if entry.recovered is None:
        return "–"
    low, high = entry.recovered_ci95
    return f"{100 * entry.recovered:.0f}" + ("" if low is None or high is None else f" ({100 * low:.0f} to {100 * high:.0f})")


def _compared(results: Results) -> list[str]:
    """Return the table of every two restorers, each on the same photos as the other."""
    rows = [
        _row([f"{one.second} − {one.first}", signed(one.delta_map), " to ".join(map(signed, one.delta_map_ci95))])
        for one in results.comparisons
        if one.delta_map_ci95.low is not None
    ]
    head = [_row(["restorers compared", "points of mAP", "95 % interval"]), _row(["---", "---:", "---:"])]
    return ["", *head, *rows] if rows else []


def signed(value: float | None) -> str:
    """Return a difference in points with its sign."""
    return "–" if value is None else f"{100 * value:+.1f}"


def told_rows(results: Results) -> list[tuple[str, str, int, float]]:
    """What restorers told of themselves, such as the tools chosen: variant, what, photos, and their share of those that told.

    At most `TOLD` kinds of a variant, the most frequent first, and the rest together.
    """
    rows = []
    for variant, counts in results.chosen.items():
        kinds, total = list(counts.items()), sum(counts.values())
        rest = sum(count for _, count in kinds[TOLD:])
        kinds = kinds[:TOLD] + ([(f"{len(kinds) - TOLD} others", rest)] if rest else [])
        rows += [(variant, what, count, count / total) for what, count in kinds]
    return rows


def _told(results: Results) -> list[str]:
    rows = [
        _row([variant, what.replace("|", r"\|"), str(count), percent(share)])
        for variant, what, count, share in told_rows(results)
    ]
    head = [_row(["variant", "chosen", "photos", "%"]), _row(["---", "---", "---:", "---:"])]
    return ["", *head, *rows] if rows else []


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def is_loss(results: Results, variant: str, column: str) -> bool:
    """Whether a restored variant is below what it started from: distorted, or clean for `clean+`."""
    base = "clean" if restores_clean(variant) else "distorted"
    value, other = cell(results, variant, column), cell(results, base, column)
    return variant not in ("clean", "distorted") and value is not None and other is not None and value < other


def _marked(results: Results, variant: str, column: str, best: dict[str, set[str]]) -> str:
    text = percent(cell(results, variant, column))
    if variant in best[column]:
        text = f"**{text}**"
    return text + (" ▼" if is_loss(results, variant, column) else "")


def to_csv(results: Results) -> str:
    """One row per variant with unrounded numbers; empty where a class has no objects."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    names = list(next(iter(results.variants.values())).ap)
    head = ["map", "map_low", "map_high", "map_all", "delta_map", "delta_map_low", "delta_map_high"]
    head += ["recovered", "recovered_low", "recovered_high", "psnr", "ssim"]
    writer.writerow(["variant", *head, *names])
    for variant, entry in results.variants.items():
        numbers = [entry.map, *entry.map_ci95, entry.map_all, entry.delta_map, *entry.delta_map_ci95]
        numbers += [entry.recovered, *entry.recovered_ci95, entry.psnr, entry.ssim]
        cells = [*numbers, *entry.ap.values()]
        writer.writerow([variant, *("" if value is None else repr(value) for value in cells)])
    return buffer.getvalue()


def to_latex(results: Results) -> str:
    """Table 2's layout for a paper, with booktabs; the best restored value of a column bold, losses marked with an arrow."""
    names, best = shown_classes(results), best_rows(results)
    head = " & ".join(["", "mAP", *(SHORT.get(name, name) for name in names)])
    lines = [
        f"% {caption(results)}",
        rf"\begin{{tabular}}{{l{'r' * (len(names) + 1)}}}",
        r"\toprule",
        rf"{head} \\",
        r"\midrule",
    ]
    for variant in results.variants:
        cells = []
        for column in ["map", *names]:
            text = percent(cell(results, variant, column)).replace("–", "--")
            text = rf"\textbf{{{text}}}" if variant in best[column] else text
            cells.append(text + (r"$\downarrow$" if is_loss(results, variant, column) else ""))
        name = variant.replace("_", r"\_").replace("#", r"\#").replace("%", r"\%")
        lines.append(rf"{' & '.join([name, *cells])} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"
