"""What came and what went between two sets of detections of the same photos, by photo and by class, without ground truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vocbench.benchmarks.words import counted
from vocbench.detection.changes import SCORE, Changes, find_changes
from vocbench.detection.detections import Detections

CAVEAT = (
    "Without ground truth nobody can tell which of these are right: boxes that came may be false positives, and boxes that "
    "went may have been. Look at the pictures, or annotate some photos and run the benchmark on them."
)


@dataclass(frozen=True)
class ChangedPhoto:
    """The detections of a photo before and after, and the changes between them."""

    image: str
    before: Detections
    after: Detections
    changes: Changes

    @property
    def count(self) -> int:
        """Return how many boxes came or went."""
        return len(self.changes.came) + len(self.changes.went)


@dataclass(frozen=True)
class ClassChanges:
    """How many boxes of a class are in both, came and went."""

    name: str
    kept: int
    came: int
    went: int


def compare_detections(
    before: Mapping[str, Detections], after: Mapping[str, Detections], score: float = SCORE
) -> list[ChangedPhoto]:
    """Return the photos of either set, those first that changed most; a photo that one set lacks has no detections there."""
    made = []
    for image in sorted({*before, *after}):
        pair = before.get(image, Detections.empty()), after.get(image, Detections.empty())
        made.append(ChangedPhoto(image, *pair, find_changes(*pair, score)))
    return sorted(made, key=lambda one: -one.count)


def by_class(photos: Sequence[ChangedPhoto], classes: Sequence[str]) -> list[ClassChanges]:
    """Return the changes of each class that occurs, the most changed first."""
    kept, came, went = Counter[int](), Counter[int](), Counter[int]()
    for one in photos:
        kept.update(int(one.before.labels[i]) for i, _ in one.changes.kept)
        came.update(int(one.after.labels[i]) for i in one.changes.came)
        went.update(int(one.before.labels[i]) for i in one.changes.went)
    there = sorted({*kept, *came, *went}, key=lambda label: (-(came[label] + went[label]), label))
    return [ClassChanges(classes[label], kept[label], came[label], went[label]) for label in there]


def headline(photos: Sequence[ChangedPhoto]) -> str:
    """Say in one sentence how many detections there were, came and went."""
    kept, came, went = (sum(len(getattr(one.changes, kind)) for one in photos) for kind in ("kept", "came", "went"))
    changed = sum(one.count > 0 for one in photos)
    return (
        f"{counted(kept + went, 'detection')} before, {kept + came} after: {came} came, {went} went, "
        f"{kept} in both, on {counted(len(photos), 'photo')}, of which {changed} changed."
    )
