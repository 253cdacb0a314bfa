"""The photos that restoring changed most, kept during a run.

A photo's change is the number of objects regained (detected in the restored but not in the distorted photo) and lost (the other
way round), for the restored variant that changed most, at scores of 0.3 and above, first draw. The `KEPT` photos that changed
most for the first detector stay in `gallery/IMAGE/VARIANT.jpg`; which ones does not depend on the order in which photos are
done. A report judges and sorts them by its own detector.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor
from vocbench.benchmarks.settings import write_json
from vocbench.benchmarks.storage.pictures import Change, Shot
from vocbench.benchmarks.storage.records import Changed, read_json
from vocbench.benchmarks.variants import UNRESTORED, base, restores_clean
from vocbench.detection.detections import Detections, Objects
from vocbench.detection.error_types import TRUE_POSITIVE, judge
from vocbench.restorer.files import write_whole
from vocbench.restorer.images import encode_image

if TYPE_CHECKING:
    from vocbench.benchmarks.running.unit import Variant

KEPT = 12
SHOWN_SCORE = 0.3  # boxes below it are neither drawn nor counted


def shown(detections: Detections) -> Detections:
    """Return the boxes that are shown and counted."""
    return detections.at_least(SHOWN_SCORE)


def objects_found(detections: Detections, objects: Objects) -> set[int]:
    """Return the indices of the objects, difficult ones aside, for which a shown box is a true positive."""
    judged, _ = judge(shown(detections), objects)
    return {one.target for one in judged if one.kind == TRUE_POSITIVE}


def change(image: str, objects: Objects, distorted: Detections, restored: Mapping[str, Detections]) -> Change | None:
    """Return the largest change that any of the restored variants made, the first of equals; None where nothing changed."""
    before = objects_found(distorted, objects)
    after = {name: objects_found(found, objects) for name, found in restored.items()}
    made = [Change(image, len(found - before), len(before - found), name) for name, found in after.items() if found != before]
    return min(made, key=lambda one: one.rank, default=None)


class Gallery:
    """Keeps the pictures of the photos that changed most in `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.best: list[Change] = []  # of those this process has seen

    def draw(
        self,
        variants: Sequence[Variant],
        found: Mapping[str, Mapping[str, Sequence[Detections]]],
        objects: Callable[[str], Objects],
    ) -> list[Shot]:
        """Return the shots that a unit may add, from its variants and detections by variant and detector; writes nothing."""
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
        for photo, panels in photos.items():
            restored = {name: result for name, (_, result) in panels.items() if name not in UNRESTORED}
            made = change(photo, objects(photo), panels[base(panels)][1], restored)
            if made is not None and self._among_the_best(made):
                shots.append(Shot(made, {name: encode_image(picture, ".jpg") for name, (picture, _) in panels.items()}))
        return shots

    def _among_the_best(self, made: Change) -> bool:
        self.best = sorted([*self.best, made], key=lambda one: one.rank)[:KEPT]
        return made in self.best

    def keep(self, shot: Shot) -> None:
        """Write a shot if it is among the `KEPT` that changed most, and remove the one that it displaces."""
        made = shot.made
        kept = [one for one in changes(self.folder) if one.image != made.image]
        if len(kept) >= KEPT and kept[KEPT - 1].rank < made.rank:
            return
        place = self.folder / made.image
        place.mkdir(parents=True, exist_ok=True)
        for name, data in shot.pictures.items():
            write_whole(place / f"{name}.jpg", data)
        kept_change = Changed(regained=made.regained, lost=made.lost, variant=made.variant)
        write_json(place / "change.json", kept_change)  # last: a photo with it is whole
        for old in sorted([*kept, made], key=lambda one: one.rank)[KEPT:]:
            shutil.rmtree(self.folder / old.image, ignore_errors=True)


def changes(folder: Path) -> list[Change]:
    """Return the photos kept in a gallery's folder, what changed most first."""
    photos = []
    for path in folder.glob("*/change.json"):
        kept = read_json(path, Changed)
        photos.append(Change(path.parent.name, kept.regained, kept.lost, kept.variant))
    return sorted(photos, key=lambda one: one.rank)


def kept_images(folder: Path) -> list[str]:
    """Return the photos kept in a gallery's folder."""
    return [one.image for one in changes(folder)]
