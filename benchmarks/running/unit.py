"""The unit of work: a few consecutive photos, read, degraded, restored, detected and measured.

Batches are formed inside a unit only, and what a unit gives depends on nothing but the settings and its number. So a resumed
run, other workers or other machines can never change a result.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from vocbench.benchmarks.settings import RunSettings, hardware
from vocbench.benchmarks.variants import is_clean, on_clean
from vocbench.detection.detections import Detections
from vocbench.pipeline.chain import RestorerError, detect_photos, restore_photos
from vocbench.pipeline.models import build_detector, build_restorer, parse_detector, parse_restorer
from vocbench.pipeline.specs import Spec
from vocbench.restorer.degradations.recipes import degrade, level_degrade
from vocbench.restorer.images import read_image
from vocbench.restorer.quality import SSIM_WINDOW, psnr, ssim


@dataclass(frozen=True)
class Equipment:
    """What a run is computed with: by label the weights' SHA-256 and how a network is executed, and the hardware's name."""

    weights_sha256: dict[str, str | None]
    execution: dict[str, dict[str, Any]]
    hardware: str


@dataclass(frozen=True)
class Models:
    """What a run needs to compute: restorers and detectors by label."""

    restorers: dict[str, nn.Module]
    detectors: dict[str, nn.Module]

    def equipment(self, device: str) -> Equipment:
        both = self.restorers | self.detectors
        return Equipment(
            {name: getattr(model, "weights_sha256", None) for name, model in both.items()},
            {name: model.execution for name, model in both.items() if hasattr(model, "execution")},  # type: ignore[misc]
            hardware(device),
        )


def build_models(settings: RunSettings) -> Models:
    """The restorers and detectors that the settings name; ValueError for a label given twice."""
    restorers = [parse_restorer(text) for text in settings.restorers]
    detectors = [parse_detector(text) for text in settings.detectors]
    _check_labels(restorers, "two restorers are")
    _check_labels(detectors, "two detectors are")
    _check_labels(restorers + detectors, "a restorer and a detector are both")
    return Models(
        {spec.label: build_restorer(spec, settings.options) for spec in restorers},
        {spec.label: build_detector(spec, settings.options) for spec in detectors},
    )


def _check_labels(specs: list[Spec], who: str) -> None:
    labels = [spec.label for spec in specs]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise ValueError(f"{who} called {twice!r}; name them with LABEL=NAME")


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


def peak_memory() -> dict[str, int]:
    """The peak memory so far in bytes: resident, of this process or a child that has ended, and of CUDA where it is used."""
    import resource  # which only a run needs: `restore` and `detect` work where it is missing

    resident = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    peaks = {"peak_memory_bytes": 1024 * resident}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        peaks["peak_cuda_bytes"] = max(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count()))
    return peaks


@dataclass
class Clock:
    """Seconds spent in each stage, and the peak memory of the processes seen."""

    spent: dict[str, float] = field(default_factory=lambda: {"restore": 0.0, "detect": 0.0, "measure": 0.0})
    peaks: dict[str, int] = field(default_factory=dict)

    def note(self, peaks: Mapping[str, int]) -> None:
        """Take in the peaks of a process."""
        self.peaks |= {name: max(count, self.peaks.get(name, 0)) for name, count in peaks.items()}

    def time(self, stage: str, work: Callable[[], Any]) -> tuple[Any, float]:
        begun = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - begun
        self.spent[stage] += seconds
        return result, seconds


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
    jobs = [(label, label, items, [item.degraded for item in items]) for label in restorers]
    if settings.do_no_harm:
        jobs += [(on_clean(label), label, firsts, [item.clean for item in firsts]) for label in restorers]
    for name, label, chosen, images in jobs:
        restorer = restorers[label]
        restored, seconds = clock.time(
            "restore", partial(restore_photos, label, restorer, [item.image for item in chosen], images)
        )
        errors = [result.error for result in restored]
        if settings.on_error == "stop" and any(errors):
            raise RestorerError(f"{next(e for e in errors if e)}; mend it, or leave such photos out with `on_error='skip'`")
        notes = [json.dumps(result.note) if result.note is not None else None for result in restored]
        variants.append(_Variant(name, chosen, [result.image for result in restored], errors, notes, seconds))
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
            photos = [item.image for item in variant.items]
            checked, seconds = clock.time("detect", partial(detect_photos, label, detector, photos, variant.images))
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
                        "levels": json.dumps(item.levels) if not is_clean(variant.name) else None,
                        "note": variant.notes[i],
                        "error": variant.errors[i],
                        "seconds_degrade": 0.0 if is_clean(variant.name) else item.seconds,
                        "seconds_restore": variant.seconds / len(variant.items),
                        "seconds_detect": seconds / len(variant.items),
                    }
                )
    if show is not None:
        show(variants, found)
    return rows
