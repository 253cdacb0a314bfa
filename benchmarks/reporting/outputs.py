"""Every file that a run's store gives: results and tables, one set per detector, made again at any time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vocbench.benchmarks.reporting import tables
from vocbench.benchmarks.reporting.page import render
from vocbench.benchmarks.results.finished import Finished, load_run, results
from vocbench.benchmarks.settings import write_json
from vocbench.restorer.files import write_whole


def write_outputs(folder: str | Path) -> dict[str, dict[str, Any]]:
    """Write results.json and the tables of the run in `folder`; the first detector's have the plain names."""
    run = load_run(folder)
    made = {}
    for i, detector in enumerate(run.detectors):
        made[detector] = results(run, detector)
        suffix = "" if i == 0 else f"-{detector}"
        _write(run, made[detector], suffix)
    return made


def _write(run: Finished, content: dict[str, Any], suffix: str) -> None:
    write_json(run.folder / f"results{suffix}.json", content)
    _write_text(run.folder / f"table{suffix}.csv", tables.to_csv(content))
    _write_text(run.folder / f"table{suffix}.md", tables.to_markdown(content))
    _write_text(run.folder / f"table{suffix}.tex", tables.to_latex(content))
    _write_text(run.folder / f"report{suffix}.html", render(run, content["detector"]["name"], content))


def _write_text(path: Path, text: str) -> None:
    write_whole(path, text.encode())
