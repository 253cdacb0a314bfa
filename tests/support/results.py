"""Results of a run made up from a few numbers."""

from __future__ import annotations

from typing import Any

from vocbench.benchmarks.results.schema import CountedPhotos, DetectorIdentity, Results, VariantResults


def results_of(variants: dict[str, VariantResults], **given) -> Results:
    """Results with these variants; whatever else is given replaces what is made up."""
    values: dict[str, Any] = {
        "protocol": "voc07",
        "iou": 0.5,
        "dataset": CountedPhotos(name="VOC2099", split="val", images=5, objects=5),
        "recipe": "voc",
        "seed": 0,
        "draws": 1,
        "detector": DetectorIdentity(name="blob"),
    }
    return Results(variants=variants, **values | given)
