"""A page of what came and what went between two sets of detections, without labels, with the photos that changed most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from markupsafe import Markup
from vocbench.benchmarks.reporting.page import environment
from vocbench.benchmarks.reporting.photos import LARGEST, THUMBNAIL, Photo, View, data_url, marked_picture
from vocbench.benchmarks.results.changes import CAVEAT, ChangedPhoto, by_class, headline
from vocbench.benchmarks.storage.pictures import Change
from vocbench.detection.detections import Detections

SHOWN, LISTED = 24, 500  # photos with pictures, and in the table
BEFORE, AFTER = "before", "after"


def render_changes(
    compared: Sequence[ChangedPhoto],
    photos: tuple[Mapping[str, Path], Mapping[str, Path]],
    classes: Sequence[str],
    names: tuple[str, str],
    score: float,
    upright: bool = True,
) -> str:
    """Return the page as HTML.

    `photos` says where each image's photo lies before and after, where there are any; `names` what either side is called;
    `upright` that boxes count the pixels of photos as people see them.
    """
    changed = [one for one in compared if one.count]
    pictured = [one for one in changed if one.image in photos[0] and one.image in photos[1]][:SHOWN]
    return environment().get_template("changes.html").render(
        names=names,
        total=len(compared),
        score=f"{score:g}",
        headline=headline(compared),
        caveat=CAVEAT,
        changed=len(changed),
        photos=[_photo(one, photos[0][one.image], photos[1][one.image], classes, upright) for one in pictured],
        listed=changed[:LISTED],
        rows=by_class(compared, classes),
        words=("came", "went"),
        looks={BEFORE: 1, AFTER: 2},
        base=BEFORE,
        thin="unchanged",
    )  # fmt: skip


def _photo(one: ChangedPhoto, first: Path, second: Path, classes: Sequence[str], upright: bool) -> Photo:
    """Return what the gallery shows of a photo: both sides with their boxes."""
    changes = one.changes
    sources = data_url(first, LARGEST, upright), data_url(second, LARGEST, upright)
    before = _picture(
        sources[0], one.before, [i for i, _ in changes.kept], changes.went, "went", classes, f"{one.image}, before"
    )
    after = _picture(sources[1], one.after, [i for _, i in changes.kept], changes.came, "came", classes, f"{one.image}, after")
    came, went = _named(one.after, changes.came, classes), _named(one.before, changes.went, classes)
    small, width, height = data_url(second, THUMBNAIL, upright)
    made = Change(one.image, len(changes.came), len(changes.went), AFTER)
    return Photo(made, "", small, round(width / height, 4), [View(BEFORE, before, "", ""), View(AFTER, after, came, went)])


def _picture(
    source: tuple[str, int, int],
    detections: Detections,
    kept: Iterable[int],
    changed: Iterable[int],
    kind: str,
    classes: Sequence[str],
    title: str,
) -> Markup:
    """Return one side as SVG: boxes in both thin, those that came or went thick and with their class."""
    sign = "+" if kind == "came" else "−"
    marks = [("annotated", detections.boxes[i].tolist(), f"{_label(detections, i, classes)}, in both") for i in kept]
    marks += [(kind, detections.boxes[i].tolist(), f"{sign} {_label(detections, i, classes)}") for i in changed]
    return marked_picture(source, marks, title)


def _label(detections: Detections, i: int, classes: Sequence[str]) -> str:
    return f"{classes[int(detections.labels[i])]} {float(detections.scores[i]):.2f}"


def _named(detections: Detections, chosen: Iterable[int], classes: Sequence[str]) -> str:
    """Return the classes of these boxes, those of a class counted."""
    counts = Counter(classes[int(detections.labels[i])] for i in chosen)
    return ", ".join(name if count == 1 else f"{count} × {name}" for name, count in counts.items())
