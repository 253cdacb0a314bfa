"""Which classes a detector knows, and the same detector with labels that index other classes, mapped by their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from vocbench.detection.datasets.classes import VOC_INDEX, ClassIndex
from vocbench.detection.detections import VOC_CLASSES, Detections, classes_of


def default_classes(names: Sequence[str]) -> tuple[str, ...]:
    """Return the classes that a model's labels index by default: VOC's if it knows any of them, else its own."""
    return VOC_CLASSES if any(VOC_INDEX(name) is not None for name in names) else tuple(names)


def known_classes(detector: Any) -> tuple[str, ...]:
    """Return the names of all classes that a detector knows: its `known`, else those that its labels index."""
    return getattr(detector, "known", None) or classes_of(detector)


def label_map(names: Sequence[str], classes: Sequence[str]) -> Tensor:
    """Return the place of each name among the classes (names,), -1 for those that are not there."""
    return torch.tensor(ClassIndex(classes).labels(list(names)), dtype=torch.int64)


class Relabelled(nn.Module):
    """A detector whose labels index `classes`, by name; boxes of other classes are left out."""

    def __init__(self, detector: Callable[..., Any], classes: Sequence[str]):
        super().__init__()
        self.detector, self.classes = detector, tuple(classes)
        self.known = known_classes(detector)
        self.labels = label_map(classes_of(detector), classes)

    def forward(self, images: Sequence[Tensor]) -> list[Detections]:
        count = len(classes_of(self.detector))
        found = [Detections.of(result, count) for result in self.detector(images)]
        labels = [self.labels[one.labels] for one in found]
        return [
            Detections(one.boxes[kept >= 0], one.scores[kept >= 0], kept[kept >= 0])
            for one, kept in zip(found, labels, strict=True)
        ]


def labelled_by(detector: Any, classes: Sequence[str]) -> Any:
    """Return the detector with labels that index `classes`: by its own method `label_by` where it has one."""
    if classes_of(detector) == tuple(classes):
        return detector
    own = getattr(detector, "label_by", None)
    return own(classes) if callable(own) else Relabelled(detector, classes)
