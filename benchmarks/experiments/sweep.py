"""A run at each of several fixed degradation levels: mAP by level, and the robustness benchmarks' means.

mPC is the mean over degradations of the mean over their levels of mAP, rPC is mPC over the mAP on clean, unrestored photos
(Michaelis et al., arXiv:1907.07484, eq. 1 and 2, with mAP as the performance).
"""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import isfinite
from pathlib import Path
from statistics import mean

from msgspec import Struct
from vocbench.benchmarks.experiments.run import run
from vocbench.benchmarks.reporting.photos import unit_of
from vocbench.benchmarks.reporting.tables import percent, photos
from vocbench.benchmarks.results.schema import CountedPhotos, DetectorIdentity, Results, read_results
from vocbench.benchmarks.running.driver import Shared
from vocbench.benchmarks.running.local_workers import Here, Runner
from vocbench.benchmarks.running.meter import Progress
from vocbench.benchmarks.settings import RunSettings, write_json
from vocbench.benchmarks.storage.run_folder import RunFolder, check_resumed
from vocbench.benchmarks.variants import is_clean
from vocbench.restorer.degradations import corruptions
from vocbench.restorer.degradations.recipes import DEGRADATIONS

logger = logging.getLogger(__name__)
Levels = dict[str, list[float]]

# The common corruptions that the project has itself, at the levels of the library's five severities.
OWN_CORRUPTIONS: Levels = {
    "noise": [20.4, 30.6, 45.9, 66.3, 96.9],
    "blur": [1.0, 2.0, 3.0, 4.0, 6.0],
    "jpeg": [25.0, 18.0, 15.0, 10.0, 7.0],
}


def parse_degradations(given: Sequence[str]) -> Levels:
    """Return the levels of `NAME=LEVEL,…`, of `corruption:NAME=SEVERITY,…`, or of the set `corruptions`."""
    levels: Levels = {}
    for text in given:
        if text == "corruptions":
            levels |= _common()
            continue
        name, _, values = text.partition("=")
        if name not in DEGRADATIONS and not name.startswith(corruptions.PREFIX):
            raise ValueError(f"the degradation {text!r}: {name!r} is none of {', '.join(DEGRADATIONS)}, corruptions")
        try:
            numbers = [float(value) for value in values.split(",")]
        except ValueError:
            raise ValueError(f"the degradation {text!r}: expected NAME=LEVEL,… such as noise=10,20,30") from None
        if not all(isfinite(number) and number >= 0 for number in numbers):
            raise ValueError(f"the degradation {text!r}: a level is a number of at least 0, in the unit of its degradation")
        if name in levels or len(set(numbers)) < len(numbers):
            raise ValueError(f"the degradation {text!r}: a degradation or level is given twice")
        levels[name] = numbers
    if not levels:
        raise ValueError("nothing to sweep; give NAME=LEVEL,… or corruptions")
    return levels


def _common() -> Levels:
    works, fails = corruptions.usable()
    if not works:
        logger.warning('imagecorruptions cannot be imported (pip install ".[corruptions]"); noise, blur and JPEG instead')
        return dict(OWN_CORRUPTIONS)
    if fails:
        logger.warning("left out, as imagecorruptions fails on them here: %s", ", ".join(fails))
    return {corruptions.PREFIX + name: [float(severity) for severity in corruptions.SEVERITIES] for name in works}


def step_name(degradation: str, level: float) -> str:
    """Return the folder of one level's run."""
    return f"{degradation.replace(':', '-')}-{level:g}"


class Degraded(Struct, frozen=True, kw_only=True):
    """The mAP at the levels of one degradation, by variant."""

    unit: str
    levels: list[float]
    map: dict[str, list[float | None]]


class SweepResults(Struct, frozen=True, kw_only=True):
    """The content of sweep.json."""

    protocol: str
    dataset: CountedPhotos
    seed: int
    detector: DetectorIdentity
    clean: float | None  # mAP on clean photos, not restored
    degradations: dict[str, Degraded]
    mpc: dict[str, float | None]  # by variant
    rpc: dict[str, float | None]


def sweep(
    settings: RunSettings,
    levels: Levels,
    out: Path,
    resume: bool = False,
    runner: Runner | None = None,
    progress: Progress | None = None,
    store: str | None = None,
    accept_changes: bool = False,
) -> SweepResults:
    """Run every level into a folder of its own below `out`, and write sweep.json, .csv, .md and .html; resumable.

    Models are built once, and photos hashed once; what clean photos give is computed for the first level and taken over.
    """
    if resume:
        check_resumed(out)
    by_degradation: dict[str, Degraded] = {}
    shown = _Levels(out, [step_name(name, level) for name, numbers in levels.items() for level in numbers], progress)
    shared = Shared(runner or Here())

    def at(degradation: str, level: float) -> Results:
        """Run one level and return its results."""
        step = replace(settings, levels=json.dumps({degradation: level}))
        folder = out / step_name(degradation, level)
        if folder.exists() and not resume:
            raise ValueError(f"{folder}: already there; continue the sweep with `resume=True` or choose another `out`")
        place = f"{store.rstrip('/')}/{folder.name}" if store else None
        run(step, folder, folder.exists(), None, shown.at(folder.name), place, accept_changes, shared)
        return read_results(RunFolder(folder).results())

    try:
        for degradation, numbers in levels.items():
            rows = [at(degradation, level) for level in numbers]
            by_degradation[degradation] = Degraded(unit=unit_of(degradation), levels=numbers, map=_by_variant(rows))
            content = summary(by_degradation, rows[0])  # so that what is done can be read before all is
            _write(out, content)
    finally:
        shared.close()
    return content


