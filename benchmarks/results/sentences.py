"""The results of a run as plain English sentences, worded for gains and losses alike."""

from __future__ import annotations

from vocbench.benchmarks.results.schema import Interval, Results, VariantResults, Verdict
from vocbench.benchmarks.variants import base, label_of, restored, restores_clean
from vocbench.benchmarks.words import counted

UNTOLD = "cannot be told"
NOTHING = "No restorer was measured on photos with objects in this run."


def points(value: float) -> str:
    """Return a difference of mAP in points, without sign."""
    return f"{abs(100 * value):.1f}"


def best_restored(results: Results) -> str | None:
    """Return the restored variant of the highest mAP, None where none has any.

    One that left the photos unchanged, as `identity` does, is skipped if there is another.
    """
    variants = results.variants
    maps = {name: entry.map for name in restored(variants) if (entry := variants[name]).map is not None}
    untouched = _numbers(variants[base(variants)])
    changed = [name for name in maps if variants[name].psnr is None or _numbers(variants[name]) != untouched]
    return max(changed or maps, key=lambda name: maps[name] or 0.0, default=None)


def _numbers(entry: VariantResults) -> tuple:
    return entry.ap, entry.psnr, entry.ssim


def headline(results: Results) -> str:
    """Return one sentence on what the best restorer gained or lost."""
    if results.verdict:
        return results.verdict.sentence
    variants, best = results.variants, best_restored(results)
    clean, distorted = variants["clean"].map, variants["distorted"].map
    if best is None or clean is None or distorted is None:
        return NOTHING
    entry, reached = variants[best], variants[best].map
    if reached is None:
        return NOTHING
    begin = f"Distortion took mAP from {100 * clean:.1f} to {100 * distorted:.1f}; "
    if clean < distorted:
        begin = f"mAP was {100 * clean:.1f} on clean photos and {100 * distorted:.1f} on distorted ones; "
    change, doubt = reached - distorted, interval(entry.delta_map_ci95)
    if change == 0:
        return f"{begin}restoring with {best} made no change{doubt}."
    if change < 0:
        return f"{begin}restoring with {best} lowered it by another {points(change)} points to {100 * reached:.1f}{doubt}."
    share = f", {100 * entry.recovered:.0f} % of what was lost" if entry.recovered and entry.recovered > 0 else ""
    return f"{begin}restoring with {best} raised it by {points(change)} points to {100 * reached:.1f}{share}{doubt}."


def verdict(results: Results) -> Verdict:
    """Return whether to restore photos like those of a run on photos as they are.

    `yes` or `no` if the paired interval of the best restorer's change excludes zero, else `cannot be told`.
    """
    best, count = best_restored(results), results.dataset.images
    photos = counted(count, "photo")
    if best is None:
        return Verdict(answer=UNTOLD, restorer=None, sentence=f"Restore: {UNTOLD} from {photos}. {NOTHING}")
    low, high = results.variants[best].delta_map_ci95
    change = _went(results, best)
    if low is None or high is None:
        why = "the protocol gives no interval" if results.protocol == "coco" else "too few for an interval"
        return Verdict(answer=UNTOLD, restorer=best, sentence=f"Restore: {UNTOLD} from {photos}. {change}: {why}.")
    if low <= 0 <= high:
        return Verdict(
            answer=UNTOLD, restorer=best, sentence=f"Restore: {UNTOLD} from {photos}. {change}, which may be chance."
        )
    answer = "yes" if low > 0 else "no"
    among = ", the best of the restorers tried" if len(restored(results.variants)) > 1 else ""
    return Verdict(answer=answer, restorer=best, sentence=f"Restore: {answer}, by {photos}. {change}{among}.")


def _went(results: Results, best: str) -> str:
    """Return the mAP before and after the best restorer as text, with the paired interval of the change."""
    entry, start = results.variants[best], results.variants[base(results.variants)]
    low, high = entry.delta_map_ci95
    doubt = ""
    if low is not None and high is not None:
        doubt = f" (95 % interval of the change {100 * low:+.1f} to {100 * high:+.1f} points)"
    return f"With {best} mAP went from {100 * (start.map or 0):.1f} to {100 * (entry.map or 0):.1f}{doubt}"


def interval(bounds: Interval) -> str:
    """Return a change's 95 % interval in points, in brackets, and whether it may be chance; nothing for none and no change."""
    low, high = bounds
    if low is None or high is None or low == high == 0:
        return ""
    chance = ", not distinguishable from chance" if low <= 0 <= high else ""
    return f" (95 % interval of the change {100 * low:+.1f} to {100 * high:+.1f} points{chance})"


def harm(results: Results) -> list[str]:
    """Return one sentence for each restorer that was also run on clean photos."""
    if "clean" not in results.variants:
        return []
    clean, sentences = results.variants["clean"].map, list[str]()
    for name, entry in results.variants.items():
        if restores_clean(name) and entry.map is not None and clean is not None:
            change = entry.map - clean
            effect = f"{'gained' if change > 0 else 'lost'} {points(change)} points" if change else "made no change"
            sentences.append(f"On clean photos {label_of(name)} {effect}{interval(entry.delta_clean_ci95)}.")
    return sentences
