"""How a run's time is divided if its restorer takes 4 ms per photo, as on a GPU: a stand-in that only waits.

python -m vocbench.benchmarks.experiments.stand_in --data VOCdevkit/VOC2012 --split val --limit 100 --workers 2

The shares are those of results.json: what the main process did or waited for, and below what workers did beside it. While it
waits for `prepare`, they read, degrade and measure; `measure` is what it waits for at the end, when nothing is left to prepare.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click
import torch
from torch import Tensor, nn
from vocbench.benchmarks.experiments.run import run
from vocbench.benchmarks.results.schema import Results, read_results
from vocbench.benchmarks.running.local_workers import Here
from vocbench.benchmarks.settings import RunSettings
from vocbench.benchmarks.storage.records import SPENT, WORKED
from vocbench.benchmarks.storage.run_folder import RunFolder
from vocbench.detection.detections import Detections

SECONDS = 0.004  # a photo
MODULE = "vocbench.benchmarks.experiments.stand_in"


class Restorer(nn.Module):
    """Wait `SECONDS` for each photo and return it unchanged."""

    def forward(self, images: Tensor) -> Tensor:
        time.sleep(SECONDS * len(images))
        return images


class Detector(nn.Module):
    """Return no detections, at once."""

    def forward(self, images: list[Tensor]) -> list[Detections]:
        return [Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64)) for _ in images]


def measured(data: str, split: str, limit: int | None, recipe: str, workers: int, out: Path) -> Results:
    """Run with the stand-ins into `out` and return its results."""
    settings = RunSettings(data, split, recipe, (f"stand-in={MODULE}:Restorer",), (f"nothing={MODULE}:Detector",),
                           limit=limit, examples=0)  # fmt: skip
    run(settings, out, runner=Here(workers))
    return read_results(RunFolder(out).results())


def lines(results: Results) -> list[str]:
    """Return the shares as text; time in no stage is the main process's own: sending, receiving, writing, starting."""
    busy = {name: value or 0 for name, value in results.busy.items()}
    named = {stage: busy[stage] for stage in SPENT}
    named["other"] = 1 - sum(named.values())
    shares = [f"{name:8s} {100 * share:5.1f} %" for name, share in named.items()]
    whole = sum(busy[name] for name in WORKED) or 1.0
    shares += [f"of the workers' time: {name.removeprefix('workers_'):8s} {100 * busy[name] / whole:5.1f} %" for name in WORKED]
    photos = f"{1000 * busy['wall_seconds'] / results.dataset.images:.1f} ms a photo"
    return [*shares, f"{photos}, of which the restorer took {1000 * SECONDS:.0f}"]


@click.command()
@click.option("--data", default="sample", show_default=True, metavar="sample|DIR", help="A VOC20xx folder.")
@click.option("--split", default="all", show_default=True)
@click.option("--limit", type=click.IntRange(1), help="Only the first N photos.")
@click.option("--recipe", default="voc", show_default=True)
@click.option("--workers", default=2, show_default=True, type=click.IntRange(0))
def main(data: str, split: str, limit: int | None, recipe: str, workers: int) -> None:
    """Show the shares of a run's time with a restorer of 4 ms a photo."""
    with tempfile.TemporaryDirectory() as folder:
        results = measured(data, split, limit, recipe, workers, Path(folder) / "out")
    for line in lines(results):
        click.echo(line)


if __name__ == "__main__":
    main()
