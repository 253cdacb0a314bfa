"""The gallery of a report: each photo with judged boxes, its levels, and the objects that restoring regained and lost."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np
from markupsafe import Markup
from vocbench.benchmarks.reporting.gallery import change, kept_images, objects_found, shown
from vocbench.benchmarks.results.finished import Finished
from vocbench.benchmarks.storage.pictures import Change
from vocbench.benchmarks.storage.run_folder import RunFolder
from vocbench.benchmarks.variants import UNRESTORED, base
from vocbench.detection.columns import ObjectColumns
from vocbench.detection.detections import VOC_CLASSES, Detections, Objects
from vocbench.detection.error_types import TRUE_POSITIVE, judge
from vocbench.restorer.degradations.recipes import UNITS
from vocbench.restorer.images import read_image, to_uint8

LETTERS = 32  # the width of a picture in heights of a label's characters: 11 pixels on a phone
ASPECT = 0.64  # of a character
LARGEST, THUMBNAIL = 800, 112  # pixels of a picture's longer side in the report, and of a small one's


def data_url(path: Path, largest: int, upright: bool = False) -> tuple[str, int, int]:
    """Return a picture as a data URL, scaled down, and its width and height before that; `upright` does EXIF's turn."""
    from PIL import Image

    picture = Image.fromarray(to_uint8(read_image(path, upright)))
    width, height = picture.size
    picture.thumbnail((largest, largest))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode(), width, height


def _rectangle(kind: str, box: Sequence[float], label: str) -> str:
    x1, y1, x2, y2 = (float(side) for side in box)
    return (
        f'<rect class="{kind}" x="{x1:.1f}" y="{y1:.1f}" width="{max(x2 - x1, 1):.1f}" height="{max(y2 - y1, 1):.1f}">'
        f"<title>{escape(label)}</title></rect>"
    )


class _Tags:
    """Places the labels of boxes without overlap, inside the picture if they fit."""

    def __init__(self, width: int, height: int):
        self.width, self.height = width, height
        self.size = width / LETTERS  # of the characters
        self.taken: list[tuple[float, float, float]] = []  # left, right and lower edge

    def _free(self, left: float, right: float, y: float) -> bool:
        return all(right <= a or b <= left or abs(y - other) >= self.size for a, b, other in self.taken)

    def _lines(self, y1: float, y2: float) -> list[float]:
        """Return where a label may stand, best first: above its box, inside, below, then on any other line from its top on."""
        step = 1.05 * self.size
        below = [y1 + step * i for i in range(1, int(self.height / step) + 1)]
        wanted = [y1 - 0.3 * self.size, below[0], y2 + step, *below, *(y1 - step * i for i in range(1, len(below)))]
        return [y for y in wanted if self.size <= y <= self.height - 0.2 * self.size]

    def place(self, kind: str, box: Sequence[float], label: str) -> str:
        x1, y1, _, y2 = (float(side) for side in box)
        long = ASPECT * self.size * len(label)
        left = max(min(x1 + 2, self.width - long), 0)
        lines = self._lines(y1, y2) or [self.size]
        y = next((y for y in lines if self._free(left, left + long, y)), lines[0])
        self.taken.append((left, left + long, y))
        look = f'class="tag {kind}-tag" style="--size:{self.size:.1f}"'
        return f'<text {look} x="{left:.1f}" y="{y:.1f}">{escape(label)}</text>'


def _marks(detections: Detections, objects: Objects, classes: Sequence[str]) -> list[tuple[str, Sequence[float], str]]:
    """Return the kind, box and label of all boxes to draw: detections, missed objects, and other objects (`annotated`)."""
    detections = shown(detections)
    judged, taken = judge(detections, objects)
    names = [classes[label] for label in objects.labels]
    counted = ~objects.difficult
    marks = [("annotated", objects.boxes[i], f"{names[i]}, annotated") for i in np.flatnonzero(taken | ~counted)]
    marks += [("missed", objects.boxes[i], f"{names[i]} missed") for i in np.flatnonzero(~taken & counted)]
    for one in judged:
        is_true = one.kind == TRUE_POSITIVE
        kind = "true-positive" if is_true else "false-positive"
        label = f"{classes[one.label]} {one.score:.2f}" + ("" if is_true else f" ({one.kind})")
        marks.append((kind, detections.boxes[one.place].tolist(), label))
    return marks


