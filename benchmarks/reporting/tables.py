"""The paper's Table 2 of a run: one row per variant, mAP and the classes as columns, in percent."""

from __future__ import annotations

import csv
import io
from typing import Any

from vocbench.benchmarks.variants import restored, restores_clean

SHORT = {"aeroplane": "aero", "bicycle": "bike", "diningtable": "table", "motorbike": "mbike", "pottedplant": "plant",
         "tvmonitor": "tv"}  # fmt: skip
TOLD = 10  # kinds of what a restorer tells of itself


def shown_classes(results: dict[str, Any]) -> list[str]:
    """Classes with objects; the others have no AP in any variant."""
    first = next(iter(results["variants"].values()))["ap"]
    return [name for name, value in first.items() if value is not None]


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def best_rows(results: dict[str, Any]) -> dict[str, set[str]]:
    """For each column the restored variants that reach its best value, as printed; none where that does not beat distorted."""
    names = restored(results["variants"])
    best: dict[str, set[str]] = {}
    for column in ["map", *shown_classes(results)]:
        printed = {name: percent(cell(results, name, column)) for name in ["distorted", *names]}
        numbers = {name: float(text) for name, text in printed.items() if text != "–"}
        top = max(numbers.values(), default=0.0)
        beaten = len(names) > 1 and numbers.get("distorted", top) < top
        best[column] = {name for name, number in numbers.items() if number == top} if beaten else set()
    return best


def cell(results: dict[str, Any], variant: str, column: str) -> float | None:
    entry = results["variants"][variant]
    return entry["map"] if column == "map" else entry["ap"][column]


def photos(data: dict[str, Any]) -> str:
    """Return a data set's name, split and number of photos in words."""
    after = f" after the first {data['skip']}" if data.get("skip") else ""
    return f"{data['name']} {data['split']}, {data['images']} photos{after}"


def caption(results: dict[str, Any]) -> str:
    data = results["dataset"]
    recipe = results["recipe"] if isinstance(results["recipe"], str) else "fixed levels"
    failed = f" ({len(results['skipped'])} more left out, as a restorer failed on them)" if results["skipped"] else ""
    return (
        f"{photos(data)}{failed}, {data['objects']} objects, recipe {recipe}, "
        f"seed {results['seed']}, {results['draws']} draw(s) a photo, detector {results['detector']['name']}, "
        f"AP in % under protocol {results['protocol']}"
    )


def to_markdown(results: dict[str, Any]) -> str:
    """Table 2's layout; the best restored value of a column bold, a restored value below distorted marked ▼."""
    classes, best = shown_classes(results), best_rows(results)
    head = ["", "mAP", "95 % interval", "PSNR", *(SHORT.get(name, name) for name in classes)]
    lines = [caption(results), "", _row(head), _row(["---", *["---:"] * (len(head) - 1)])]
    for variant, entry in results["variants"].items():
        low, high = entry["map_ci95"]
        interval = "–" if low is None else f"{percent(low)} to {percent(high)}"
        psnr = "–" if entry["psnr"] is None else f"{entry['psnr']:.2f}"
        cells = [_marked(results, variant, column, best) for column in ["map", *classes]]
        lines.append(_row([variant, cells[0], interval, psnr, *cells[1:]]))
    return "\n".join([*lines, *_told(results)]) + "\n"


def told_rows(results: dict[str, Any]) -> list[tuple[str, str, int, float]]:
    """What restorers told of themselves, such as the tools chosen: variant, what, photos, and their share of those that told.

    At most `TOLD` kinds of a variant, the most frequent first, and the rest together.
    """
    rows = []
    for variant, counts in results["chosen"].items():
        kinds, total = list(counts.items()), sum(counts.values())
        rest = sum(count for _, count in kinds[TOLD:])
        kinds = kinds[:TOLD] + ([(f"{len(kinds) - TOLD} others", rest)] if rest else [])
        rows += [(variant, what, count, count / total) for what, count in kinds]
    return rows


def _told(results: dict[str, Any]) -> list[str]:
    rows = [
        _row([variant, what.replace("|", r"\|"), str(count), percent(share)])
        for variant, what, count, share in told_rows(results)
    ]
    head = [_row(["variant", "chosen", "photos", "%"]), _row(["---", "---", "---:", "---:"])]
    return ["", *head, *rows] if rows else []


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def is_loss(results: dict[str, Any], variant: str, column: str) -> bool:
    """Whether a restored variant is below what it started from: distorted, or clean for `clean+`."""
    base = "clean" if restores_clean(variant) else "distorted"
    value, other = cell(results, variant, column), cell(results, base, column)
    return variant not in ("clean", "distorted") and value is not None and other is not None and value < other


def _marked(results: dict[str, Any], variant: str, column: str, best: dict[str, set[str]]) -> str:
    text = percent(cell(results, variant, column))
    if variant in best[column]:
        text = f"**{text}**"
    return text + (" ▼" if is_loss(results, variant, column) else "")


def to_csv(results: dict[str, Any]) -> str:
    """One row per variant with unrounded numbers; empty where a class has no objects."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    names = list(next(iter(results["variants"].values()))["ap"])
    writer.writerow(["variant", "map", "map_low", "map_high", "delta_map", "recovered", "psnr", "ssim", *names])
    for variant, entry in results["variants"].items():
        numbers = [entry["map"], *entry["map_ci95"], entry["delta_map"], entry["recovered"], entry["psnr"], entry["ssim"]]
        cells = [*numbers, *entry["ap"].values()]
        writer.writerow([variant, *("" if value is None else repr(value) for value in cells)])
    return buffer.getvalue()


def to_latex(results: dict[str, Any]) -> str:
    """Table 2's layout for a paper, with booktabs; the best restored value of a column bold, losses marked with an arrow."""
    classes, best = shown_classes(results), best_rows(results)
    head = " & ".join(["", "mAP", *(SHORT.get(name, name) for name in classes)])
    lines = [
        f"% {caption(results)}",
        rf"\begin{{tabular}}{{l{'r' * (len(classes) + 1)}}}",
        r"\toprule",
        rf"{head} \\",
        r"\midrule",
    ]
    for variant in results["variants"]:
        cells = []
        for column in ["map", *classes]:
            text = percent(cell(results, variant, column)).replace("–", "--")
            text = rf"\textbf{{{text}}}" if variant in best[column] else text
            cells.append(text + (r"$\downarrow$" if is_loss(results, variant, column) else ""))
        name = variant.replace("_", r"\_").replace("#", r"\#").replace("%", r"\%")
        lines.append(rf"{' & '.join([name, *cells])} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"
