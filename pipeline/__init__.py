"""The public API: models by name, restoring and detecting in photos, and the restorer in front of a detector.

Its parts live here too: the chain, the tables of names, and the sources of weights. Names are imported when they are
used, so that importing this package loads neither torch nor a model's library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vocbench.pipeline.chain import RestoredDetector as RestoredDetector
    from vocbench.pipeline.integrations import attach as attach
    from vocbench.pipeline.integrations import detach as detach
    from vocbench.pipeline.integrations import restore_video as restore_video
    from vocbench.pipeline.models import load_detector as load_detector
    from vocbench.pipeline.models import load_restorer as load_restorer
    from vocbench.pipeline.photos import detect as detect
    from vocbench.pipeline.photos import restore as restore

FACE = {
    "RestoredDetector": "chain",
    "attach": "integrations",
    "detach": "integrations",
    "detect": "photos",
    "load_detector": "models",
    "load_restorer": "models",
    "restore": "photos",
    "restore_video": "integrations",
}  # name: module
__all__ = ["RestoredDetector", "attach", "detach", "detect", "load_detector", "load_restorer", "restore", "restore_video"]


def __getattr__(name: str) -> object:
    if name not in FACE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{FACE[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