class _Levels:
    """One progress bar for the runs of all levels, some of which may be finished already."""

    def __init__(self, out: Path, names: list[str], progress: Progress | None):
        self.names, self.progress = names, progress
        self.finished = {name for name in names if RunFolder(out / name).is_finished}
        self.report: Callable[[float, str], None] | None = None

    def at(self, name: str) -> Progress | None:
        """Return the progress of one level's run."""
        return partial(self._begin, name) if self.progress else None

    def _begin(self, name: str, total: int, done: int) -> Callable[[float, str], None]:
        if self.report is None:
            assert self.progress
            before = len(self.finished) * total + (done if name not in self.finished else 0)
            self.report = self.progress(total * len(self.names), before)
        elif done and name not in self.finished:
            self.report(done, name)
        report = self.report
        return lambda photos, variant: report(photos, f"{name} {variant}".strip())


def _by_variant(rows: list[Results]) -> dict[str, list[float | None]]:
    names = [name for name in rows[0].variants if not is_clean(name)]
    return {name: [row.variants[name].map for row in rows] for name in names}


def summary(by_degradation: dict[str, Degraded], results: Results) -> SweepResults:
    """Return the content of sweep.json from each degradation's levels and mAPs, and any of the runs' results."""
    clean = results.variants["clean"].map
    variants = list(next(iter(by_degradation.values())).map)
    complete = clean is not None and all(
        value is not None for one in by_degradation.values() for v in one.map.values() for value in v
    )
    mpc = {name: mean(mean(one.map[name]) for one in by_degradation.values()) if complete else None for name in variants}  # type: ignore[type-var]
    return SweepResults(
        protocol=results.protocol,
        dataset=results.dataset,
        seed=results.seed,
        detector=results.detector,
        clean=clean,
        degradations=by_degradation,
        mpc=mpc,
        rpc={name: value / clean if value is not None and clean else None for name, value in mpc.items()},
    )


def _write(out: Path, content: SweepResults) -> None:
    write_json(out / "sweep.json", content)
    (out / "sweep.csv").write_text(to_csv(content))
    (out / "sweep.md").write_text(to_markdown(content))
    (out / "sweep.html").write_text(to_html(content), encoding="utf-8")


def _rows(content: SweepResults) -> list[tuple[str, str, list[float | None]]]:
    """Return degradation, level and the mAP of each variant."""
    variants = list(content.mpc)
    return [
        (name, f"{level:g}", [one.map[variant][i] for variant in variants])
        for name, one in content.degradations.items()
        for i, level in enumerate(one.levels)
    ]


def to_csv(content: SweepResults) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["degradation", "level", *content.mpc])
    writer.writerows([name, level, *values] for name, level, values in _rows(content))
    return buffer.getvalue()


def caption(content: SweepResults) -> str:
    return (
        f"{photos(content.dataset)}, seed {content.seed}, detector "
        f"{content.detector.name}, mAP in % under protocol {content.protocol}, clean {percent(content.clean)}"
    )


def to_markdown(content: SweepResults) -> str:
    variants = list(content.mpc)
    lines = [f"{caption(content)}", "", f"| degradation | level | {' | '.join(variants)} |"]
    lines.append(f"| --- | ---: |{' ---: |' * len(variants)}")
    for name, level, values in _rows(content):
        lines.append(f"| {name} | {level} | {' | '.join(percent(value) for value in values)} |")
    for name, means in (("mPC", content.mpc), ("rPC", content.rpc)):
        lines.append(f"| **{name}** |  | {' | '.join(percent(value) for value in means.values())} |")
    return "\n".join(lines) + "\n"


def to_html(content: SweepResults) -> str:
    """Return one self-contained page: a chart for each degradation, with clean photos for reference, and the table."""
    from vocbench.benchmarks.reporting.looks import look_places
    from vocbench.benchmarks.reporting.page import environment

    variants = list(content.mpc)
    looks = look_places(["clean", *variants])
    charts = [_chart(name, one, content.clean, looks) for name, one in content.degradations.items()]
    page = environment().get_template("sweep.html")
    return page.render(
        content=content, caption=caption(content), variants=variants, rows=_rows(content), charts=charts, looks=looks
    )


def _chart(name: str, one: Degraded, clean: float | None, looks: dict[str, int]) -> str:
    from vocbench.benchmarks.reporting.charts import Level, lines

    levels = [Level(f"{level:g}", level) for level in one.levels]
    series = [("clean", [clean] * len(levels)), *one.map.items()]
    return lines(levels, series, f"{name}, {one.unit}", f"mAP by {name}, %", looks)
