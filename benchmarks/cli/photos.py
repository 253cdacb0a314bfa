"""`vocbench restore` and `vocbench detect`: a user's own photos."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click
from vocbench.benchmarks.cli import before_after
from vocbench.benchmarks.cli.before_after import BeforeAfter, FoundObject
from vocbench.benchmarks.cli.messages import in_options
from vocbench.benchmarks.cli.options import (
    DETECTOR,
    RESTORER,
    Command,
    Named,
    model_options,
    restore_at_option,
    score_option,
)
from vocbench.benchmarks.cli.progress import Progress
from vocbench.benchmarks.words import counted
from vocbench.pipeline.names import DEFAULT_RESTORER
from vocbench.pipeline.specs import Options, choose_device
from vocbench.restorer.files import FoundPhoto, find_photos, make_folder, result_places

if TYPE_CHECKING:
    from torch import Tensor
    from vocbench.detection.detections import Detections
    from vocbench.pipeline.chain import Shrink
    from vocbench.restorer.images import Photo

    Restoring: TypeAlias = Callable[["Source", Tensor], Tensor]

FILES = click.argument("files", nargs=-1, required=True, metavar="PHOTO|FOLDER|PATTERN|URL...")
Source: TypeAlias = "Path | str"  # a photo's file, or its address
SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
MEGAPIXELS = click.option(
    "--max-megapixels", default=50.0, show_default=True, type=click.FloatRange(0, min_open=True), metavar="N",
    help="Larger photos are not read.",
)  # fmt: skip


def _options(tile, engine, device, batch, guard, trust_weights) -> Options:
    return Options(tile, engine, choose_device(device), batch, trust_weights, guard)


def _targets(photos: list[FoundPhoto], out: Path, suffix: str, skip_existing: bool = False) -> dict[Source, Path]:
    """Return the file for each photo's result; ValueError if it would replace a file, unless existing results are skipped."""
    inputs = {photo.source.resolve() for photo in photos if isinstance(photo.source, Path)}
    targets = {source: out / place for source, place in result_places(photos, suffix).items()}
    for target in targets.values():
        if target.resolve() in inputs:
            raise ValueError(f"{target}: would overwrite a photo; choose another --out")
        if target.exists() and not skip_existing:
            raise ValueError(f"{target}: already there; choose another --out, or continue with --skip-existing")
    return {source: target for source, target in targets.items() if not target.exists()}


@dataclass
class Failures:
    """The photos that could not be read or restored, each with the reason."""

    reasons: list[str] = field(default_factory=list)

    def report(self, total: int) -> None:
        """List the failed photos and exit with code 1; if every photo failed, raise the first reason instead."""
        if not self.reasons:
            return
        if len(self.reasons) == total:
            more = f" (and {total - 1} more)" if total > 1 else ""
            raise ValueError(self.reasons[0] + more)
        click.echo(f"{len(self.reasons)} of {total} photos failed:", err=True)
        for reason in self.reasons:
            click.echo(f"  {in_options(reason)}", err=True)
        raise SystemExit(1)


def _each(
    sources: list[Source], max_megapixels: float, restorer: Callable, failures: Failures
) -> Iterator[tuple[Source, Photo, Photo]]:
    """Yield each photo before and after restoring; photos that fail are skipped and noted in `failures`."""
    from vocbench.restorer.images import grey_as, read_photo

    with Progress(len(sources)) as shown:
        for source in sources:
            try:
                photo = read_photo(source, max_megapixels)
                restored = replace(photo, image=grey_as(photo.image, restorer(source, photo.image)))
            except (ValueError, OSError) as error:
                failures.reasons.append(" ".join(str(error).split()))
            else:
                yield source, photo, restored
            shown.advance(note=Path(source).name)


