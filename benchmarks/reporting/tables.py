"""The paper's Table 2 of a run: one row per variant, mAP and the classes as columns, in percent."""

from __future__ import annotations

import csv
import io

from vocbench.benchmarks.results.schema import CountedPhotos, Interval, Results, VariantResults
from vocbench.benchmarks.variants import base, before, restored
from vocbench.benchmarks.words import counted

SHORT = {"aeroplane": "aero", "bicycle": "bike", "diningtable": "table", "motorbike": "mbike", "pottedplant": "plant",
         "tvmonitor": "tv"}  # fmt: skip
WIDE = 24  # classes, above which each has a row of its own and not a column
NOTES = 10  # kinds of notes of a restorer


def shown_classes(results: Results) -> list[str]:
    """Return the classes with objects; the others have no AP in any variant."""
    first = next(iter(results.variants.values())).ap
    return [name for name, value in first.items() if value is not None]


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def best_rows(results: Results) -> dict[str, set[str]]:
    """Return, for each column, the restored variants with the best printed value; none where it does not beat distorted."""
    names, start = restored(results.variants), base(results.variants)
    best: dict[str, set[str]] = {}
    for column in ["map", *shown_classes(results)]:
        printed = {name: percent(cell(results, name, column)) for name in [start, *names]}
        numbers = {name: float(text) for name, text in printed.items() if text != "–"}
        top = max(numbers.values(), default=0.0)
        beaten = len(names) > 1 and numbers.get(start, top) < top
        best[column] = {name for name, number in numbers.items() if number == top} if beaten else set()
    return best


def cell(results: Results, variant: str, column: str) -> float | None:
    entry = results.variants[variant]
    return entry.map if column == "map" else entry.ap[column]


def photos(data: CountedPhotos) -> str:
    """Return a data set's name, split and number of photos in words."""
    after = f" after the first {data.skip}" if data.skip else ""
    return f"{data.name} {data.split}, {counted(data.images, 'photo')}{after}"


def caption(results: Results) -> str:
    data = results.dataset
    recipe = results.recipe if isinstance(results.recipe, str) else "fixed levels"
    failed = f" ({len(results.skipped)} more left out, as a restorer failed on them)" if results.skipped else ""
    drawn = f"recipe {recipe}, seed {results.seed}, {counted(results.draws, 'draw')} a photo"
    taken = "photos as they are" if results.verdict else drawn
    return (
        f"{photos(data)}{failed}, {counted(data.objects, 'object')}, {taken}, detector {results.detector.name}, "
        f"AP in % under protocol {results.protocol}, mAP over {classes(results)}"
    )


def classes(results: Results) -> str:
    """Return in words which classes the mAP is over."""
    of = results.classes
    if of.all == 1:
        return "1 class, in too few photos for an interval" if of.least_photos == 1 else "1 class"
    if of.least_photos == 1:
        return f"all {of.all} classes, as none is in enough photos for an interval"
    return f"{len(of.counted)} of {of.all} classes, those in at least {of.least_photos} photos"


def to_markdown(results: Results) -> str:
    """Return Table 2's layout; the best restored value of a column bold, a restored value below distorted marked ▼."""
    names, best = shown_classes(results), best_rows(results)
    columns = [] if len(names) > WIDE else names
    further = ["change", "95 % interval"] if results.verdict else ["lost mAP recovered", "PSNR"]
    lines = [caption(results), "", *_head(["", "mAP", "95 % interval", "all classes", *further, *map(_short, columns)])]
    for variant, entry in results.variants.items():
        interval = bounds(entry.map_ci95) or "–"
        cells = [_marked(results, variant, column, best) for column in ["map", *columns]]
        more = _changed(results, variant) if results.verdict else [share(entry), _decibels(entry)]
        lines.append(_row([variant, cells[0], interval, percent(entry.map_all), *more, *cells[1:]]))
    if columns != names:
        lines += ["", *_by_class(results, names, best)]
    verdict = ["", results.verdict.sentence] if results.verdict else []
    return "\n".join([*lines, *verdict, *_compared(results), *_notes(results)]) + "\n"


def _head(cells: list[str]) -> list[str]:
    """Return the head of a table whose first column is text."""
    return [_row(cells), _row(["---", *["---:"] * (len(cells) - 1)])]


