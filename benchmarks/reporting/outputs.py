"""Write the results, tables and reports of a run from its store, one set per detector, at any time."""

from __future__ import annotations

import logging
from pathlib import Path

from vocbench.benchmarks.reporting import tables
from vocbench.benchmarks.reporting.figures import Bins, Drawn, draw, level_bins, photo_levels
from vocbench.benchmarks.reporting.gallery import kept_images
from vocbench.benchmarks.reporting.page import render
from vocbench.benchmarks.results.finished import Finished, load_run
from vocbench.benchmarks.results.judge import Measured, counted_classes, judge, measure, results
from vocbench.benchmarks.results.schema import Results, write_results
from vocbench.benchmarks.storage.run_folder import RunFolder
from vocbench.benchmarks.variants import base
from vocbench.detection.exchange import misnumbered
from vocbench.restorer.files import write_whole

logger = logging.getLogger(__name__)


def write_outputs(folder: str | Path) -> dict[str, Results]:
    """Write results.json, the tables and the report of the run in `folder`; the first detector's have the plain names."""
    run = load_run(folder)
    made = {}
    for i, detector in enumerate(run.detectors):
        made[detector] = _write(run, detector, None if i == 0 else detector)
    return made


def _write(run: Finished, detector: str, named: str | None) -> Results:
    folder = RunFolder(run.folder)
    gallery, bins, levels = kept_images(folder.gallery), dict[str, Bins](), dict[str, dict[str, float]]()
    counted = counted_classes(run, detector)
    measured: dict[str, Measured] = {}
    first = base(run.variants)
    drawn: dict[str, Drawn] = {}
    for name in sorted(run.variants, key=lambda name: name != first):  # first the one that has the bins of the others
        judged = judge(run, name, detector)
        if name == run.variants[0] and (odd := misnumbered(judged.rows.detections, judged.rows.truth)):
            logger.warning("%s: %s", detector, odd)
        if name == first:
            bins, levels = level_bins(judged), photo_levels(judged, gallery)
        measured[name], drawn[name] = measure(judged, counted, run.settings.seed), draw(judged, bins, gallery, counted)
        del judged  # before the next is read
    content = results(run, detector, measured)
    write_results(folder.results(named), content)
    _write_text(folder.table("csv", named), tables.to_csv(content))
    _write_text(folder.table("md", named), tables.to_markdown(content))
    _write_text(folder.table("tex", named), tables.to_latex(content))
    _write_text(folder.report(named), render(run, content, drawn, bins, levels))
    return content


def _write_text(path: Path, text: str) -> None:
    write_whole(path, text.encode())