def judged_picture(
    path: Path, detections: Detections, objects: Objects, title: str, classes: Sequence[str] = VOC_CLASSES
) -> Markup:
    """Return a picture as SVG with its boxes: true positives, false positives, objects missed; other objects thin and white."""
    return marked_picture(data_url(path, LARGEST), _marks(detections, objects, classes), title)


def marked_picture(picture: tuple[str, int, int], marks: Sequence[tuple[str, Sequence[float], str]], title: str) -> Markup:
    """Return a picture (see `data_url`) as SVG with boxes: kind, corners and label of each; kind is a class of the style."""
    source, width, height = picture
    tags = _Tags(width, height)
    boxes = [_rectangle(*mark) for mark in marks]
    labels = [tags.place(*mark) for mark in marks if mark[0] != "annotated"]
    description = escape("; ".join([title, *(label for kind, _, label in marks if kind != "annotated")]))
    photo = f'<image href="{source}" width="{width}" height="{height}" preserveAspectRatio="none"/>'
    return Markup(
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{description}"><title>{escape(title)}</title>'
        f"{photo}{''.join([*boxes, *labels])}</svg>"
    )


@dataclass(frozen=True)
class View:
    """A photo of one variant: its judged picture, and the objects that restoring regained and lost, as text."""

    variant: str
    picture: Markup
    regained: str  # empty where nothing was, and for what is not restored
    lost: str


@dataclass(frozen=True)
class Photo:
    """A photo of the gallery."""

    made: Change
    levels: str
    thumbnail: str  # data URL
    ratio: float  # of its width to its height
    views: list[View]

    @property
    def anchor(self) -> str:
        """Return the fragment of a link to this photo, after the `#`; ids are percent-encoded."""
        return f"photo={quote(self.made.image, safe='')}"


def _judged(run: Finished, truth: ObjectColumns, held: Mapping[str, Mapping[str, Detections]]) -> list[Change]:
    """Return the changes of the photos kept, by the detector whose detections are held; what changed most first."""
    made = []
    for image in kept_images(RunFolder(run.folder).gallery):
        panels = {variant: found[f"{image}#0"] for variant, found in held.items() if f"{image}#0" in found}
        distorted, _ = panels.pop(base(held), None), panels.pop("clean", None)
        if distorted is not None and (one := change(image, truth[image], distorted, panels)):
            made.append(one)
    return sorted(made, key=lambda one: one.rank)


def level_text(levels: Mapping[str, float]) -> str:
    """Return a photo's degradation levels with their units."""
    return "; ".join(f"{name} {value:.3g} ({unit_of(name)})" for name, value in levels.items())


def unit_of(degradation: str) -> str:
    """Return the unit of a degradation's level."""
    return UNITS.get(degradation, "severity 1 to 5")


def _named(places: set[int], objects: Objects, classes: Sequence[str]) -> str:
    """Return objects by class, those of a class counted."""
    counts = Counter(classes[objects.labels[place]] for place in sorted(places))
    return ", ".join(name if count == 1 else f"{count} × {name}" for name, count in counts.items())


def _view(run: Finished, made: Change, objects: Objects, variant: str, detections: Detections, before: Detections) -> View:
    classes = run.classes
    picture = judged_picture(_file(run, made, variant), detections, objects, f"{made.image}, {variant}", classes)
    if variant in UNRESTORED:
        return View(variant, picture, "", "")
    now, then = objects_found(detections, objects), objects_found(before, objects)
    return View(variant, picture, _named(now - then, objects, classes), _named(then - now, objects, classes))


def _file(run: Finished, made: Change, variant: str) -> Path:
    return RunFolder(run.folder).gallery / made.image / f"{variant}.jpg"


def shown_photos(
    run: Finished,
    detector: str,
    held: Mapping[str, Mapping[str, Detections]],
    levels: Mapping[str, Mapping[str, float]],
) -> list[Photo]:
    """Return the photos of the gallery, those first that changed most.

    `held` has the detector's detections by variant and `IMAGE#DRAW` key, `levels` those of each image's first draw.
    """
    photos, truth = [], run.truth_of(detector)
    for made in _judged(run, truth, held):
        key, there = f"{made.image}#0", [name for name in held if _file(run, made, name).is_file()]
        objects, before = truth[made.image], held[base(held)][key]
        views = [_view(run, made, objects, name, held[name][key], before) for name in there if key in held[name]]
        if views:
            small, width, height = data_url(_file(run, made, made.variant if made.variant in there else there[0]), THUMBNAIL)
            photos.append(Photo(made, level_text(levels.get(made.image, {})), small, round(width / height, 4), views))
    return photos
