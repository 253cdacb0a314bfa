"""The unit of work: a few consecutive photos, read, degraded, restored, detected and measured.

Batches are formed inside a unit only, and what a unit gives depends on nothing but the settings and its number. So a resumed
run, other workers or other machines can never change a result.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from vocbench.benchmarks.settings import RunSettings
from vocbench.detection.detections import Detections
from vocbench.pipeline.chain import restore_images
from vocbench.pipeline.names import Options, build_detector, build_restorer, parse_detector, parse_restorer
from vocbench.restorer.degradations import degrade, level_degrade
from vocbench.restorer.images import read_image
from vocbench.restorer.quality import SSIM_WINDOW, psnr, ssim


@dataclass(frozen=True)
class Models:
    """What a run needs to compute: restorers and detectors by label."""

    restorers: dict[str, nn.Module]
    detectors: dict[str, nn.Module]

    @property
    def weights_sha256(self) -> dict[str, str | None]:
        both = [*self.restorers.items(), *self.detectors.items()]
        return {name: model.weights_sha256 for name, model in both}  # type: ignore[misc]


def build_models(settings: RunSettings) -> Models:
    """The restorers and detectors that the settings name; ValueError for a name given twice."""
    options = Options(settings.tile, settings.engine, settings.device, settings.batch, settings.trust_weights)
    restorers: dict[str, nn.Module] = {}
    detectors: dict[str, nn.Module] = {}
    for text in settings.restorers:
        spec = parse_restorer(text)
        if spec.label in restorers:
            raise ValueError(f"two restorers are called {spec.label!r}; name them with LABEL=NAME")
        restorers[spec.label] = build_restorer(spec, options)
    for text in settings.detectors:
        spec = parse_detector(text)
        if spec.label in detectors:
            raise ValueError(f"two detectors are called {spec.label!r}; name them with LABEL=NAME")
        detectors[spec.label] = build_detector(spec, options)
    return Models(restorers, detectors)


@dataclass
class Prepared:
    """One degradation of one photo."""

    image: str
    draw: int
    clean: Tensor  # (3, H, W)
    degraded: Tensor
    levels: dict[str, float]
    seconds: float


def draw_id(image: str, draw: int) -> str:
    """The name that seeds draw `draw` of an image; the first draw's is the image's own."""
    return image if draw == 0 else f"{image}#{draw}"


def prepare(settings: RunSettings, photos: Sequence[tuple[str, Path]]) -> list[Prepared]:
    """Read and degrade the photos (id, path) of a unit; runs in a worker."""
    torch.set_num_threads(1)
    made = []
    for image, path in photos:
        clean = read_image(path)
        for draw in range(settings.draws):
            begun = time.perf_counter()
            if settings.levels is not None:
                levels = json.loads(settings.levels)
                degraded = level_degrade(clean, levels, settings.seed, draw_id(image, draw))
            else:
                degraded, levels = degrade(clean, settings.recipe, settings.seed, draw_id(image, draw))
            made.append(Prepared(image, draw, clean, degraded, levels, time.perf_counter() - begun))
    return made


@dataclass
class Clock:
    """Seconds spent in each stage."""

    spent: dict[str, float] = field(default_factory=lambda: {"restore": 0.0, "detect": 0.0, "measure": 0.0})

    def time(self, stage: str, work: Callable[[], Any]) -> tuple[Any, float]:
        begun = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - begun
        self.spent[stage] += seconds
        return result, seconds


class RestorerError(ValueError):
    """A restorer failed on a photo; the message names both."""


def _restore(label: str, restorer: nn.Module, items: Sequence[Prepared], images: list[Tensor]) -> list[Tensor | str]:
    """Each image restored, or the reason why not."""
    try:
        return list(restore_images(restorer, images))
    except Exception as error:
        if len(images) == 1:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            return [f"the restorer {label!r} failed on {items[0].image}: {reason}"]
        # One by one, so that only the photo at fault is lost.
        return [_restore(label, restorer, [item], [image])[0] for item, image in zip(items, images, strict=True)]


@dataclass(frozen=True)
class _Variant:
    name: str
    items: list[Prepared]
    images: list[Tensor]
    errors: list[str | None]
    notes: list[str | None]
    seconds: float  # of restoring, all images


def _variants(settings: RunSettings, items: list[Prepared], restorers: dict[str, nn.Module], clock: Clock) -> list[_Variant]:
    firsts = [item for item in items if item.draw == 0]
    none: list[str | None] = [None] * len(items)
    variants = [
        _Variant("clean", firsts, [item.clean for item in firsts], none[: len(firsts)], none[: len(firsts)], 0.0),
        _Variant("distorted", items, [item.degraded for item in items], none, none, 0.0),
    ]
    jobs = [(label, items, [item.degraded for item in items]) for label in restorers]
    if settings.do_no_harm:
        jobs += [(f"clean+{label}", firsts, [item.clean for item in firsts]) for label in restorers]
    for name, chosen, images in jobs:
        label = name.removeprefix("clean+")
        restorer = restorers[label]
        begun = time.perf_counter()
        restored = _restore(label, restorer, chosen, images)
        seconds = time.perf_counter() - begun
        clock.spent["restore"] += seconds
        errors = [result if isinstance(result, str) else None for result in restored]
        if settings.on_error == "stop" and any(errors):
            raise RestorerError(f"{next(e for e in errors if e)}; mend it, or leave such photos out with --on-error skip")
        shown = [image if isinstance(result, str) else result for result, image in zip(restored, images, strict=True)]
        told = getattr(restorer, "last_notes", None) or [None] * len(chosen)
        notes = [json.dumps(note) if note is not None else None for note in told]
        variants.append(_Variant(name, chosen, shown, errors, notes, seconds))
    return variants


def quality(image: Tensor, clean: Tensor) -> tuple[float | None, float | None]:
    """PSNR in dB (None where the images are identical) and SSIM (None below 7 pixels)."""
    decibels = psnr(image[None], clean[None]).item()
    small = min(image.shape[1:]) < SSIM_WINDOW
    return (decibels if math.isfinite(decibels) else None), (None if small else ssim(image[None], clean[None]).item())


def compute(
    settings: RunSettings,
    unit: int,
    items: list[Prepared],
    models: Models,
    clock: Clock,
    show: Callable[[list[_Variant], dict[str, dict[str, list[Detections]]]], None] | None = None,
) -> list[dict[str, Any]]:
    """The rows of a unit's store, one per (image, draw, variant, detector)."""
    variants = _variants(settings, items, models.restorers, clock)
    rows: list[dict[str, Any]] = []
    found: dict[str, dict[str, list[Detections]]] = {}
    for variant in variants:
        begun = time.perf_counter()
        measured: list[tuple[float | None, float | None]] = [(None, None)] * len(variant.items)
        if variant.name != "clean":
            pairs = zip(variant.images, variant.items, strict=True)
            measured = [quality(image, item.clean) for image, item in pairs]
        clock.spent["measure"] += time.perf_counter() - begun
        found[variant.name] = {}
        for label, detector in models.detectors.items():
            detections, seconds = clock.time("detect", partial(detector, variant.images))
            checked = [Detections.checked(*(part.cpu() for part in result)) for result in detections]
            found[variant.name][label] = checked
            for i, (item, result) in enumerate(zip(variant.items, checked, strict=True)):
                rows.append(
                    {
                        "unit": unit,
                        "image": item.image,
                        "draw": item.draw,
                        "variant": variant.name,
                        "detector": label,
                        "boxes": result.boxes.flatten().tolist(),
                        "scores": result.scores.tolist(),
                        "labels": result.labels.tolist(),
                        "psnr": measured[i][0],
                        "ssim": measured[i][1],
                        "levels": json.dumps(item.levels) if not variant.name.startswith("clean") else None,
                        "note": variant.notes[i],
                        "error": variant.errors[i],
                        "seconds_degrade": item.seconds,
                        "seconds_restore": variant.seconds / len(variant.items),
                        "seconds_detect": seconds / len(variant.items),
                    }
                )
    if show is not None:
        show(variants, found)
    return rows
