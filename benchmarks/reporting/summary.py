"""The text of the top and the tables of a report, from a run's results."""

from __future__ import annotations

from dataclasses import dataclass

from vocbench.benchmarks.reporting.tables import cell, percent
from vocbench.benchmarks.results.schema import UNDEFINED, Comparison, Interval, Results
from vocbench.benchmarks.results.sentences import best_restored
from vocbench.benchmarks.variants import AS_IS, UNRESTORED, base, before, is_clean, label_of, restored, restores_clean
from vocbench.benchmarks.words import counted

FEW_PHOTOS = 100  # below this a run is a demonstration, not a benchmark
EXACT = 99.0  # dB of PSNR from which a picture counts as unchanged
STRONG = 0.3  # a change of AP that gets the full shade


@dataclass(frozen=True)
class Tile:
    """One number of the headline."""

    label: str
    value: str
    note: str
    variant: str  # whose colour it has; empty for none


def tiles(results: Results) -> list[Tile]:
    """Return mAP of clean, distorted and best restored photos, and the share of the lost mAP recovered."""
    variants, best = results.variants, best_restored(results)
    names = [name for name in (*UNRESTORED, best) if name in variants]
    shown = [Tile(_title(name), percent(variants[name].map), between(variants[name].map_ci95), name) for name in names]
    if results.verdict:
        return [*shown, Tile("Restore?", results.verdict.answer, _change_note(results, best), "")]
    if best is None:
        return shown
    share = variants[best].recovered
    if share is None:
        return [*shown, Tile("Lost mAP recovered", "–", "not defined: no loss is certain", "")]
    interval = between(variants[best].recovered_ci95, 0)
    return [*shown, Tile("Lost mAP recovered", share_text(share), interval or "of the mAP lost by distortion", "")]


def _change_note(results: Results, best: str | None) -> str:
    """Return the change by the best restorer, in points with its interval."""
    entry = results.variants.get(best or "")
    if entry is None or entry.delta_map is None:
        return ""
    interval = between(entry.delta_map_ci95, sign="+")
    return f"{100 * entry.delta_map:+.1f} points" + (f", {interval}" if interval else "")


def share_text(share: float, bounds: Interval = UNDEFINED) -> str:
    """Return the share of the lost mAP recovered, with its interval."""
    interval = between(bounds, 0).removeprefix("95 % interval ")
    return (f"{100 * share:.0f} %" if share > 0 else "none") + (f" ({interval})" if interval else "")


def _title(name: str) -> str:
    return {"clean": "Clean, mAP", "distorted": "Distorted, mAP", AS_IS: "As it is, mAP"}.get(name, f"Restored by {name}, mAP")


def between(bounds: Interval, digits: int = 1, sign: str = "") -> str:
    """Return a 95 % interval in percent or points, nothing where there is none."""
    if bounds.low is None or bounds.high is None:
        return ""
    low, high = (f"{100 * bound:{sign}.{digits}f}" for bound in (bounds.low, bounds.high))
    return f"95 % interval {low} to {high}"


def caveat(count: int) -> str:
    """Return a warning where the photos are few, else nothing."""
    return f"{counted(count, 'photo')}: a demonstration, not a benchmark." if count < FEW_PHOTOS else ""


def without_photos(results: Results, chooser: str) -> str:
    """Return why a report has no photos to show, empty where nothing was restored.

    `chooser` is the detector by whose detections a run keeps photos.
    """
    if not restored(results.variants):
        return ""
    own = results.detector.name == chooser
    missing = "there is none" if own else f"none of them changed with {results.detector.name}"
    kept = f"regained or lost an object with {chooser} (boxes of score 0.3 and above, first draw)"
    untouched = [name for name in folded(results).get(base(results.variants), []) if name in restored([name])]
    left = f" Left every photo as it was: {', '.join(untouched)}." if untouched else ""
    return f"None to show: a run keeps pictures of photos in which restoring {kept}, and {missing}.{left}"


def folded(results: Results) -> dict[str, list[str]]:
    """Return the variants to show, each with those that have the same numbers, such as distorted and identity."""
    kept: dict[str, list[str]] = {}
    for name in results.variants:
        same = next((other for other in kept if _identical(results, other, name)), None)
        if same is None:
            kept[name] = []
        else:
            kept[same].append(name)
    return kept


