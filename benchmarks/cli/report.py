"""`vocbench report`, `compare`, `runs`, `export-predictions` and `doctor`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from vocbench.benchmarks.cli.machine import facts
from vocbench.benchmarks.cli.options import Command, Named, json_option
from vocbench.benchmarks.cli.show import show
from vocbench.restorer.files import make_folder, write_whole

if TYPE_CHECKING:
    from vocbench.benchmarks.results.finished import Finished

FOLDER = click.Path(path_type=Path)


@click.command(cls=Command, examples=["vocbench report runs/first"])
@click.argument("runs", nargs=-1, required=True, type=FOLDER)
def report(runs: tuple[Path, ...]) -> None:
    """Write every output of finished runs again, from their stores."""
    from vocbench.benchmarks.reporting.outputs import write_outputs

    for folder in runs:
        for detector in write_outputs(folder):
            click.echo(f"{folder}: {detector}")


@click.command(cls=Command, examples=["vocbench leaderboard runs/first runs/second --out leaderboard.html"])
@click.argument("runs", nargs=-1, required=True, type=FOLDER)
@click.option("--out", default="leaderboard.html", show_default=True, type=FOLDER, help="The page; an older one is replaced.")
@json_option
def leaderboard(runs: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Show runs on the same photos in one page: mAP with its interval against milliseconds per photo."""
    from dataclasses import asdict

    from vocbench.benchmarks.reporting.leaderboard import markdown, write_leaderboard

    standings = write_leaderboard(runs, out)
    if as_json:
        click.echo(json.dumps({"out": str(out), "standings": [asdict(one) for one in standings]}))
        return
    show(markdown(standings))
    click.echo(f"wrote {out}")


@click.command(cls=Command, examples=["vocbench compare runs/first runs/second --variant owan"])
@click.argument("run_a", type=FOLDER)
@click.argument("run_b", type=FOLDER)
@click.option("--variant", help="Variant of both runs; default: the only restored one, else distorted.")
@click.option("--variant-a", help="Variant of the first run.")
@click.option("--variant-b", help="Variant of the second run.")
@click.option("--detector", help="Detector to compare under; default: the first run's first.")
@click.option("--seed", default=0, show_default=True, help="Seed of the bootstrap.")
@json_option
def compare(run_a, run_b, variant, variant_a, variant_b, detector, seed, as_json) -> None:
    """Show B minus A per class, with a paired bootstrap interval over photos, and whether it is more than chance."""
    from dataclasses import asdict

    from vocbench.benchmarks.results.compare import differences, open_runs

    a, b = open_runs(run_a, run_b)
    first, second = variant_a or variant or _restored(a), variant_b or variant or _restored(b)
    by_class = differences(a, b, first, second, detector or a.detectors[0], seed)
    if as_json:
        listing = {name: asdict(one) | {"distinguishable": one.distinguishable} for name, one in by_class.items()}
        click.echo(
            json.dumps({"a": str(run_a), "b": str(run_b), "variant_a": first, "variant_b": second, "difference": listing})
        )
        return
    click.echo(f"A: {run_a} {first}\nB: {run_b} {second}\nB - A in points of AP, 95 % interval, each class judged alone")
    for name, one in by_class.items():
        if one.value is None:
            continue
        word = "distinguishable" if one.distinguishable else "not distinguishable from chance"
        if one.low is None or one.high is None:
            click.echo(f"{name:12s} {100 * one.value:+6.1f}  {'':16s}  too few photos to tell ({one.photos})")
            continue
        bounds = f"[{100 * one.low:+6.1f}, {100 * one.high:+6.1f}]"
        click.echo(f"{name:12s} {100 * one.value:+6.1f}  {bounds}  {word} ({one.photos} photos)")


def _restored(run) -> str:
    from vocbench.benchmarks.variants import base, restored

    names = restored(run.variants)
    return names[0] if len(names) == 1 else base(run.variants)


@click.command(cls=Command, examples=["vocbench runs", "vocbench runs --root results --json"])
@click.option("--root", default="runs", show_default=True, type=FOLDER, help="Folder to search.")
@json_option
def runs(root: Path, as_json: bool) -> None:
    """List runs with their headline."""
    from vocbench.benchmarks.results.listing import Unreadable, runs_below
    from vocbench.benchmarks.settings import to_json

    listed = runs_below(root)
    if as_json:
        click.echo(to_json(listed))
        return
    if not listed:
        click.echo(f"no runs below {root}")
    for one in listed:
        if isinstance(one, Unreadable):
            click.echo(f"{one.folder}  unreadable: {' '.join(one.unreadable.split())}")
            continue
        maps = ", ".join(f"{name} {'–' if v is None else f'{100 * v:.1f}'}" for name, v in one.map.items())
        click.echo(f"{one.folder}  {one.data}, {one.photos} photos, {one.recipe}, {one.protocol}: {maps or 'not finished'}")
        if one.headline:
            click.echo(f"    {one.headline}")


