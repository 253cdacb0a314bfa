"""The photos that restoring changed most: kept while a run goes on, and shown in its report with judged boxes.

A photo's change is the number of objects that the restored variant that changed most finds and the distorted photo does not
(regained) and the other way round (lost), at scores of 0.3 and above, first draw. The `KEPT` photos that changed most for the
first detector stay in `gallery/IMAGE/VARIANT.jpg`; which ones does not depend on the order in which photos are done. A report
judges and sorts them by its own detector.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from torch import Tensor
from vocbench.benchmarks.results.finished import Finished
from vocbench.benchmarks.storage.records import CHANGE, read_json
from vocbench.benchmarks.variants import restores_clean
from vocbench.detection.datasets.voc import VOCSplit
from vocbench.detection.detections import VOC_CLASSES, Detections, Objects
from vocbench.detection.error_types import TRUE_POSITIVE, judge
from vocbench.restorer.files import write_whole
from vocbench.restorer.images import encode_image, read_image, to_uint8

KEPT = 12
LETTERS = 32  # of a label's letters, how many heights make a picture's width: 11 pixels on a phone
ASPECT = 0.64  # of a letter
SHOWN_SCORE = 0.3
LARGEST = 640  # pixels of a picture's longer side in the report


def shown(found: Detections) -> Detections:
    """The boxes that are shown and counted."""
    keep = found.scores >= SHOWN_SCORE
    return Detections(found.boxes[keep], found.scores[keep], found.labels[keep])


def objects_found(found: Detections, objects: Objects) -> set[int]:
    """Indices of the objects, difficult ones aside, that a shown box is right about."""
    judged, _ = judge(shown(found), objects)
    return {one["target"] for one in judged if one["kind"] == TRUE_POSITIVE}


@dataclass(frozen=True)
class Change:
    """What the restored variant that changed most did to a photo's objects."""

    image: str
    regained: int
    lost: int
    variant: str

    @property
    def rank(self) -> tuple[int, int, str]:
        """Sorts what changed most first."""
        return -(self.regained + self.lost), -self.regained, self.image


def change(image: str, objects: Objects, distorted: Detections, restored: Mapping[str, Detections]) -> Change | None:
    """The largest change that any of the restored variants made, the first of equals; None where nothing changed."""
    before = objects_found(distorted, objects)
    after = {name: objects_found(found, objects) for name, found in restored.items()}
    made = [Change(image, len(found - before), len(before - found), name) for name, found in after.items() if found != before]
    return min(made, key=lambda one: one.rank, default=None)


@dataclass(frozen=True)
class Shot:
    """A photo's change and its pictures, JPEG bytes by variant."""

    made: Change
    pictures: dict[str, bytes]


class Gallery:
    """Keeps the pictures of the photos that changed most in `folder`."""

    def __init__(self, folder: Path, data: VOCSplit):
        self.folder, self.data = folder, data
        self.best: list[Change] = []  # of those this process has seen

    def draw(self, variants: list, found: dict[str, dict[str, list[Detections]]]) -> list[Shot]:
        """What a unit may add: variants with their pictures, and detections by variant and detector; writes nothing."""
        photos: dict[str, dict[str, tuple[Tensor, Detections]]] = {}
        failed = {item.image for v in variants for item, error in zip(v.items, v.errors, strict=True) if error}
        for variant in variants:
            if restores_clean(variant.name):
                continue
            results = next(iter(found[variant.name].values()))
            for item, image, result in zip(variant.items, variant.images, results, strict=True):
                if item.draw == 0 and item.image not in failed:
                    photos.setdefault(item.image, {})[variant.name] = image, result
        shots = []
        for image, panels in photos.items():
            restored = {name: result for name, (_, result) in panels.items() if name not in ("clean", "distorted")}
            made = change(image, self.data.objects(image), panels["distorted"][1], restored)
            if made is not None and self._among_the_best(made):
                shots.append(Shot(made, {name: encode_image(picture, ".jpg") for name, (picture, _) in panels.items()}))
        return shots

    def _among_the_best(self, made: Change) -> bool:
        self.best = sorted([*self.best, made], key=lambda one: one.rank)[:KEPT]
        return made in self.best

    def keep(self, shot: Shot) -> None:
        """Write a shot if it is among the `KEPT` that changed most, and drop the one that no longer is."""
        made = shot.made
        kept = [one for one in changes(self.folder) if one.image != made.image]
        if len(kept) >= KEPT and kept[KEPT - 1].rank < made.rank:
            return
        place = self.folder / made.image
        place.mkdir(parents=True, exist_ok=True)
        for name, data in shot.pictures.items():
            write_whole(place / f"{name}.jpg", data)
        told = {"regained": made.regained, "lost": made.lost, "variant": made.variant}
        write_whole(place / "change.json", json.dumps(told).encode())  # last: a photo with it is whole
        for old in sorted([*kept, made], key=lambda one: one.rank)[KEPT:]:
            shutil.rmtree(self.folder / old.image, ignore_errors=True)


