"""The runs below a folder, from their records and results alone: nothing is computed again, and nothing heavy is imported."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct
from vocbench.benchmarks.results.schema import read_results
from vocbench.benchmarks.results.sentences import headline
from vocbench.benchmarks.storage.run_folder import RunFolder, run_folders


class Listed(Struct, frozen=True, kw_only=True):
    """A run in a list; its headline and mAP by variant where it is finished."""

    folder: str
    started: str
    data: str
    photos: int
    recipe: str
    protocol: str
    finished: bool
    headline: str | None
    map: dict[str, float | None]


class Unreadable(Struct, frozen=True, kw_only=True):
    """A run's folder that cannot be read, and why."""

    folder: str
    unreadable: str


def runs_below(root: Path) -> list[Listed | Unreadable]:
    """Return one entry for each run's folder below `root`."""
    entries: list[Listed | Unreadable] = []
    for folder in run_folders(root):
        try:
            entries.append(_summary(folder))
        except (ValueError, OSError) as error:
            entries.append(Unreadable(folder=str(folder.path), unreadable=str(error)))
    return entries


def _summary(folder: RunFolder) -> Listed:
    """Return the entry of a run."""
    record = folder.read_record()
    results = read_results(folder.results()) if folder.is_finished else None
    return Listed(
        folder=str(folder.path),
        started=record.started,
        data=f"{record.dataset.name} {record.settings.split}",
        photos=record.dataset.images,
        recipe=record.settings.recipe,
        protocol=record.settings.protocol,
        finished=results is not None,
        headline=headline(results) if results else None,
        map={name: entry.map for name, entry in results.variants.items()} if results else {},
    )