def _restorer(text: str | None, options: Options, shrink: Shrink | None = None) -> Restoring:
    """Return a function that restores the image of a source, shrunk first by `shrink`; without a restorer, the identity."""
    if text is None:
        return lambda source, image: image
    from vocbench.pipeline.chain import restore_photo
    from vocbench.pipeline.models import build_restorer, parse_restorer

    spec = parse_restorer(text)
    model = build_restorer(spec, options)
    return lambda source, image: restore_photo(spec.label, model, str(source), image, shrink)


@click.command(
    cls=Command,
    examples=[
        "vocbench restore photo.jpg --out restored",
        "vocbench restore holiday/ --out restored --format jpeg --skip-existing",
        "vocbench restore 'scans/**/*.tif' --restorer dncnn --out restored",
    ],
)
@FILES
@click.option("--restorer", default=DEFAULT_RESTORER, show_default=True, type=RESTORER, help="Restorer to use.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the restored photos.")
@click.option("--format", "form", default="png", show_default=True, type=Named("format", tuple(SUFFIXES)), help="File format.")
@click.option("--quality", default=95, show_default=True, type=click.IntRange(1, 100), metavar="N", help="For JPEG and WebP.")
@click.option("--skip-existing", is_flag=True, help="Skip photos whose result already exists.")
@MEGAPIXELS
@model_options
def restore(files, restorer: str, out: Path, form: str, quality: int, skip_existing: bool, max_megapixels, **given) -> None:
    """Restore photos at their own size and turn them upright by EXIF.

    Photos are JPEG, PNG, WebP, TIFF or BMP files, or their http(s) addresses; folders are searched recursively, and --out gets
    the same subfolders. Colour profile, EXIF, resolution and transparency are kept, and grey photos stay grey. Photos that fail
    are listed at the end.
    """
    photos = find_photos(files, out)
    targets = _targets(photos, out, SUFFIXES[form], skip_existing)
    if len(targets) < len(photos):
        click.echo(f"{len(photos) - len(targets)} of {len(photos)} photos are restored already", err=True)
    if not targets:
        return
    from vocbench.restorer.images import write_photo

    failures = Failures()
    for source, _, photo in _each(list(targets), max_megapixels, _restorer(restorer, _options(**given)), failures):
        make_folder(targets[source].parent)
        write_photo(targets[source], photo, quality)
        click.echo(f"{source} -> {targets[source]}")
    failures.report(len(targets))


@click.command(
    cls=Command,
    examples=[
        "vocbench detect street.jpg --compare",
        "vocbench detect photos/ --restorer owan-half --json",
        "vocbench detect https://example.org/street.jpg --compare",
        "vocbench detect 'photos/**/*.jpg' --restorer owan-half --detector yolo11n.pt --trust-weights --out drawn",
    ],
)
@FILES
@click.option("--restorer", type=RESTORER, help=f"Restore the photos first; with --compare, default {DEFAULT_RESTORER}.")
@click.option("--detector", default="mobilenet-ssd", show_default=True, type=DETECTOR, help="Detector to use.")
@score_option
@click.option("--compare", is_flag=True, help="Draw before and after side by side (a JPEG per photo), and list what changed.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for copies (PNG) with boxes drawn; default: no copies, with --compare runs/TIME-compare.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with an entry per file.")
@restore_at_option
@MEGAPIXELS
@model_options
def detect(files, restorer, detector, score, compare, out, as_json, max_megapixels, restore_at, **given) -> None:  # fmt: skip
    """Detect objects in photos, print them, and draw them with --out.

    Photos are files, folders (searched recursively), patterns or http(s) addresses. Photos that fail are listed at the end.
    With --compare, the detector runs on every photo before and after restoring: boxes that came have a +, those that went a -.
    """
    if compare:
        restorer, out = restorer or DEFAULT_RESTORER, out or Path("runs") / time.strftime("%Y%m%d-%H%M%S-compare")
    photos = find_photos(files, out)
    targets = _targets(photos, out, ".jpg" if compare else ".png") if out else {}
    from vocbench.pipeline.models import build_detector, parse_detector
    from vocbench.pipeline.scale import shrunk

    options, spec, failures = _options(**given), parse_detector(detector), Failures()
    model = build_detector(spec, options)
    restored = _restorer(restorer, options, partial(shrunk, detector=model) if restore_at == "detector" else None)
    one = _Detecting(spec.label, model, score, targets, as_json)
    results: dict[str, list[FoundObject] | BeforeAfter] = {}
    for source, photo, after in _each([one.source for one in photos], max_megapixels, restored, failures):
        results[str(source)] = one.compare(source, photo, after, restorer) if compare else one.detect(source, photo, after)
    if as_json:
        click.echo(json.dumps(results, indent=2))
    if out and results:
        click.echo(f"{counted(len(results), 'picture')} in {out}", err=True)
    elif results:
        click.echo("nothing was drawn; --compare draws before and after, --out FOLDER writes copies with boxes", err=True)
    failures.report(len(photos))