def _identical(results: Results, name: str, other: str) -> bool:
    """Return whether two variants have the same numbers: AP of every class, PSNR and SSIM."""
    one, two = results.variants[name], results.variants[other]
    if other in UNRESTORED or (one.map, one.ap) != (two.map, two.ap):
        return False
    if name == "clean":  # which has no PSNR of its own
        return restores_clean(other) and (two.psnr is None or two.psnr >= EXACT)
    if one.psnr is None:
        return False
    return is_clean(name) == is_clean(other) and (one.psnr, one.ssim) == (two.psnr, two.ssim)


def named(name: str, same: list[str]) -> str:
    """Return a variant's name with those of the identical ones."""
    return " = ".join([name, *same])


def change_of(results: Results, name: str, column: str) -> float | None:
    """Return by how much a restored variant differs from its base, in mAP or in the AP of a class."""
    start = before(name, results.variants)
    if start is None:
        return None
    value, origin = (cell(results, variant, column) for variant in (name, start))
    return None if value is None or origin is None else value - origin


def shade(change: float | None) -> str:
    """Return the CSS of a cell shaded by a change, nothing where there is none."""
    if not change:
        return ""
    strength = round(40 * min(abs(change) / STRONG, 1))
    return f"--tint: var(--{'gain' if change > 0 else 'drop'}); --strength: {strength}%"


@dataclass(frozen=True)
class Row:
    """One variant of the main table, as text; `style` shades it by its change."""

    name: str
    label: str
    map: str
    map_interval: str
    change: str
    change_interval: str
    recovered: str
    psnr: str
    ssim: str
    milliseconds: str
    style: str
    loss: bool


def table_rows(results: Results) -> list[Row]:
    """Return the main table of a report, identical variants in one row."""
    return [_row(results, name, same) for name, same in folded(results).items()]


def _row(results: Results, name: str, same: list[str]) -> Row:
    entry, change = results.variants[name], change_of(results, name, "map")
    bounds = entry.delta_clean_ci95 if restores_clean(name) else entry.delta_map_ci95
    spent = entry.seconds.milliseconds
    share = entry.recovered if name in restored([name]) else None
    return Row(
        name,
        named(name, same),
        percent(entry.map),
        short_interval(entry.map_ci95),
        "" if change is None else f"{100 * change:+.1f}",
        "" if change is None else short_interval(bounds, "+"),
        "" if share is None else share_text(share, entry.recovered_ci95),
        _number(entry.psnr, 2),
        _number(entry.ssim, 3),
        "–" if spent is None else f"{spent:.0f}",
        shade(change),
        change is not None and change < 0,
    )


@dataclass(frozen=True)
class Pair:
    """Two restorers on the same photos, as text."""

    name: str
    points: str
    interval: str
    verdict: str
    style: str


def comparison_rows(results: Results) -> list[Pair]:
    """Return every two restorers that are shown, the better one first."""
    shown = folded(results).keys()
    pairs = [_pair(one) for one in results.comparisons if {one.first, one.second} <= shown]
    return [pair for pair in pairs if pair is not None]


def _pair(one: Comparison) -> Pair | None:
    change, (low, high) = one.delta_map, one.delta_map_ci95
    if change is None:
        return None
    names = (one.second, one.first)
    if change < 0:
        names, change = names[::-1], -change
        low, high = (None, None) if low is None or high is None else (-high, -low)
    verdict = "–" if low is None or high is None else "no" if low <= 0 <= high else "yes"
    interval = short_interval(Interval(low, high), "+")
    return Pair(" − ".join(names), f"{100 * change:+.1f}", interval, verdict, shade(change))


def short_interval(bounds: Interval, sign: str = "") -> str:
    """Return a 95 % interval for a table, a dash where there is none."""
    return between(bounds, sign=sign).removeprefix("95 % interval ") or "–"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def widest_change(results: Results, classes: list[str]) -> str | None:
    """Return the class whose AP the best restorer changed most, else that which distortion changed most."""
    return max(classes, key=lambda name: widest(results, name), default=None)


def widest(results: Results, name: str) -> float:
    """Return by how much the best restorer, else distortion, changed the AP of a class, whichever way."""
    variants = results.variants
    start, best = base(variants), best_restored(results)
    one, two = (variants[variant].ap[name] for variant in ((start, best) if best else (next(iter(variants)), start)))
    return 0.0 if one is None or two is None else abs(two - one)


def label_for(name: str) -> str:
    """Return a variant's name for a table's head."""
    return f"{label_of(name)} on clean" if restores_clean(name) else name
