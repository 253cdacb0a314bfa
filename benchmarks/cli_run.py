"""`vocbench run` and `vocbench evaluate`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click
from vocbench.benchmarks.run import run as run_benchmark
from vocbench.benchmarks.settings import RunSettings
from vocbench.detection.average_precision import PROTOCOLS
from vocbench.restorer.degradations import RECIPES

SAMPLE_DRAWS = 4  # degradations of each of the few photos of the sample
SAMPLE_NOTE = (
    "The sample is a demonstration on a handful of photos, not a benchmark: its numbers say that the chain works, "
    "not how well. Use --data with a VOC20xx folder for numbers to quote."
)


def choose_device(device: str) -> str:
    """`auto` is CUDA where there is a GPU; a device that is not there is refused."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device {device}: PyTorch sees no CUDA GPU here; use --device cpu")
    try:
        torch.device(device)
    except RuntimeError:
        raise ValueError(f"--device {device}: expected auto, cpu, cuda or cuda:N") from None
    return device


def model_options(command: Callable) -> Callable:
    """Options of every command that builds a restorer."""
    options = [
        click.option("--tile", metavar="SIZE:STRIDE|whole", help="Cutting policy in pixels; default: the weights' own."),
        click.option("--engine", default="auto", show_default=True, help="How the restorer is executed."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."),
        click.option("--batch", default=16, show_default=True, help="Tiles at a time."),
        click.option("--trust-weights", is_flag=True, help="Allow weights that run code when loaded (ultralytics' .pt)."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.option("--data", default="sample", show_default=True, metavar="sample|DIR", help="A VOC20xx folder, or the sample.")
@click.option("--split", help="Image set of the folder, such as val or test; the sample has only `all`.")
@click.option("--recipe", default="voc", show_default=True, help=f"Distortion: {', '.join(RECIPES)}.")
@click.option("--restorer", "restorers", multiple=True, metavar="[LABEL=]NAME[:WEIGHTS]", help="Repeatable; default owan.")
@click.option(
    "--detector", "detectors", multiple=True, metavar="[LABEL=]NAME[:WEIGHTS]", help="Repeatable; default mobilenet-ssd."
)
@click.option("--protocol", default="voc07", show_default=True, type=click.Choice(list(PROTOCOLS)), help="Average precision.")
@click.option("--seed", default=0, show_default=True, help="Of the drawn levels and the noise.")
@click.option("--draws", type=int, help=f"Degradations of each photo; default 1, for the sample {SAMPLE_DRAWS}.")
@click.option("--limit", type=int, metavar="N", help="Only the first N photos.")
@click.option("--do-no-harm", is_flag=True, help="Also restore the clean photos and detect on them.")
@click.option("--workers", default=0, show_default=True, help="Processes that read and degrade; 0: a thread.")
@click.option("--unit", default=8, show_default=True, help="Photos computed and stored together.")
@click.option("--examples", default=6, show_default=True, help="Photos shown side by side in examples/.")
@click.option(
    "--on-error", default="stop", show_default=True, type=click.Choice(["stop", "skip"]), help="When a restorer fails."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the results; default runs/TIME-RECIPE.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--quiet", is_flag=True, help="No progress, no table.")
@model_options
def run(split, restorers, detectors, draws, workers, out, resume, quiet, device, **given) -> None:
    """Distort photos, restore them, detect, and report mAP per class.

    Without options it runs the built-in sample. Variants: clean, distorted, and one per --restorer.
    """
    sample = given["data"] == "sample"
    settings = RunSettings(
        split=split or ("all" if sample else _only_split(given["data"])),
        restorers=restorers or ("owan",),
        detectors=detectors or ("mobilenet-ssd",),
        draws=draws or (SAMPLE_DRAWS if sample else 1),
        device=choose_device(device),
        **given,
    )
    if not sample:  # a resumed run may be started from another folder
        settings = RunSettings(**{**settings.__dict__, "data": str(Path(settings.data).resolve())})
    out = out or Path("runs") / time.strftime(f"%Y%m%d-%H%M%S-{settings.recipe}")
    try:
        with ExitStack() as stack:
            progress = None if quiet else _progress(stack)
            run_benchmark(settings, out, resume, workers, progress)
    except KeyboardInterrupt:
        click.echo(f"Interrupted; what is done is kept. Go on with the same command and --out {out} --resume.", err=True)
        sys.exit(130)
    if quiet:
        return
    for table in sorted(out.glob("table*.md"), key=lambda path: (len(path.name), path.name)):
        click.echo(table.read_text())
    if sample:
        click.echo(SAMPLE_NOTE)
    click.echo(f"Results in {out}")


def _only_split(data: str) -> str:
    from vocbench.detection.voc import list_splits

    names = list_splits(Path(data))
    if len(names) == 1:
        return names[0]
    raise click.UsageError(f"--split is needed: {data} has {', '.join(names) or 'no splits'}")


def _progress(stack: ExitStack) -> Callable[[int, int], Callable[[int], None]]:
    """A bar with rate and time left on a terminal, nothing elsewhere."""

    def begin(total: int, done: int) -> Callable[[int], None]:
        if not sys.stderr.isatty():
            return lambda photos: None
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (TextColumn("photos"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
                   TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
        bar = stack.enter_context(Progress(*columns, console=Console(stderr=True)))
        task = bar.add_task("", total=total, completed=done, rate="")
        begun, state = time.monotonic(), {"photos": 0}

        def advance(photos: int) -> None:
            state["photos"] += photos
            rate = state["photos"] / max(time.monotonic() - begun, 1e-9)
            bar.update(task, advance=photos, rate=f"{rate:.2f}/s")

        return advance

    return begin


@click.command("evaluate")
@click.option("--detections", required=True, type=click.Path(path_type=Path), help="JSON: by image id, or COCO results.")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="A VOC20xx folder or a JSON of annotations.")
@click.option("--split", help="Image set; for a JSON of annotations optional.")
@click.option("--protocol", default="voc07", show_default=True, type=click.Choice(list(PROTOCOLS)))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate_command(detections: Path, data: Path, split: str | None, protocol: str, as_json: bool) -> None:
    """Average precision of any detector's results under a named protocol."""
    from vocbench.detection.average_precision import evaluate
    from vocbench.detection.exchange import read_detections
    from vocbench.detection.voc import read_annotations_json, read_voc

    if data.suffix == ".json":
        truth = read_annotations_json(data, split)
    else:
        found = read_voc(data, split or _only_split(str(data)))
        truth = {image: found.objects(image) for image in found.ids}
    result = evaluate(read_detections(detections, list(truth)), truth, protocol)
    if as_json:
        click.echo(json.dumps({"protocol": protocol, "map": result.map, "ap": result.ap}))
        return
    click.echo(f"protocol {protocol}: {PROTOCOLS[protocol]}")
    for name, value in result.ap.items():
        click.echo(f"{name:12s} {'-' if value is None else f'{100 * value:5.1f}'}")
    click.echo(f"{'mAP':12s} {'-' if result.map is None else f'{100 * result.map:5.1f}'}")
