"""Detections, data sets and average precision: everything from an image to a result.

Names are imported when they are used, so that importing this package does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vocbench.detection.average_precision import evaluate as evaluate
    from vocbench.detection.datasets.read import read_dataset as read_dataset
    from vocbench.detection.detections import VOC_CLASSES as VOC_CLASSES
    from vocbench.detection.detections import Detections as Detections
    from vocbench.detection.detections import Objects as Objects

FACE = {
    "Detections": ("detections", "Detections"),
    "Objects": ("detections", "Objects"),
    "VOC_CLASSES": ("detections", "VOC_CLASSES"),
    "evaluate": ("average_precision", "evaluate"),
    "read_dataset": ("datasets.read", "read_dataset"),
}  # name: module, and its name there
__all__ = ["VOC_CLASSES", "Detections", "Objects", "evaluate", "read_dataset"]


def __getattr__(name: str) -> object:
    if name not in FACE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, inside = FACE[name]
    return getattr(import_module(f"{__name__}.{module}"), inside)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
