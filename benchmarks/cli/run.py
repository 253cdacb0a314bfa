"""`vocbench run` and `vocbench sweep`: their options, and what they print during and after a run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from vocbench.benchmarks.cli.options import (
    DETECTOR,
    RESTORER,
    Command,
    Named,
    model_options,
    only_split,
    read_config,
    restore_at_option,
    unknown,
)
from vocbench.benchmarks.cli.progress import EVERY, Progress
from vocbench.benchmarks.cli.show import show
from vocbench.benchmarks.reporting.trackers import TRACKERS, check_trackers, write_to
from vocbench.benchmarks.results.schema import read_results
from vocbench.benchmarks.results.sentences import headline
from vocbench.benchmarks.running.meter import STORED
from vocbench.benchmarks.settings import RunSettings, plain
from vocbench.benchmarks.storage.run_folder import RunFolder, check_resumed
from vocbench.pipeline.names import DEFAULT_RESTORER, DEGRADATIONS, PROTOCOLS, RECIPES
from vocbench.pipeline.specs import choose_device

if TYPE_CHECKING:
    from vocbench.benchmarks.running.local_workers import Runner

SAMPLE_DRAWS = 4  # degradations of each of the few photos of the sample
SAMPLE_NOTE = (
    "The sample is a demonstration on a handful of photos, not a benchmark: its numbers say that the chain works, "
    "not how well. Use --data with a VOC20xx folder for numbers to quote."
)


def run_options(command: Callable) -> Callable:
    """Add the options of the commands that run the benchmark, those of `Session` as the command's first argument."""
    options = [
        click.option("--config", type=click.Path(path_type=Path), is_eager=True, expose_value=False, callback=read_config,
                     metavar="FILE.yaml", help="Options from a file; those given here override it."),
        click.option("--data", default="sample", show_default=True, metavar="sample|DIR|FILE",
                     help="A VOC20xx folder, COCO's JSON, a YOLO data.yaml, or photos and XML in one folder."),
        click.option("--split", help="Split, such as val or test; the sample has only `all`."),
        click.option("--classes", type=Classes(), help="Classes to evaluate, a,b,c, or a file that lists or renames them."),
        click.option("--upright", is_flag=True, help="Boxes count pixels after EXIF rotation; default: as stored."),
        click.option("--restorer", "restorers", multiple=True, type=RESTORER,
                     help=f"Restorer to measure; repeatable; default {DEFAULT_RESTORER}."),
        click.option("--detector", "detectors", multiple=True, type=DETECTOR,
                     help="Detector to use; repeatable; default mobilenet-ssd."),
        click.option("--protocol", default="voc07", show_default=True, type=Named("protocol", PROTOCOLS),
                     help="Protocol of average precision."),
        click.option("--seed", default=0, show_default=True, help="Seed of the drawn levels and the noise."),
        click.option("--draws", type=click.IntRange(1), metavar="N",
                     help=f"Degraded versions of each photo; default 1, for the sample {SAMPLE_DRAWS}."),
        click.option("--skip", default=0, show_default=True, type=click.IntRange(0), metavar="N",
                     help="Leave out the first N photos of the split: --skip 200 --limit 500 runs on photos 201 to 700."),
        click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N photos, of those not skipped."),
        click.option("--do-no-harm", is_flag=True, help="Also restore the clean photos and detect on them."),
        restore_at_option,
        click.option("--workers", default=0, show_default=True, type=click.IntRange(0),
                     help="Processes that read and degrade (0: a thread); with --runner ray, its actors (0: as many as fit)."),
        click.option("--runner", default="here", show_default=True, type=Named("runner", ("here", "ray")),
                     help="Compute in this process, or by actors on Ray."),
        click.option("--ray-address", help="A running cluster (auto, ray://HOST:PORT); default: start Ray on this machine."),
        click.option("--gpus-per-worker", type=float, help="GPUs of each actor on Ray; default 1 on CUDA."),
        click.option("--cpus-per-worker", type=float, help="Cores of each actor on Ray; default an equal share."),
        click.option("--store", metavar="DIR|URL", help="Where predictions go, such as s3://bucket/run; default --out/store."),
        click.option("--unit", default=8, show_default=True, type=click.IntRange(1), metavar="N",
                     help="Photos computed and stored together."),
        click.option("--examples", default=6, show_default=True, type=click.IntRange(0), metavar="N",
                     help="Photos shown side by side in examples/."),
        click.option("--on-error", default="stop", show_default=True, type=Named("choice", ("stop", "skip")),
                     help="What to do when a restorer fails."),
        click.option("--resume", is_flag=True, help="Resume the run in --out."),
        click.option("--accept-changes", is_flag=True,
                     help="Resume even if versions, code, hardware or your own models changed since the run began."),
        click.option("--quiet", is_flag=True, help="Print no progress and no table."),
        click.option("--verbose", is_flag=True, help="Print the settings, and the progress after every few images."),
    ]  # fmt: skip
    command = _with_session(command)
    for option in reversed(options):
        command = option(command)
    return model_options(command)


