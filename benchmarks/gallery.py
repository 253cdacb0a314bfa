"""The photos that restoring changed most: kept while a run goes on, and shown in its report with judged boxes.

A photo's change is the number of objects that its best restored variant finds and the distorted photo does not (regained) and
the other way round (lost), at scores of 0.3 and above, first draw, first detector. The `KEPT` photos that changed most stay
in `gallery/IMAGE/VARIANT.jpg`; which ones does not depend on the order in which photos are done.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from markupsafe import Markup
from torch import Tensor
from vocbench.benchmarks.results import Finished
from vocbench.detection.detections import VOC_CLASSES, Detections, Objects
from vocbench.detection.errors import judge
from vocbench.detection.voc import VOCSplit
from vocbench.restorer.images import encode_image, read_image, to_uint8

KEPT = 12
SHOWN_SCORE = 0.3
LARGEST = 640  # pixels of a picture's longer side in the report


def shown(found: Detections) -> Detections:
    """The boxes that are shown and counted."""
    keep = found.scores >= SHOWN_SCORE
    return Detections(found.boxes[keep], found.scores[keep], found.labels[keep])


def objects_found(found: Detections, objects: Objects) -> set[int]:
    """Indices of the objects, difficult ones aside, that a shown box is right about."""
    judged, _ = judge(shown(found), objects)
    return {one["target"] for one in judged if one["kind"] == "right"}


@dataclass(frozen=True)
class Change:
    """What restoring did to a photo's objects."""

    image: str
    regained: int
    lost: int

    @property
    def rank(self) -> tuple[int, int, str]:
        """Sorts what changed most first."""
        return -(self.regained + self.lost), -self.regained, self.image


def change(image: str, objects: Objects, distorted: Detections, restored: Sequence[Detections]) -> Change:
    """The largest change that any of the restored variants made."""
    before = objects_found(distorted, objects)
    after = [objects_found(found, objects) for found in restored]
    return min((Change(image, len(a - before), len(before - a)) for a in after), key=lambda one: one.rank)


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
            if variant.name.startswith("clean+"):
                continue
            results = next(iter(found[variant.name].values()))
            for item, image, result in zip(variant.items, variant.images, results, strict=True):
                if item.draw == 0 and item.image not in failed:
                    photos.setdefault(item.image, {})[variant.name] = image, result
        shots = []
        for image, panels in photos.items():
            restored = [result for name, (_, result) in panels.items() if name not in ("clean", "distorted")]
            if restored:
                made = change(image, self.data.objects(image), panels["distorted"][1], restored)
                self.best = sorted([*self.best, made], key=lambda one: one.rank)[:KEPT]
                if made in self.best:
                    shots.append(Shot(made, {name: encode_image(picture, ".jpg") for name, (picture, _) in panels.items()}))
        return shots

    def keep(self, shot: Shot) -> None:
        """Write a shot if it is among the `KEPT` that changed most, and drop the one that no longer is."""
        made = shot.made
        kept = [one for one in changes(self.folder) if one.image != made.image]
        if len(kept) >= KEPT and kept[KEPT - 1].rank < made.rank:
            return
        place = self.folder / made.image
        place.mkdir(parents=True, exist_ok=True)
        for name, data in shot.pictures.items():
            (place / f"{name}.jpg").write_bytes(data)
        (place / "change.json").write_text(json.dumps({"regained": made.regained, "lost": made.lost}))
        for old in sorted([*kept, made], key=lambda one: one.rank)[KEPT:]:
            shutil.rmtree(self.folder / old.image, ignore_errors=True)


def changes(folder: Path) -> list[Change]:
    """The photos kept in a gallery's folder, what changed most first."""
    found = []
    for path in folder.glob("*/change.json"):
        told = json.loads(path.read_text())
        found.append(Change(path.parent.name, told["regained"], told["lost"]))
    return sorted(found, key=lambda one: one.rank)


def _rectangle(kind: str, box: Sequence[float], label: str, unit: float) -> str:
    x1, y1, x2, y2 = (float(side) for side in box)
    y = y1 - 0.3 * unit if y1 > 1.2 * unit else y1 + unit
    return (
        f'<rect class="{kind}" x="{x1:.1f}" y="{y1:.1f}" width="{max(x2 - x1, 1):.1f}" height="{max(y2 - y1, 1):.1f}">'
        f"<title>{escape(label)}</title></rect>"
        f'<text class="tag {kind}-tag" x="{x1 + 2:.1f}" y="{y:.1f}" style="font-size:{unit:.1f}px">{escape(label)}</text>'
    )


def _picture(path: Path) -> tuple[str, int, int]:
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


def judged_picture(path: Path, found: Detections, objects: Objects, title: str) -> Markup:
    """A picture as SVG with its boxes: right, wrong, and the objects missed."""
    source, width, height = _picture(path)
    unit = max(width, height) / 42
    found = shown(found)
    judged, taken = judge(found, objects)
    parts = []
    for i, missed in enumerate(~taken & ~objects.difficult):
        if missed:
            parts.append(_rectangle("missed", objects.boxes[i], f"{VOC_CLASSES[objects.labels[i]]} missed", unit))
    for one in judged:
        kind = "right" if one["kind"] == "right" else "wrong"
        label = f"{VOC_CLASSES[one['label']]} {one['score']:.2f}" + ("" if kind == "right" else f" ({one['kind']})")
        parts.append(_rectangle(kind, found.boxes[one["index"]], label, unit))
    return Markup(
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>'
        f'<image href="{source}" width="{width}" height="{height}" preserveAspectRatio="none"/>{"".join(parts)}</svg>'
    )


def shown_photos(run: Finished, held: Mapping[str, Mapping[str, Detections]]) -> list[dict[str, Any]]:
    """What the report shows: photos with the change and one judged picture for each variant.

    `held` has detections by variant and `IMAGE#DRAW` key.
    """
    photos = []
    for made in changes(run.folder / "gallery"):
        views = []
        for variant, found in held.items():
            path, key = run.folder / "gallery" / made.image / f"{variant}.jpg", f"{made.image}#0"
            if path.is_file() and key in found:
                title = f"{made.image}, {variant}"
                views.append((variant, judged_picture(path, found[key], run.truth[made.image], title)))
        if views:
            photos.append({"image": made.image, "regained": made.regained, "lost": made.lost, "views": views})
    return photos
