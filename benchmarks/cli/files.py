"""`vocbench restore`, `detect`, `data` and `weights`: photos, data sets and weight files."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
from vocbench.benchmarks.cli.options import choose_device, model_options
from vocbench.pipeline.models import Options, build_detector, build_restorer, parse_detector, parse_restorer
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
    spec = parse_restorer(restorer)
    model = build_restorer(spec, options)
    return lambda path: restore_photo(spec.label, model, str(path), read(path))


@click.command()
@FILES
@click.option("--restorer", default="owan", show_default=True, metavar="NAME[:WEIGHTS]")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the restored photos (PNG).")
@model_options
def restore(files: tuple[Path, ...], restorer: str, out: Path, **given) -> None:
    """Restore photos (JPEG or PNG) at their own size, upright where EXIF says how."""
    from vocbench.restorer.images import write_image

    targets = _outputs(files, out)
    _check(files)
    read = _reader(restorer, _options(**given))
    make_folder(out)
    for path, target in zip(files, targets, strict=True):
        write_image(target, read(path))
        click.echo(f"{path} -> {target}")


@click.command()
@FILES
@click.option("--restorer", metavar="NAME[:WEIGHTS]", help="Restore the photos first.")
@click.option("--detector", default="mobilenet-ssd", show_default=True, metavar="NAME[:WEIGHTS]")
@click.option("--score", default=0.3, show_default=True, help="Boxes below it are left out.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for copies (PNG) with the boxes drawn; without it, none.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object by file.")
@model_options
def detect(files, restorer, detector, score, out, as_json, **given) -> None:
    """Detect objects in photos, print them, and draw them with --out."""
    from vocbench.detection.drawing import draw_boxes
    from vocbench.pipeline.chain import detect_photos
    from vocbench.restorer.images import from_uint8, to_uint8, write_image

    targets = _outputs(files, out) if out else [None] * len(files)
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


@click.group()
def data() -> None:
    """Fetch PASCAL VOC, or check a folder of it."""


@data.command("fetch")
@click.argument("name", type=click.Choice(["voc2007", "voc2012"]))
@click.option("--root", required=True, type=click.Path(path_type=Path), help="Folder that gets VOCdevkit/VOC20xx.")
def data_fetch(name: str, root: Path) -> None:
    """Download VOC through torchvision, which checks each archive by MD5, and unpack it."""
    from vocbench.benchmarks.voc_folder import fetch

    click.echo(fetch(name, root))


@data.command("check")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--split", help="Only the photos and annotations of this image set.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def data_check(folder: Path, split: str | None, as_json: bool) -> None:
    """Read every photo, annotation and split of a VOC20xx folder and name each broken one."""
    from vocbench.benchmarks.voc_folder import check

    found = check(folder, split, lambda text: click.echo(f"broken: {text}", err=True))
    counts = {"photos": found.photos, "annotations": found.annotations, "splits": found.splits}
    if as_json:
        click.echo(json.dumps(counts | {"broken": found.broken}, indent=2))
    else:
        told = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        click.echo(f"{told}: {f'{len(found.broken)} broken' if found.broken else 'all sound'}")
    if found.broken:
        raise SystemExit(1)


@click.group()
def weights() -> None:
    """List, fetch and verify weights."""


@weights.command("list")
@click.option("--json", "as_json", is_flag=True)
def weights_list(as_json: bool) -> None:
    """Every entry of the table, and whether its file is at hand."""
    from vocbench.pipeline.weights import WEIGHTS, location

    rows = [
        {"name": name, "here": location(name).is_file(), "bytes": entry.size, "licence": entry.licence, "about": entry.about,
         "path": str(location(name)), "sha256": entry.sha256}
        for name, entry in WEIGHTS.items()
    ]  # fmt: skip
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        state = "here" if row["here"] else "not fetched"
        click.echo(f"{row['name']:22s} {state:12s} {row['bytes'] / 1e6:7.1f} MB  {row['licence']:8s} {row['about']}")


@weights.command("fetch")
@click.argument("name")
def weights_fetch(name: str) -> None:
    """Bring a file into the cache, checked by SHA-256."""
    from vocbench.pipeline.weights import fetch

    click.echo(fetch(name))


@weights.command("verify")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: name to state.")
def weights_verify(as_json: bool) -> None:
    """Check every file at hand against the table."""
    from vocbench.pipeline.weights import WEIGHTS, check, location

    states = {}
    for name, entry in WEIGHTS.items():
        states[name] = "sound" if location(name).is_file() else "not fetched"
        try:
            if location(name).is_file():
                check(location(name), entry)
        except ValueError as error:
            states[name] = "damaged"
            click.echo(f"{name}: {error}", err=True)
    if as_json:
        click.echo(json.dumps(states, indent=2))
    else:
        click.echo("".join(f"{name}: {state}\n" for name, state in states.items()), nl=False)
    if "damaged" in states.values():
        raise SystemExit(1)


@weights.command("import")
@click.argument("name", type=click.Choice(["rl-restore"]))
@click.argument("folder", type=click.Path(path_type=Path))
def weights_import(name: str, folder: Path) -> None:
    """Turn the authors' own files into one checked file in the cache."""
    from vocbench.pipeline.weights import import_files

    click.echo(import_files(name, folder))


@weights.command("average")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option("--share", required=True, type=click.FloatRange(0, 1), help="Of the second file; the first has the rest.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The new file (.safetensors).")
def weights_average(first: Path, second: Path, share: float, out: Path) -> None:
    """Weigh a network against the one it was trained on from.

    FIRST is a safetensors file of `vocbench train`, whose recipe and cutting policy the new file keeps; SECOND any file of the
    same network. Their average often keeps what was learned and regains what was forgotten (WiSE-FT, Wortsman et al. 2022).
    """
    from vocbench.restorer.training.trainable import average

    if out.exists():
        raise ValueError(f"{out}: already there; choose another --out")
    average(first, second, share, out)
    click.echo(out)
