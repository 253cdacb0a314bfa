"""Names of classes: one rule for annotations, detections and models.

Case, blanks, hyphens and underscores do not matter, and COCO's spellings of VOC's classes mean VOC's. A name that
matches exactly is preferred to one that matches by this rule.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from vocbench.detection.detections import VOC_CLASSES

# COCO's spellings that differ from VOC's by more than blanks.
COCO_TO_VOC = {"airplane": "aeroplane", "motorcycle": "motorbike", "couch": "sofa", "tv": "tvmonitor"}


def class_key(name: str) -> str:
    """Return the normalised form of a class name: "TV-Monitor" and "tv" are both "tvmonitor"."""
    key = re.sub(r"[\s_\-]+", "", name).casefold()
    return COCO_TO_VOC.get(key, key)


class ClassIndex:
    """The labels of class names: `index(name)` is the place among `classes`, None for a name that is not among them."""

    def __init__(self, classes: Sequence[str]):
        self.classes = tuple(classes)
        self._exact = {name: i for i, name in reversed(list(enumerate(self.classes)))}
        self._alike: dict[str, int | None] = {}
        for i, name in enumerate(self.classes):
            key = class_key(name)
            self._alike[key] = None if key in self._alike else i  # of two alike, only the exact name counts

    def __call__(self, name: str) -> int | None:
        exact = self._exact.get(name)
        return self._alike.get(class_key(name)) if exact is None else exact

    def labels(self, names: Sequence[str]) -> list[int]:
        """Return the place of each name, -1 for those that are not among the classes."""
        return [-1 if (label := self(name)) is None else label for name in names]


VOC_INDEX = ClassIndex(VOC_CLASSES)


def own_classes(names: Sequence[str]) -> tuple[str, ...]:
    """Return the classes of a data set whose objects have these names: VOC's twenty if all are VOC's, else its own, sorted.

    Of several spellings of one class, the alphabetically first is used.
    """
    if all(VOC_INDEX(name) is not None for name in names):
        return VOC_CLASSES
    kept: dict[str, str] = {}
    for name in sorted(set(names)):
        kept.setdefault(class_key(name), name)
    return tuple(sorted(kept.values()))


def listed_classes(names: Sequence[str]) -> tuple[str, ...]:
    """Return the classes of a data set that lists its names: VOC's twenty if all are VOC's, else these, sorted.

    They are sorted so that the same photos have the same classes in every format.
    """
    return VOC_CLASSES if all(VOC_INDEX(name) is not None for name in names) else tuple(sorted(set(names)))
