"""`vocbench restore` and `vocbench detect`: a user's own photos."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
from vocbench.benchmarks.cli.options import DETECTOR, RESTORER, choose_device, model_options
from vocbench.pipeline.specs import Options
from vocbench.restorer.files import make_folder

FILES = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))


def _options(tile, engine, device, batch, trust_weights) -> Options:
    options = Options(tile, engine, choose_device(device), batch, trust_weights)
    options.check()
    return options


def _outputs(files: tuple[Path, ...], out: Path, suffix: str = ".png") -> list[Path]:
    """Where each file's result goes; never onto a file, never two into one."""
    made = [out / f"{path.stem}{suffix}" for path in files]
    inputs = {path.resolve() for path in files}
    for path, target in zip(files, made, strict=True):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such photo")
        if made.count(target) > 1:
            raise ValueError(f"{path}: another of the photos is also called {path.stem}; restore them into separate folders")
        if target.resolve() in inputs:
            raise ValueError(f"{target}: would overwrite a photo; choose another --out")
        if target.exists():
            raise ValueError(f"{target}: already there; choose another --out")
    return made


def _check(files: tuple[Path, ...]) -> None:
    """Raise for a file that is no photo or a damaged one, before anything is written."""
    from vocbench.restorer.images import check_image

    for path in files:
        check_image(path)


def _reader(restorer: str | None, options: Options) -> Callable:
    """What reads the photo of a path, upright, and restores it where a restorer is named."""
    from vocbench.pipeline.chain import restore_photo
    from vocbench.restorer.images import read_image

    read = partial(read_image, upright=True)
    if restorer is None:
        return read
    from vocbench.pipeline.models import build_restorer, parse_restorer

    spec = parse_restorer(restorer)
    model = build_restorer(spec, options)
    return lambda path: restore_photo(spec.label, model, str(path), read(path))


@click.command()
@FILES
@click.option("--restorer", default="owan", show_default=True, type=RESTORER)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the restored photos (PNG).")
@model_options
def restore(files: tuple[Path, ...], restorer: str, out: Path, **given) -> None:
    """Restore photos (JPEG or PNG) at their own size, upright where EXIF says how."""
    targets = _outputs(files, out)
    from vocbench.restorer.images import write_image

    _check(files)
    read = _reader(restorer, _options(**given))
    make_folder(out)
    for path, target in zip(files, targets, strict=True):
        write_image(target, read(path))
        click.echo(f"{path} -> {target}")


@click.command()
@FILES
@click.option("--restorer", type=RESTORER, help="Restore the photos first.")
@click.option("--detector", default="mobilenet-ssd", show_default=True, type=DETECTOR)
@click.option("--score", default=0.3, show_default=True, help="Boxes below it are left out.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for copies (PNG) with the boxes drawn; without it, none.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object by file.")
@model_options
def detect(files, restorer, detector, score, out, as_json, **given) -> None:
    """Detect objects in photos, print them, and draw them with --out."""
    targets = _outputs(files, out) if out else [None] * len(files)
    if missing := [path for path in files if not path.is_file()]:
        raise FileNotFoundError(f"{missing[0]}: no such photo")
    from vocbench.detection.drawing import draw_boxes
    from vocbench.pipeline.chain import detect_photos
    from vocbench.pipeline.models import build_detector, parse_detector
    from vocbench.restorer.images import from_uint8, to_uint8, write_image

    _check(files)
    options, spec = _options(**given), parse_detector(detector)
    read, model = _reader(restorer, options), build_detector(spec, options)
    if out:
        make_folder(out)
    told = {}
    for path, target in zip(files, targets, strict=True):
        image = read(path)
        (found,) = detect_photos(spec.label, model, [str(path)], [image])
        rows = told[str(path)] = _rows(found, score)
        if target:
            write_image(target, from_uint8(draw_boxes(to_uint8(image), found, score)))
        if not as_json:
            click.echo(f"{path}: {len(rows)} objects" + (f" -> {target}" if target else ""))
            for row in rows:
                click.echo(f"  {row['class']:12s} {row['score']:.3f}  {row['box']}")
    if as_json:
        click.echo(json.dumps(told, indent=2))
    if not out:
        click.echo("nothing is drawn; --out FOLDER draws the boxes into copies of the photos", err=True)


def _rows(found, score: float) -> list[dict]:
    """What is printed of the `Detections` of a photo."""
    from vocbench.detection.detections import VOC_CLASSES

    return [
        {"class": VOC_CLASSES[label], "score": round(s, 4), "box": [round(v, 1) for v in box]}
        for box, s, label in zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
        if s >= score
    ]
