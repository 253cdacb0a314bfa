"""`vocbench evaluate`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from vocbench.benchmarks.cli.messages import in_options
from vocbench.benchmarks.cli.options import Command, Named
from vocbench.pipeline.names import PROTOCOLS

if TYPE_CHECKING:
    from vocbench.detection.datasets.contract import Dataset
    from vocbench.detection.detections import Detections, Objects

FILE = click.Path(path_type=Path)


@contextmanager
def notes() -> Iterator[None]:
    """Print the warnings of the library on stderr, one line each."""
    import warnings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for text in dict.fromkeys(" ".join(str(one.message).split()) for one in caught):
        click.echo(f"Note: {in_options(text)}", err=True)


@click.command(
    "evaluate",
    cls=Command,
    examples=[
        "vocbench evaluate --detections found.json --data VOCdevkit/VOC2012 --split val",
        "vocbench evaluate --detections runs/detect/predict/labels --data yard/data.yaml --split val --protocol coco",
    ],
)
@click.option("--detections", required=True, type=FILE, help="File or folder: JSON, COCO results, the devkit's or YOLO's text.")
@click.option("--data", required=True, type=FILE, help="A VOC20xx folder, COCO's or vocbench's JSON, a YOLO data.yaml.")
@click.option("--split", help="Split, if there are several.")
@click.option("--protocol", default="voc07", show_default=True, type=Named("protocol", PROTOCOLS))
@click.option("--classes", help="Only these classes of the data set: a,b,c.")
@click.option("--categories", type=FILE, help="The detector's classes by number: COCO's JSON, a list of names, or a data.yaml.")
@click.option("--only-named", is_flag=True, help="Only photos that have an entry in the detections.")
@click.option("--upright", is_flag=True, help="Boxes count pixels after EXIF rotation; default: as stored.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate_command(detections, data, split, protocol, classes, categories, only_named, upright, as_json) -> None:
    """Compute the average precision of any detector's results under a named protocol.

    Detections are {image id: {"boxes": [[x1, y1, x2, y2]], "scores": [], "labels": ["dog"]}} in pixels from 0; COCO results,
    whose category_id is the data set's, or counts its classes from 1 (VOC's in alphabetical order); the devkit's
    comp4_det_test_*.txt; a folder of YOLO's text files with scores; or what export-predictions writes.
    """
    from vocbench.detection.average_precision import PROTOCOLS as MEANINGS
    from vocbench.detection.average_precision import evaluate
    from vocbench.detection.exchange import fit, read_categories

    with notes():
        dataset = _open(data, split, classes, upright)
        by_image, truth = _read(detections, dataset, read_categories(str(categories)) if categories else None)
    by_image, truth = _chosen(by_image, truth, only_named, f"{detections}: names none of the {len(truth)} photos of {data}")
    fitting = fit(by_image, truth)
    if fitting.odd:
        click.echo(
            f"Note: boxes fit {fitting.boxes} of {fitting.objects} objects, but only {fitting.classes} with the right class: "
            "the classes seem to be numbered differently; give the detector's with --categories FILE",
            err=True,
        )
    result = evaluate(by_image, truth, protocol, classes=dataset.classes)
    if as_json:
        click.echo(json.dumps({"protocol": protocol, "map": result.map, "ap": result.ap}))
        return
    click.echo(f"protocol {protocol}: {MEANINGS[protocol]}")
    for name, value in result.ap.items():
        click.echo(f"{name:12s} {'-' if value is None else f'{100 * value:5.1f}'}")
    click.echo(f"{'mAP':12s} {'-' if result.map is None else f'{100 * result.map:5.1f}'}")


def _chosen(
    found: dict[str, Detections], truth: dict[str, Objects], only_named: bool, none: str
) -> tuple[dict[str, Detections], dict[str, Objects]]:
    """Return what is evaluated: all photos, or those that the detections name; ValueError, which begins with `none`."""
    named = [image for image in truth if image in found]
    if only_named and not named:
        raise ValueError(f"{none}; check its ids")
    if only_named:
        return {image: found[image] for image in named}, {image: truth[image] for image in named}
    if len(named) < len(truth) and all(image in truth for image in found):
        click.echo(
            f"Note: the detections name {len(named)} of {len(truth)} photos; the others count as photos without detections "
            "(--only-named leaves them out)",
            err=True,
        )
    return found, truth


def _open(data: Path, split: str | None, classes: str | None, upright: bool) -> Dataset:
    """Return the data set with the classes that are asked for."""
    from dataclasses import replace

    from vocbench.detection.datasets.contract import choose_classes
    from vocbench.detection.datasets.read import find_splits, read_dataset

    splits = find_splits(data) if split is None else []
    if len(splits) > 1:
        raise click.UsageError(f"--split is needed: {data} has {', '.join(splits)}")
    dataset = replace(read_dataset(data, split), upright=upright)
    return choose_classes(dataset, [name.strip() for name in classes.split(",") if name.strip()]) if classes else dataset


def _read(detections: Path, dataset: Dataset, categories: dict[int, str] | None):
    """Return detections and objects by image id."""
    from vocbench.detection.datasets.contract import read_objects
    from vocbench.detection.exchange import Target, read_detections

    truth = read_objects(dataset)
    text_files = detections.is_dir() and not (detections / "detections.json").is_file()
    sizes = {image: dataset.size(image) for image in dataset.ids} if text_files else None
    known = categories or dataset.categories
    target = Target(dataset.ids, dataset.classes, dataset.numbers, known, sizes)
    return read_detections(detections, target), truth