class Classes(click.ParamType):
    """Class names, or a file of them, passed on as JSON."""

    name = "a,b,c|FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from vocbench.benchmarks.classes import parse_choice

        try:
            return parse_choice(str(value))
        except (ValueError, OSError) as error:
            self.fail(str(error), param, ctx)


@dataclass(frozen=True)
class Session:
    """How a run is computed: where, what it resumes and what is shown. None of it changes a result.

    `run_options` fills it with the options of the same names.
    """

    runner: str
    workers: int
    ray_address: str | None
    gpus_per_worker: float | None
    cpus_per_worker: float | None
    store: str | None
    resume: bool
    accept_changes: bool
    quiet: bool
    verbose: bool

    @property
    def on_ray(self) -> bool:
        """Return whether workers on Ray compute."""
        return self.runner == "ray"

    def check(self) -> None:
        """Raise UsageError for options of Ray's without Ray."""
        of_ray = ("ray_address", "gpus_per_worker", "cpus_per_worker")
        alone = [name for name in of_ray if getattr(self, name) is not None and not self.on_ray]
        if alone:
            raise click.UsageError(f"--{alone[0].replace('_', '-')} needs --runner ray")

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the library's functions that compute a run or a sweep; imports what computes."""
        return {"resume": self.resume, "runner": self._runner(), "store": self.store, "accept_changes": self.accept_changes}

    def _runner(self) -> Runner:
        if not self.on_ray:
            from vocbench.benchmarks.running.local_workers import Here

            return Here(self.workers)
        from vocbench.benchmarks.running.ray_workers import OnRay

        return OnRay(self.ray_address, self.workers, self.gpus_per_worker, self.cpus_per_worker)


def _with_session(command: Callable) -> Callable:
    """Return the command with the options of `Session` gathered into its first argument."""
    names = [field.name for field in fields(Session)]

    @wraps(command)
    def gathered(**given: Any) -> Any:
        session = Session(**{name: given.pop(name) for name in names})
        session.check()
        return command(session, **given)

    return gathered


def make_settings(
    split: str | None, restorers, detectors, draws: int | None, device: str, elsewhere: bool = False, **given
) -> RunSettings:
    """Return the settings of a run with the sample's and the data's defaults filled in."""
    sample = given["data"] == "sample"
    if not sample:  # a resumed run may be started from another folder
        given["data"] = str(Path(given["data"]).resolve())
    return RunSettings(
        split=split or ("all" if sample else only_split(given["data"])),
        restorers=tuple(restorers) or (DEFAULT_RESTORER,),
        detectors=tuple(detectors) or ("mobilenet-ssd",),
        draws=draws if draws is not None else (SAMPLE_DRAWS if sample else 1),
        device="cuda" if elsewhere and device.startswith("cuda") else choose_device(device),  # a worker gets one from Ray
        **given,
    )


@contextmanager
def progress_of(settings: RunSettings, out: Path, session: Session) -> Iterator[Callable | None]:
    """Show the settings and progress of a run as the session asks; after an interruption, say how to resume."""
    if session.verbose:
        for name, value in plain(settings).items():
            click.echo(f"{name}: {value}", err=True)
    try:
        with ExitStack() as stack:
            yield None if session.quiet else _progress(stack, out, session.verbose)
    except KeyboardInterrupt:
        kept = f"finished photos are kept. Continue with the same command plus --out {out} --resume."
        click.echo(f"Interrupted; {kept if out.exists() else 'nothing was computed yet.'}", err=True)
        sys.exit(130)