def _short(name: str) -> str:
    """Return a class name, which may hold anything, as a cell's text."""
    return " ".join(SHORT.get(name, name).replace("|", r"\|").split())


def _decibels(entry: VariantResults) -> str:
    return "–" if entry.psnr is None else f"{entry.psnr:.2f}"


def _changed(results: Results, variant: str) -> list[str]:
    """Return a restored variant's change of mAP and its paired interval, in points."""
    entry = results.variants[variant]
    if before(variant, results.variants) is None:
        return ["", ""]
    low, high = entry.delta_map_ci95
    return [signed(entry.delta_map), "–" if low is None else f"{signed(low)} to {signed(high)}"]


def _by_class(results: Results, names: list[str], best: dict[str, set[str]]) -> list[str]:
    """Return a table with a row for each class, for sets of very many."""
    variants = list(results.variants)
    rows = [_row([_short(n), *(_marked(results, variant, n, best) for variant in variants)]) for n in names]
    return [*_head(["AP, %", *variants]), *rows]


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


def note_rows(results: Results) -> list[tuple[str, str, int, float]]:
    """Return the notes of restorers, such as the tools chosen: variant, note, photos, and their share of those with notes.

    At most `NOTES` kinds of a variant, the most frequent first, and the rest together.
    """
    rows = []
    for variant, counts in results.chosen.items():
        kinds, total = list(counts.items()), sum(counts.values())
        rest = sum(count for _, count in kinds[NOTES:])
        kinds = kinds[:NOTES] + ([(f"{len(kinds) - NOTES} others", rest)] if rest else [])
        rows += [(variant, note, count, count / total) for note, count in kinds]
    return rows


def _notes(results: Results) -> list[str]:
    rows = [
        _row([variant, note.replace("|", r"\|"), str(count), percent(share)])
        for variant, note, count, share in note_rows(results)
    ]
    head = [_row(["variant", "chosen", "photos", "%"]), _row(["---", "---", "---:", "---:"])]
    return ["", *head, *rows] if rows else []


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def is_loss(results: Results, variant: str, column: str) -> bool:
    """Whether a restored variant is below what it started from: distorted or as it was, or clean for `clean+`."""
    start = before(variant, results.variants)
    if start is None:
        return False
    value, other = cell(results, variant, column), cell(results, start, column)
    return value is not None and other is not None and value < other


def _marked(results: Results, variant: str, column: str, best: dict[str, set[str]]) -> str:
    text = percent(cell(results, variant, column))
    if variant in best[column]:
        text = f"**{text}**"
    return text + (" ▼" if is_loss(results, variant, column) else "")


def to_csv(results: Results) -> str:
    """Return one row per variant with unrounded numbers; empty where a class has no objects."""
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
    """Return Table 2's layout with booktabs; the best restored value of a column bold, losses marked with an arrow."""
    names, best = shown_classes(results), best_rows(results)
    variants, columns = list(results.variants), ["map", *names]
    titles = ["mAP", *(_latex_text(SHORT.get(name, name)) for name in names)]
    cells = [[_latex_cell(results, variant, column, best) for column in columns] for variant in variants]
    table = [["", *titles], *([_latex_text(variant), *row] for variant, row in zip(variants, cells, strict=True))]
    if len(names) > WIDE:  # classes as rows
        table = [list(row) for row in zip(*table, strict=True)]
    lines = [rf"{' & '.join(row)} \\" for row in table]
    begin = [f"% {' '.join(caption(results).split())}", rf"\begin{{tabular}}{{l{'r' * (len(table[0]) - 1)}}}", r"\toprule"]
    return "\n".join([*begin, lines[0], r"\midrule", *lines[1:], r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex_cell(results: Results, variant: str, column: str, best: dict[str, set[str]]) -> str:
    text = percent(cell(results, variant, column)).replace("–", "--")
    text = rf"\textbf{{{text}}}" if variant in best[column] else text
    return text + (r"$\downarrow$" if is_loss(results, variant, column) else "")


def _latex_text(text: str) -> str:
    """Return a name, which may hold anything, with LaTeX's own letters escaped."""
    escaped = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(escaped.get(letter, f"\\{letter}" if letter in "_#%&${}" else letter) for letter in " ".join(text.split()))
