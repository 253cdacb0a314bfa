"""leaderboard.html: several runs on the same photos, mAP against the time per photo, in one file that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vocbench.benchmarks.reporting import summary
from vocbench.benchmarks.reporting.charts import Cost, tradeoff
from vocbench.benchmarks.reporting.looks import look_places
from vocbench.benchmarks.reporting.page import environment
from vocbench.benchmarks.reporting.tables import percent
from vocbench.benchmarks.results.standings import Standing, standings
from vocbench.benchmarks.storage.records import RunRecord
from vocbench.benchmarks.storage.run_folder import RunFolder
from vocbench.benchmarks.words import counted
from vocbench.restorer.files import write_whole

GENERATOR = "vocbench leaderboard"


def write_leaderboard(folders: Sequence[Path], out: Path) -> list[Standing]:
    """Write the page of these runs to `out` and return what it shows; a file that is no leaderboard is left as it is."""
    if out.exists() and not _is_own(out):
        raise ValueError(f"{out}: already there and no leaderboard; choose another `out`")
    found, record = standings(folders), RunFolder(folders[0]).read_record()
    write_whole(out, render(found, describe(record), summary.caveat(record.dataset.images)).encode())
    return found


def _is_own(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return f'content="{GENERATOR}"'.encode() in file.read(4096)


def describe(record: RunRecord) -> str:
    """Return what all runs have in common, from the run.json of one of them."""
    settings, data = record.settings, record.dataset
    recipe = settings.recipe if settings.levels is None else f"levels {settings.levels}"
    photos = counted(data.images, "photo")
    return f"{data.name} {settings.split}, {photos}, recipe {recipe}, seed {settings.seed}, protocol {settings.protocol}"


def markdown(found: Sequence[Standing]) -> str:
    """Return the table as Markdown."""
    head = ["", "run", "mAP, %", "95 % interval", "change, points", "regained", "ms per photo"]
    lines = [_line(head), _line(["---", "---", *["---:"] * (len(head) - 2)])]
    return "\n".join([*lines, *(_line([one.label, one.run, *_numbers(one)]) for one in found)]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _numbers(one: Standing) -> list[str]:
    return [
        percent(one.map),
        summary.short_interval(one.interval),
        "" if one.change is None else f"{100 * one.change:+.1f}",
        "" if one.recovered is None else summary.share_text(one.recovered),
        "–" if one.milliseconds is None else f"{one.milliseconds:.0f}",
    ]


def render(found: Sequence[Standing], ground: str, caveat: str = "") -> str:
    """Return the page as HTML."""
    looks = look_places([one.label for one in sorted(found, key=lambda one: one.place)])
    costs = [
        Cost(one.label, one.milliseconds, one.map, *one.interval) for one in found if one.map is not None and one.milliseconds
    ]
    hardware = list(dict.fromkeys(one.hardware for one in found))
    page = environment().get_template("leaderboard.html")
    return page.render(
        generator=GENERATOR,
        found=found,
        ground=ground,
        caveat=caveat,
        looks=looks,
        chart=tradeoff(costs, "mAP against time", looks, wide=True) if costs else None,
        hardware=hardware,
        detectors=list(dict.fromkeys(one.detector for one in found)),
        summary=summary,
    )
