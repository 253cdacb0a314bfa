"""The runs below a folder, from their records and results alone: nothing is computed again, and nothing heavy is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vocbench.benchmarks.results.sentences import headline
from vocbench.benchmarks.storage.records import RESULTS, read_json, read_record, settings_of


def runs_below(root: Path) -> list[dict[str, Any]]:
    """One entry per run folder below `root`: its folder, start, settings and, where finished, its headline and mAPs.

    A folder that cannot be read has nothing but its name and, as `unreadable`, the reason.
    """
    found = []
    for path in sorted(root.glob("**/run.json")):
        try:
            found.append(_summary(path))
        except (ValueError, OSError) as error:
            found.append({"folder": str(path.parent), "unreadable": str(error)})
    return found


def _summary(path: Path) -> dict[str, Any]:
    """Return the entry of the run with this run.json."""
    record, results = read_record(path), path.with_name("results.json")
    content = read_json(results, RESULTS) if results.is_file() else {"variants": {}}
    settings = record["settings"]
    return {
        "folder": str(path.parent),
        "started": record["started"],
        "data": f"{record['dataset']['name']} {settings['split']}",
        "photos": record["dataset"]["images"],
        "recipe": settings["recipe"],
        "protocol": settings_of(record).protocol,
        "finished": results.is_file(),
        "headline": headline(content) if results.is_file() else None,
        "map": {name: entry["map"] for name, entry in content["variants"].items()},
    }