def changes(folder: Path) -> list[Change]:
    """The photos kept in a gallery's folder, what changed most first."""
    found = []
    for path in folder.glob("*/change.json"):
        told = read_json(path, CHANGE)
        found.append(Change(path.parent.name, told["regained"], told["lost"], told.get("variant", "")))
    return sorted(found, key=lambda one: one.rank)


def kept_images(folder: Path) -> list[str]:
    """The photos kept in a gallery's folder."""
    return [one.image for one in changes(folder)]


def _data_url(path: Path) -> tuple[str, int, int]:
    """A picture as a data URL, scaled down, and its width and height before that."""
    import base64
    import io

    from PIL import Image

    picture = Image.fromarray(to_uint8(read_image(path)))
    width, height = picture.size
    picture.thumbnail((LARGEST, LARGEST))
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
    """Labels of boxes, each put where none lies yet, inside the picture where it fits."""

    def __init__(self, width: int, height: int):
        self.width, self.height = width, height
        self.size = width / LETTERS  # of the letters
        self.taken: list[tuple[float, float, float]] = []  # left, right and lower edge

    def _free(self, left: float, right: float, y: float) -> bool:
        return all(right <= a or b <= left or abs(y - other) >= self.size for a, b, other in self.taken)

    def _lines(self, y1: float, y2: float) -> list[float]:
        """Where a label may stand, best first: above its box, inside, below, then on any other line from its top on."""
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
        look = f'class="tag {kind}-tag" style="font-size:{self.size:.1f}px"'
        return f'<text {look} x="{left:.1f}" y="{y:.1f}">{escape(label)}</text>'


def _marks(found: Detections, objects: Objects) -> list[tuple[str, Sequence[float], str]]:
    """What is drawn on a picture: kind, box and label of detections, objects missed, and (`truth`) the other objects."""
    found = shown(found)
    judged, taken = judge(found, objects)
    names = [VOC_CLASSES[label] for label in objects.labels]
    counted = ~objects.difficult
    marks = [("truth", objects.boxes[i], f"{names[i]}, annotated") for i in np.flatnonzero(taken | ~counted)]
    marks += [("missed", objects.boxes[i], f"{names[i]} missed") for i in np.flatnonzero(~taken & counted)]
    for one in judged:
        kind = "right" if one["kind"] == TRUE_POSITIVE else "wrong"
        label = f"{VOC_CLASSES[one['label']]} {one['score']:.2f}" + ("" if kind == "right" else f" ({one['kind']})")
        marks.append((kind, found.boxes[one["index"]].tolist(), label))
    return marks


def judged_picture(path: Path, found: Detections, objects: Objects, title: str) -> Markup:
    """A picture as SVG with its boxes: right, wrong, and the objects missed; objects that were found as thin white boxes."""
    source, width, height = _data_url(path)
    tags, marks = _Tags(width, height), _marks(found, objects)
    boxes = [_rectangle(*mark) for mark in marks]
    labels = [tags.place(*mark) for mark in marks if mark[0] != "truth"]
    told = escape("; ".join([title, *(label for kind, _, label in marks if kind != "truth")]))
    photo = f'<image href="{source}" width="{width}" height="{height}" preserveAspectRatio="none"/>'
    return Markup(
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{told}"><title>{escape(title)}</title>'
        f"{photo}{''.join([*boxes, *labels])}</svg>"
    )


def _judged(run: Finished, held: Mapping[str, Mapping[str, Detections]]) -> list[Change]:
    """The changes of the photos kept, by the detector whose detections are held; those that changed, what did most first."""
    made = []
    for image in kept_images(run.folder / "gallery"):
        panels = {variant: found[f"{image}#0"] for variant, found in held.items() if f"{image}#0" in found}
        distorted, _ = panels.pop("distorted", None), panels.pop("clean", None)
        if distorted is not None and (one := change(image, run.truth[image], distorted, panels)):
            made.append(one)
    return sorted(made, key=lambda one: one.rank)


def shown_photos(run: Finished, held: Mapping[str, Mapping[str, Detections]]) -> list[dict[str, Any]]:
    """What the report shows: photos with the change and one judged picture for each variant.

    `held` has one detector's detections by variant and `IMAGE#DRAW` key.
    """
    photos = []
    for made in _judged(run, held):
        views = []
        for variant, found in held.items():
            path = run.folder / "gallery" / made.image / f"{variant}.jpg"
            if path.is_file():
                title = f"{made.image}, {variant}"
                views.append((variant, judged_picture(path, found[f"{made.image}#0"], run.truth[made.image], title)))
        if views:
            photos.append({"change": made, "views": views})
    return photos
