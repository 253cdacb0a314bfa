"""`vocbench compare-detections`: what came and went between two sets of detections, without labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from vocbench.benchmarks.cli.options import DETECTOR, Command, device_option
from vocbench.benchmarks.cli.progress import Progress
from vocbench.pipeline.specs import Options, choose_device

if TYPE_CHECKING:
    from vocbench.detection.detections import Detections

FILE = click.Path(path_type=Path)
Two = tuple[dict[str, "Detections"], dict[str, "Detections"], tuple[str, ...]]


@click.command(
    "compare-detections",
    cls=Command,
    examples=[
        "vocbench compare-detections before.json after.json --photos yard/images --out changes",
        "vocbench compare-detections predict/labels predict2/labels --photos yard/images --categories data.yaml --out changes",
        "vocbench compare-detections yard/images restored --detector yolo11n.pt --trust-weights --out changes",
    ],
)
@click.argument("before", type=FILE)
@click.argument("after", type=FILE)
@click.option("--photos", type=FILE, help="Folder of the photos, to show pictures of detections in files.")
@click.option("--photos-after", type=FILE, help="Folder of the photos of AFTER, if they differ, such as restored ones.")
@click.option(
    "--detector", default="mobilenet-ssd", show_default=True, type=DETECTOR, help="Detector to run on two folders of photos."
)
@click.option("--score", default=0.3, show_default=True, help="Leave out boxes with a lower score.")
@click.option("--categories", type=FILE, help="Classes by number: COCO's JSON, a list of names, or a data.yaml.")
@click.option("--out", required=True, type=FILE, help="Folder that gets index.html and changes.json.")
@device_option
@click.option("--trust-weights", is_flag=True, help="Allow detectors that may run code when loaded.")
def compare_detections(before, after, photos, photos_after, detector, score, categories, out, device, trust_weights) -> None:
    """Show what came and what went between two sets of detections, without labels.

    BEFORE and AFTER are files or folders of detections in any format that `vocbench evaluate` reads, or two folders of photos,
    such as originals and restored copies, on which --detector is run. Without labels nobody can tell which are right.
    """
    from vocbench.benchmarks.reporting.changed import render_changes
    from vocbench.benchmarks.results import changes
    from vocbench.restorer.files import make_folder, write_whole

    page, record = out / "index.html", out / "changes.json"
    there = next((path for path in (page, record) if path.exists()), None)
    if there:
        raise ValueError(f"{there}: already there; choose another --out")
    if _holds_photos(before) != _holds_photos(after):
        raise click.UsageError("BEFORE and AFTER should both be detections, or both folders of photos")
    if _holds_photos(before):
        if photos or photos_after:
            raise click.UsageError("--photos is for detections in files; BEFORE and AFTER are folders of photos already")
        places = _photos(before), _photos(after)
        first, second, classes = _detected(places, detector, device, trust_weights)
    else:
        places = _photos(photos), _photos(photos_after or photos)
        first, second, classes = _read(before, after, places[0], categories)
    compared = changes.compare_detections(first, second, score)
    make_folder(out)
    write_whole(record, (json.dumps(_record(compared, classes), indent=2) + "\n").encode())
    write_whole(page, render_changes(compared, places, classes, (str(before), str(after)), score).encode())
    click.echo(changes.headline(compared))
    for one in changes.by_class(compared, classes):
        click.echo(f"{one.name:16s} {one.kept + one.went:5d} before  {one.kept + one.came:5d} after  +{one.came} -{one.went}")
    click.echo(changes.CAVEAT)
    click.echo(f"wrote {page}")


def _holds_photos(path: Path) -> bool:
    """Whether a folder has photos in it, and so is not one of detections."""
    from vocbench.restorer.files import PHOTOS

    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    return path.is_dir() and any(one.suffix.lower() in PHOTOS for one in path.rglob("*"))


def _photos(folder: Path | None) -> dict[str, Path]:
    """Return the photos below a folder by their place in it without suffix; none without a folder."""
    if folder is None:
        return {}
    from vocbench.restorer.files import find_photos, photos_by_place

    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of photos")
    return {name: Path(photo.source) for name, photo in photos_by_place(find_photos([folder])).items()}


def _detected(places: tuple[Mapping[str, Path], Mapping[str, Path]], detector: str, device: str, trust: bool) -> Two:
    """Detect objects in the photos that both folders have; say how many photos only one of them has."""
    from vocbench.detection.detections import classes_of
    from vocbench.pipeline.chain import detect_photos
    from vocbench.pipeline.models import build_detector, parse_detector
    from vocbench.restorer.images import read_image

    both = [name for name in places[0] if name in places[1]]
    if not both:
        raise ValueError("the folders have no photo of the same name; restored copies must keep the names of the originals")
    if len(both) < max(map(len, places)):
        click.echo(f"notice: {len(both)} photos are in both folders, of {len(places[0])} and {len(places[1])}", err=True)
    spec = parse_detector(detector)
    model = build_detector(spec, Options(device=choose_device(device), trust_weights=trust))
    detections: tuple[dict, dict] = {}, {}
    with Progress(2 * len(both)) as shown:
        for side, photos in zip(detections, places, strict=True):
            for name in both:
                side[name] = detect_photos(spec.label, model, [str(photos[name])], [read_image(photos[name], upright=True)])[0]
                shown.advance()
    return *detections, classes_of(model)


def _read(before: Path, after: Path, photos: Mapping[str, Path], categories: Path | None) -> Two:
    """Read both sides; their ids are matched to the photos, where there are any."""
    from vocbench.benchmarks.cli.evaluate import notes
    from vocbench.detection.exchange import Target, read_categories, read_two
    from vocbench.restorer.images import check_image

    sizes = {name: check_image(path) for name, path in photos.items()} if before.is_dir() or after.is_dir() else None
    named = read_categories(str(categories)) if categories else None
    with notes():
        return read_two(before, after, Target(list(photos), categories=named, sizes=sizes))


def _record(compared, classes) -> dict[str, dict[str, list]]:
    """Return the content of changes.json: by photo, the boxes that came, that went, and that are in both (as in AFTER)."""

    def rows(detections, chosen) -> list[dict]:
        return [
            {
                "class": classes[int(detections.labels[i])],
                "score": float(detections.scores[i]),
                "box": detections.boxes[i].tolist(),
            }
            for i in chosen
        ]

    return {
        one.image: {
            "came": rows(one.after, one.changes.came),
            "went": rows(one.before, one.changes.went),
            "both": rows(one.after, [i for _, i in one.changes.kept]),
        }
        for one in compared
    }
