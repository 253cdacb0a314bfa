"""Several runs on the same photos side by side: the mAP and the time of each variant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vocbench.benchmarks.results.schema import UNDEFINED, Interval, Results, read_results
from vocbench.benchmarks.storage.records import RunRecord
from vocbench.benchmarks.storage.run_folder import RunFolder
from vocbench.benchmarks.variants import restored, restores_clean

GROUND = ("protocol", "recipe", "levels", "seed", "draws")  # settings that decide what is compared


@dataclass(frozen=True)
class Standing:
    """One variant of a run under one detector."""

    label: str  # unlike that of any other
    run: str
    variant: str
    detector: str
    map: float | None
    interval: Interval
    change: float | None  # against distorted photos of the same run; None for what is not restored
    change_interval: Interval
    recovered: float | None
    milliseconds: float | None  # per photo, restoring and detecting
    hardware: str
    place: int = 0  # in the order of the runs and their variants
    leads: bool = False  # no other variant, clean photos aside, is both as fast and as good


def standings(folders: Sequence[Path]) -> list[Standing]:
    """Return the variants of finished runs, the highest mAP first; what several runs share is listed once.

    Raises ValueError, naming the difference, unless all judge the same distorted photos by the same protocol.
    """
    records = [_read_finished(folder) for folder in folders]
    for folder, record in zip(folders[1:], records[1:], strict=True):
        _same_ground(folders[0], records[0], folder, record)
    names = _run_names(folders)
    listed = [one for i, folder in enumerate(folders) for one in _of_run(folder, names[i], records[i])]
    _same_photos(folders)
    ranked = sorted(_labelled(_once(listed)), key=lambda one: -1.0 if one.map is None else one.map, reverse=True)
    return [replace(one, leads=_leads(one, ranked)) for one in ranked]


def _read_finished(folder: Path) -> RunRecord:
    record = RunFolder(folder).read_record()
    if not RunFolder(folder).is_finished:
        raise ValueError(f"{folder}: is not finished (no results.json); continue with `resume=True`")
    return record


def _same_ground(first: Path, one: RunRecord, second: Path, two: RunRecord) -> None:
    if one.dataset.sha256 != two.dataset.sha256:
        photos = [f"{record.dataset.name}, {record.dataset.images} photos" for record in (one, two)]
        raise ValueError(f"{second}: is on other photos than {first} ({photos[1]}; {photos[0]}); compare runs on the same ones")
    for name in GROUND:
        values = [getattr(record.settings, name) for record in (one, two)]
        if values[0] != values[1]:
            raise ValueError(f"{second}: has the {name} {values[1]!r} and {first} {values[0]!r}; compare runs with the same")


def _same_photos(folders: Sequence[Path]) -> None:
    """Raise ValueError where a restorer failed on photos in one run that count in another."""
    left_out = [set(_contents(folder)[0].skipped) for folder in folders]
    for folder, images in zip(folders, left_out, strict=True):
        if images != left_out[0]:
            odd = sorted(images ^ left_out[0])[0]
            raise ValueError(f"{folder}: {odd} counts in only one of it and {folders[0]}, as a restorer failed on it")


def _run_names(folders: Sequence[Path]) -> list[str]:
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _contents(folder: Path) -> list[Results]:
    """Return the results of every detector, the first one's first."""
    return [read_results(path) for path in RunFolder(folder).all_results()]


def _of_run(folder: Path, run: str, record: RunRecord) -> list[Standing]:
    hardware = record.hardware or "unknown"
    return [
        _standing(run, name, content, hardware)
        for content in _contents(folder)
        for name in content.variants
        if not restores_clean(name)
    ]


def _standing(run: str, name: str, content: Results, hardware: str) -> Standing:
    entry = content.variants[name]
    is_restored = name in restored([name])
    return Standing(
        name,
        run,
        name,
        content.detector.name,
        entry.map,
        entry.map_ci95,
        entry.delta_map if is_restored else None,
        entry.delta_map_ci95 if is_restored else UNDEFINED,
        entry.recovered if is_restored else None,
        entry.seconds.milliseconds,
        hardware,
    )


def _once(listed: Sequence[Standing]) -> list[Standing]:
    """Return the standings with clean and distorted photos of the same detector and mAP listed once."""
    kept: dict[tuple, Standing] = {}
    for one in listed:
        own = one.run if one.change is not None else ""
        kept.setdefault((own, one.variant, one.detector, one.map), one)
    return list(kept.values())


def _labelled(listed: Sequence[Standing]) -> list[Standing]:
    """Return the standings with unique labels: the variant, its detector if there are several, its run if labels are equal."""
    several = len({one.detector for one in listed}) > 1
    named = [
        replace(one, place=i, label=f"{one.variant}, {one.detector}" if several else one.variant)
        for i, one in enumerate(listed)
    ]
    counts = Counter(one.label for one in named)
    return [replace(one, label=f"{one.run}: {one.label}") if counts[one.label] > 1 else one for one in named]


def _leads(one: Standing, among: Sequence[Standing]) -> bool:
    if one.map is None or one.milliseconds is None or one.variant == "clean":
        return False
    return not any(
        other.map is not None
        and other.milliseconds is not None
        and (other.map, -other.milliseconds) != (one.map, -one.milliseconds)
        and other.map >= one.map
        and other.milliseconds <= one.milliseconds
        for other in among
        if other.variant != "clean"
    )