@click.command(
    cls=Command,
    examples=[
        "vocbench run",
        "vocbench run --data VOCdevkit/VOC2012 --split val --limit 100 --restorer owan --restorer dncnn --out runs/first",
        "vocbench run --data VOCdevkit/VOC2012 --split val --out runs/first --resume",
    ],
)
@click.option(
    "--recipe",
    default="voc",
    show_default=True,
    type=Named("recipe", (*RECIPES, "none")),
    help="Degradations to apply; none takes photos that are already degraded.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the results; default runs/TIME-RECIPE.")
@click.option(
    "--track",
    multiple=True,
    type=Named("tracker", tuple(TRACKERS)),
    help="Experiment tracker that also gets the results; repeatable.",
)
@run_options
def run(session: Session, out: Path | None, track: tuple[str, ...], **given) -> None:
    """Distort photos, restore them, detect, and report mAP per class.

    Without options it runs the built-in sample. Variants: clean, distorted, and one per --restorer.
    """
    check_trackers(track)
    out = _folder(out, given["recipe"], session.resume)
    settings = make_settings(**given, elsewhere=session.on_ray)
    from vocbench.benchmarks.experiments.run import run as run_benchmark

    with progress_of(settings, out, session) as progress:
        run_benchmark(settings, out, progress=progress, **session.arguments())
    for name in track:
        write_to(name, out)
    if session.quiet:
        return
    folder = RunFolder(out)
    for table in folder.all_tables():
        show(table.read_text())
    if settings.data == "sample":
        click.echo(SAMPLE_NOTE)
    click.echo(headline(read_results(folder.results())))
    click.echo(f"Results in {out}; the report is {folder.report()}")


class Degradation(click.ParamType):
    """NAME=LEVEL,… or `corruptions`, checked and passed on as text."""

    name = "NAME=LEVEL,…|corruptions"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        name, _, levels = str(value).partition("=")
        if name == "corruptions" and not levels:
            return value
        known = (*DEGRADATIONS, "corruptions")
        if name not in DEGRADATIONS and not name.startswith("corruption:"):
            self.fail(unknown("degradation", name, known, ", ".join(known)), param, ctx)
        try:
            [float(level) for level in levels.split(",")]
        except ValueError:
            self.fail(f"{value!r}: expected NAME=LEVEL,… such as noise=10,20,30", param, ctx)
        return value


@click.command(
    cls=Command,
    examples=["vocbench sweep --data VOCdevkit/VOC2012 --split val --degradation noise=10,20,30 --degradation blur=1,2,4"],
)
@click.option(
    "--degradation", "degradations", multiple=True, required=True, type=Degradation(),
    help="Levels to run: noise=10,20,30, blur=…, jpeg=…, motion=…, corruption:snow=1,3, or the common corruptions; repeatable.",
)  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the runs; default runs/TIME-sweep.")
@run_options
def sweep(session: Session, degradations: tuple[str, ...], out: Path | None, **given) -> None:
    """Report mAP at fixed degradation levels, with the means mPC and rPC of the robustness benchmarks."""
    out = _folder(out, "sweep", session.resume)
    settings = make_settings(**given, recipe="clean", elsewhere=session.on_ray)
    from vocbench.benchmarks.experiments import sweep as sweeping

    levels = sweeping.parse_degradations(degradations)
    with progress_of(settings, out, session) as progress:
        content = sweeping.sweep(settings, levels, out, progress=progress, **session.arguments())
    if not session.quiet:
        show(sweeping.to_markdown(content))
        click.echo(f"Results in {out}")


def _folder(out: Path | None, suffix: str, resume: bool) -> Path:
    """Return the folder of the results: --out, or a new one. Raises if there is nothing to --resume."""
    if out is not None:
        if resume:
            check_resumed(out)
        return out
    if resume:
        raise click.UsageError("--resume needs --out, the folder of the run to resume")
    return Path("runs") / time.strftime(f"%Y%m%d-%H%M%S-{suffix}")


def _progress(stack: ExitStack, out: Path, verbose: bool) -> Callable[[int, int], Callable[[float, str], None]]:
    """Return the progress callback of a run; it also names the folder once the first photos are stored."""

    def begin(total: int, done: int) -> Callable[[float, str], None]:
        shown = stack.enter_context(Progress(total, done, every=0 if verbose else EVERY))
        announced: list[Path] = []

        def advance(photos: float, variant: str) -> None:
            if not announced and variant.endswith(STORED):
                announced.append(out)
                click.echo(f"results go to {out}", err=True)  # a run that is killed is resumed from there
            shown.advance(photos, variant)

        return advance

    return begin