def _coco(run: Finished, detections: dict, objects: dict) -> dict[str, str]:
    from vocbench.detection.coco import to_coco_ground_truth, to_coco_results

    return {
        "detections.json": json.dumps(to_coco_results(detections, list(detections))),
        "annotations.json": json.dumps(to_coco_ground_truth(objects, run.classes)),
    }


def _devkit(run: Finished, detections: dict, objects: dict) -> dict[str, str]:
    from vocbench.detection.exchange import devkit_file, to_devkit

    return {devkit_file(name): text for name, text in to_devkit(detections, run.classes).items()}


def _json(run: Finished, detections: dict, objects: dict) -> dict[str, str]:
    from vocbench.detection.exchange import to_json

    return {"detections.json": json.dumps(to_json(detections, run.classes))}


def _yolo(run: Finished, detections: dict, objects: dict) -> dict[str, str]:
    from vocbench.detection.exports import yolo_files

    return yolo_files(detections, _sizes(_photos(run, detections), run.settings.upright), run.classes)


def _fiftyone(run: Finished, detections: dict, objects: dict) -> dict[str, str]:
    from vocbench.detection.exports import fiftyone_files

    photos = _photos(run, detections)
    return fiftyone_files(detections, objects, _sizes(photos, run.settings.upright), run.classes, photos)


def _photos(run: Finished, detections: dict) -> dict[str, Path]:
    """Return the photo's path for each image of a run; with several draws per photo, images are called ID#DRAW."""
    from vocbench.benchmarks.sample import open_data

    data = open_data(run.settings.data, run.settings.split, run.settings.upright)
    there = set(data.ids)
    return {name: data.photo(name if name in there else name.rpartition("#")[0]).resolve() for name in detections}


def _sizes(photos: dict[str, Path], upright: bool) -> dict[str, tuple[int, int]]:
    """Return width and height of each photo in pixels."""
    from vocbench.detection.datasets.files import photo_size

    by_path = {path: photo_size(path, upright) for path in set(photos.values())}
    return {name: by_path[path] for name, path in photos.items()}


FORMS = {"coco": _coco, "voc": _devkit, "json": _json, "yolo": _yolo, "fiftyone": _fiftyone}


@click.command(
    "export-predictions",
    cls=Command,
    examples=["vocbench export-predictions runs/first --format coco --variant owan --out predictions"],
)
@click.argument("run", type=FOLDER)
@click.option("--format", "form", type=Named("format", tuple(FORMS)), required=True, help="Format of the files.")
@click.option("--variant", help="Variant to export; default: distorted, or as-is.")
@click.option("--detector", help="Detector to export; default: the run's first.")
@click.option("--out", required=True, type=FOLDER, help="Folder of the files; made if missing.")
def export_predictions(run: Path, form: str, variant: str, detector: str | None, out: Path) -> None:
    """Write a run's predictions for other programs.

    coco: results with their ground truth; voc: the devkit's files; json: by image id; yolo: a text file per image, with
    scores; fiftyone: labels of FiftyOneImageDetectionDataset. With several draws per photo, images are called ID#DRAW.
    """
    from vocbench.benchmarks.results.finished import load_run, predictions

    finished = load_run(run)
    from vocbench.benchmarks.variants import base

    variant = variant or base(finished.variants)
    if variant not in finished.variants:
        raise ValueError(f"{run}: has no variant {variant!r}; there are {', '.join(finished.variants)}")
    if detector is not None and detector not in finished.detectors:
        raise ValueError(f"{run}: has no detector {detector!r}; there are {', '.join(finished.detectors)}")
    detections, truth, _ = predictions(finished, variant, detector or finished.detectors[0])
    single = all(key.endswith("#0") for key in detections)
    named = {key.removesuffix("#0") if single else key: value for key, value in detections.items()}
    objects = {key.removesuffix("#0") if single else key: value for key, value in truth.items()}
    files = FORMS[form](finished, named, objects)
    there = next((out / name for name in files if (out / name).exists()), None)
    if there:
        raise ValueError(f"{there}: already there; choose another --out")
    for name, text in files.items():
        make_folder((out / name).parent)
        write_whole(out / name, text.encode())
    click.echo(f"{len(files)} files in {out}")


@click.command(cls=Command, examples=["vocbench doctor", "vocbench doctor --json"])
@json_option
def doctor(as_json: bool) -> None:
    """Show device, versions, caches, and which optional packages are installed."""
    machine = facts()
    if as_json:
        click.echo(json.dumps(machine, indent=2))
        return
    for name, value in machine.items():
        if not isinstance(value, dict):
            click.echo(f"{name}: {value}")
            continue
        click.echo(f"{name}:")
        for key, one in value.items():
            click.echo(f"  {key}: {'yes' if one is True else 'no' if one is False else one}")