@dataclass(frozen=True)
class _Detecting:
    """A detector, and how its detections are drawn and printed."""

    label: str
    model: Callable
    score: float
    targets: dict[Source, Path]
    quiet: bool

    @property
    def classes(self) -> tuple[str, ...]:
        from vocbench.detection.detections import classes_of

        return classes_of(self.model)

    def _detections(self, source: Source, seen: Tensor, image: Tensor) -> Detections:
        """Return the detections on what is seen of an image, in the image's pixels."""
        from vocbench.pipeline.chain import detect_photos
        from vocbench.pipeline.scale import enlarged

        return enlarged(detect_photos(self.label, self.model, [str(source)], [seen])[0], seen, image)

    def detect(self, source: Source, photo: Photo, after: Photo) -> list[FoundObject]:
        """Detect in one photo, restored as `after`, draw and print the result, and return its JSON entry."""
        from vocbench.detection.drawing import draw_boxes
        from vocbench.pipeline.scale import grown
        from vocbench.restorer.images import Photo, from_uint8, to_uint8, write_photo

        detections, target = self._detections(source, after.image, photo.image), self.targets.get(source)
        rows = before_after.rows(detections, self.score, self.classes)
        if target:
            make_folder(target.parent)
            drawn = from_uint8(
                draw_boxes(to_uint8(grown(after.image, photo.image)), detections, self.score, classes=self.classes)
            )
            write_photo(target, Photo(drawn, profile=None if photo.single else photo.profile))
        if not self.quiet:
            click.echo(f"{source}: {counted(len(rows), 'object')}" + (f" -> {target}" if target else ""))
            for row in rows:
                click.echo(f"  {row['class']:12s} {row['score']:.3f}  {row['box']}")
        return rows

    def compare(self, source: Source, photo: Photo, after: Photo, restorer: str) -> BeforeAfter:
        """Detect in one photo before and after restoring, draw and print both, and return the JSON entry."""
        from vocbench.detection.changes import find_changes
        from vocbench.pipeline.models import parse_restorer
        from vocbench.pipeline.scale import grown
        from vocbench.restorer.images import Photo, write_photo

        images = photo.image, grown(after.image, photo.image)
        detections = self._detections(source, photo.image, photo.image), self._detections(source, after.image, photo.image)
        changes = find_changes(*detections, self.score)
        compared = before_after.Compared(images, detections, changes, parse_restorer(restorer).label, self.classes)
        target = self.targets[source]
        make_folder(target.parent)
        write_photo(target, Photo(before_after.picture(compared), profile=None if photo.single else photo.profile))
        rows = [before_after.rows(one, self.score, self.classes) for one in detections]
        went, came = (
            before_after.rows(_taken(one, chosen), 0.0, self.classes)
            for one, chosen in zip(detections, (changes.went, changes.came), strict=True)
        )
        if not self.quiet:
            before_after.say(source, compared, went, came, target)
        return {"before": rows[0], "after": rows[1], "came": came, "went": went, "picture": str(target)}


def _taken(detections: Detections, chosen: tuple[int, ...]) -> Detections:
    """Return the detections of these indices."""
    return type(detections)(*(part[list(chosen)] for part in detections))
