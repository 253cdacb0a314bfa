"""Output of `vocbench detect` and `detect --compare`: rows of detections, pictures side by side, what came and what went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import click
from vocbench.benchmarks.words import counted

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor
    from vocbench.detection.changes import Changes
    from vocbench.detection.detections import Detections

LARGEST = 1280  # pixels of a panel's longer side
# One printed detection; its box is x and y of two corners in pixels from 0.
FoundObject = TypedDict("FoundObject", {"class": str, "score": float, "box": list[float]})


class BeforeAfter(TypedDict):
    """The JSON entry of a compared photo."""

    before: list[FoundObject]
    after: list[FoundObject]
    came: list[FoundObject]
    went: list[FoundObject]
    picture: str


@dataclass(frozen=True)
class Compared:
    """A photo before and after restoring, both (3, H, W) in [0, 1], with the detections in each and the changes."""

    images: tuple[Tensor, Tensor]
    detections: tuple[Detections, Detections]
    changes: Changes
    restorer: str
    classes: Sequence[str]


def picture(compared: Compared) -> Tensor:
    """Return both images side by side (3, h, w) with boxes and titles, none larger than `LARGEST`."""
    import numpy as np
    from vocbench.detection.drawing import draw_change, side_by_side, write_caption
    from vocbench.restorer.images import from_uint8

    changes = compared.changes
    kept = list(zip(*changes.kept, strict=True)) or [(), ()]
    panels = []
    for after, (image, detections) in enumerate(zip(compared.images, compared.detections, strict=True)):
        shrunk, shown = _shrunk(image, detections)
        changed = changes.came if after else changes.went
        drawn = draw_change(np.asarray(shrunk), shown, kept[after], changed, bool(after), compared.classes)
        panels.append(write_caption(drawn, titles(compared)[after]))
    return from_uint8(side_by_side(panels))


def titles(compared: Compared) -> tuple[str, str]:
    """Return the titles of the two pictures."""
    changes = compared.changes
    before, after = (counted(len(changes.kept) + len(changed), "object") for changed in (changes.went, changes.came))
    return f"as it is: {before}", f"restored by {compared.restorer}: {after}"


def _shrunk(image: Tensor, detections: Detections) -> tuple[Image, Detections]:
    """Return the image as a picture of PIL that is not larger than `LARGEST`, and the detections in its pixels."""
    from PIL.Image import Resampling, fromarray
    from vocbench.restorer.images import to_uint8

    made = fromarray(to_uint8(image))
    factor = LARGEST / max(made.size)
    if factor >= 1:
        return made, detections
    width, height = (max(1, round(side * factor)) for side in made.size)
    return made.resize((width, height), Resampling.LANCZOS), detections._replace(boxes=detections.boxes * factor)


def rows(detections: Detections, score: float, classes: Sequence[str]) -> list[FoundObject]:
    """Return the detections of at least `score` as rows to print; labels index `classes`."""
    return [
        {"class": classes[label], "score": round(s, 4), "box": [round(v, 1) for v in box]}
        for box, s, label in zip(detections.boxes.tolist(), detections.scores.tolist(), detections.labels.tolist(), strict=True)
        if s >= score
    ]


def say(source: Path | str, compared: Compared, went: Sequence[FoundObject], came: Sequence[FoundObject], target: Path) -> None:
    """Print how many objects a photo has before and after restoring, and those that came and went."""
    kept = len(compared.changes.kept)
    change = f"{len(came)} came, {len(went)} went" if came or went else "no change"
    counts = f"{counted(kept + len(went), 'object')} before, {counted(kept + len(came), 'object')} after {compared.restorer}"
    click.echo(f"{source}: {counts}: {change} -> {target}")
    for sign, listed in (("+", came), ("-", went)):
        for row in listed:
            click.echo(f"  {sign} {row['class']:12s} {row['score']:.3f}  {row['box']}")
