"""`vocbench data`: data sets."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from vocbench.benchmarks.cli.messages import in_options
from vocbench.benchmarks.cli.options import Command, Group, Named, only_split
from vocbench.benchmarks.cli.progress import Progress
from vocbench.benchmarks.words import counted
from vocbench.pipeline.names import RECIPES

if TYPE_CHECKING:
    from vocbench.benchmarks.data_check import Checked
    from vocbench.benchmarks.repaired_copy import Copied


@click.group(cls=Group)
def data() -> None:
    """Fetch PASCAL VOC; check, repair or split a data set, or write a degraded copy."""


@data.command("fetch", examples=["vocbench data fetch voc2007 --root data"])
@click.argument("name", type=Named("data set", ("voc2007", "voc2012")))
@click.option("--root", required=True, type=click.Path(path_type=Path), help="Folder in which VOCdevkit/VOC20xx is made.")
def data_fetch(name: str, root: Path) -> None:
    """Download VOC through torchvision, which checks each archive by MD5, and unpack it."""
    from vocbench.benchmarks.voc_folder import fetch

    click.echo(fetch(name, root))


@data.command(
    "check",
    examples=[
        "vocbench data check VOCdevkit/VOC2012 --split val",
        "vocbench data check yard/data.yaml --fix-into yard-repaired",
    ],
)
@click.argument("place", metavar="FOLDER|FILE", type=click.Path(path_type=Path))
@click.option("--split", help="Only the photos and annotations of this split.")
@click.option("--upright", is_flag=True, help="Boxes count pixels after EXIF rotation; default: as stored.")
@click.option("--fix-into", "out", type=click.Path(path_type=Path), metavar="DIR", help="Write a repaired copy to this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def data_check(place: Path, split: str | None, upright: bool, out: Path | None, as_json: bool) -> None:
    """Read every photo, annotation and split of a data set and name each broken one.

    The data set is a VOC20xx folder, photos and XML in one folder, COCO's JSON or a YOLO data.yaml. Irregularities
    that a run tolerates are noted, and photos that EXIF rotates are listed. --fix-into writes a repaired copy and leaves the
    source as it is; what cannot be repaired goes into the copy's folder left-out and is listed in its repairs.json.
    """
    from vocbench.benchmarks.data_check import check
    from vocbench.benchmarks.repaired_copy import write_repaired

    say = lambda text: click.echo(f"broken: {in_options(text)}", err=True)  # noqa: E731
    copied = None
    with ExitStack() as stack:
        progress = lambda total: stack.enter_context(Progress(total)).advance  # noqa: E731
        if out is None:
            checked = check(place, split, say, progress, upright)
        else:
            checked, copied = write_repaired(place, out, split, say, progress, upright)
    counts = {"photos": checked.photos, "annotations": checked.annotations, "splits": checked.splits}
    if as_json:
        details: dict[str, Any] = {
            "objects": checked.objects,
            "broken": checked.broken,
            "notes": checked.notes,
            "turned": checked.turned,
        }
        copy = {} if copied is None else {"copy": {"folder": str(out), "photos": copied.photos, "left_out": copied.left_out}}
        click.echo(json.dumps(counts | details | copy, indent=2))
    else:
        _say_checked(counts, checked)
        if copied is not None:
            click.echo(f"repaired copy in {out}: {counted(copied.photos, 'photo')}; {_left_out(copied)}")
    if checked.broken if copied is None else copied.left_out:
        raise SystemExit(1)


def _say_checked(counts: dict[str, int], checked: Checked) -> None:
    """Print the notes, the photos that EXIF rotates, and last the counts."""
    from vocbench.detection.datasets.repair import NOTES

    for kind, texts in checked.notes.items():
        if kind == "spelling":
            click.echo(f"note: spellings of one class, read as one: {'; '.join(texts)}", err=True)
        else:
            click.echo(f"note: {len(texts)} × {NOTES[kind]}: {texts[0]}{', …' if len(texts) > 1 else ''}", err=True)
    if checked.turned:
        listed = ", ".join(f"{path} ({turn})" for path, turn in checked.turned.items())
        click.echo(
            f"note: {counted(len(checked.turned), 'photo')} rotated by EXIF (orientation in brackets); boxes count pixels "
            f"as stored, or, with --upright, after the rotation: {listed}",
            err=True,
        )
    summary = ", ".join(counted(count, kind.removesuffix("s")) for kind, count in counts.items())
    click.echo(f"{summary}: {f'{len(checked.broken)} broken' if checked.broken else 'nothing broken'}")


def _left_out(copied: Copied) -> str:
    count = len(copied.left_out)
    return f"{count} left out, see left-out and repairs.json" if count else "nothing left out"


DATA = click.option("--data", "place", required=True, help="A VOC20xx folder, COCO's JSON, a YOLO data.yaml, or a flat folder.")
SPLIT = click.option("--split", help="Split, if there are several.")
SEED = click.option("--seed", default=0, show_default=True)


def _opened(place: str, split: str | None, upright: bool = False):
    from vocbench.benchmarks.sample import open_data

    return open_data(place, split or only_split(place), upright)


@data.command(
    "degrade",
    cls=Command,
    examples=[
        "vocbench data degrade --data yard/data.yaml --split train --recipe voc --out yard-degraded",
        "vocbench data degrade --data yard/data.yaml --split val --recipe voc --out yard-degraded",
        "yolo detect train model=yolov8n.pt data=yard-degraded/data.yaml",
    ],
)
@DATA
@SPLIT
@click.option("--recipe", default="voc", show_default=True, type=Named("recipe", RECIPES), help="Distortion.")
@SEED
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N photos.")
@click.option("--upright", is_flag=True, help="Boxes count pixels after EXIF rotation; default: as stored.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the copy; further splits may be added.")
def data_degrade(place, split, recipe, seed, limit, upright, out) -> None:
    """Write a degraded copy of a data set, with its levels.

    The images (PNG) are those of `vocbench run` with this recipe and seed. Labels are written for YOLO (data.yaml) and COCO
    (annotations/); levels_SPLIT.csv lists the levels drawn for each photo.
    """
    from dataclasses import replace

    from vocbench.benchmarks.copies import write_degraded

    chosen = _opened(place, split, upright)
    chosen = replace(chosen, ids=chosen.ids[:limit])
    with Progress(len(chosen.ids)) as shown:
        levels = write_degraded(chosen, out, recipe, seed, shown.advance)
    click.echo(f"{counted(len(levels), 'photo')} of {chosen.split} in {out}")


@data.command(
    "split",
    cls=Command,
    examples=["vocbench data split --data photos --part train=0.8 --part val=0.2 --out photos/ImageSets/Main"],
)
@DATA
@SPLIT
@click.option("--part", "parts", multiple=True, required=True, metavar="NAME=SHARE", help="A split to make; repeatable.")
@SEED
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder in which each NAME.txt is written.")
def data_split(place, split, parts, seed, out) -> None:
    """Divide the photos of a data set into splits (NAME.txt, one id per line), by their ids and the seed alone."""
    from vocbench.benchmarks.copies import divide, write_splits

    shares = dict(_share(text) for text in parts)
    for path in write_splits(out, divide(_opened(place, split).ids, shares, seed)):
        click.echo(f"{path}: {counted(len(path.read_text(encoding='utf-8').splitlines()), 'photo')}")


def _share(text: str) -> tuple[str, float]:
    """Return the name and share of NAME=SHARE."""
    name, _, share = text.partition("=")
    try:
        if re.fullmatch(r"\w[\w\-.]*", name):
            return name, float(share)
    except ValueError:
        pass
    raise click.UsageError(f"--part {text}: expected NAME=SHARE, such as val=0.2")
