"""`vocbench data`: data sets."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import click
from vocbench.benchmarks.cli.options import Group
from vocbench.benchmarks.cli.progress import Progress


@click.group(cls=Group)
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

    with ExitStack() as stack:
        progress = lambda total: stack.enter_context(Progress(total)).advance  # noqa: E731
        found = check(folder, split, lambda text: click.echo(f"broken: {text}", err=True), progress)
    counts = {"photos": found.photos, "annotations": found.annotations, "splits": found.splits}
    if as_json:
        click.echo(json.dumps(counts | {"broken": found.broken}, indent=2))
    else:
        told = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        click.echo(f"{told}: {f'{len(found.broken)} broken' if found.broken else 'all sound'}")
    if found.broken:
        raise SystemExit(1)
