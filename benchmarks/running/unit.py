"""The unit of work: a few consecutive photos, read, degraded, restored, detected and measured.

Batches are formed inside a unit only, and a unit's results depend only on the settings and its number. So resuming a run, or
other workers and machines, can never change a result.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import cached_property, partial

from torch import Tensor, nn
from vocbench.benchmarks.running.clock import Clock
from vocbench.benchmarks.running.known import stored_detections
from vocbench.benchmarks.running.measuring import Awaited, Gathered
from vocbench.benchmarks.running.prepared import Prepared
from vocbench.benchmarks.running.sources import own_sources
from vocbench.benchmarks.settings import RunSettings, hardware
from vocbench.benchmarks.storage.records import Execution
from vocbench.benchmarks.storage.row import Row
from vocbench.benchmarks.variants import AS_IS, is_clean, on_clean
from vocbench.detection.detections import Detections
from vocbench.detection.detectors.labels import known_classes, labelled_by
from vocbench.pipeline.chain import Attempt, RestorerError, Shrink, detect_photos, restore_photos
from vocbench.pipeline.models import Built, built_detector, built_restorer, parse_detector, parse_restorer
from vocbench.pipeline.scale import enlarged, grown, seen_size, shrunk
from vocbench.pipeline.specs import Spec
from vocbench.restorer.contract import Facts

TOGETHER = 4  # images that a restorer gets at once on the CPU, where it takes long; how they are grouped changes no result


@dataclass(frozen=True)
class Equipment:
    """What a run is computed with: by label, the SHA-256 of the weights and how a network is executed; and the hardware.

    For a user's own models also the SHA-256 of the source file.
    """

    weights_sha256: dict[str, str | None]
    execution: dict[str, Execution]
    hardware: str
    sources_sha256: dict[str, str | None] = field(default_factory=dict)
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)  # that each detector knows


@dataclass(frozen=True)
class Models:
    """The restorers and detectors of a run by label, with their facts."""

    restorers: dict[str, nn.Module]
    detectors: dict[str, nn.Module]
    built: Mapping[str, Built] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Facts]:
        """Return the facts of each model as they are now."""
        return {name: built.facts for name, built in self.built.items()}

    def batches(self) -> dict[str, int]:
        """Return how many tiles at a time each network gets now; they are halved where memory runs out."""
        return {name: one.batch for name, one in self.facts.items() if one.batch is not None}

    def equipment(self, settings: RunSettings) -> Equipment:
        """Return the equipment: what the models are and what they run on."""
        facts = self.facts
        return Equipment(
            {name: one.sha256 for name, one in facts.items()},
            {
                name: Execution(engine=one.engine, tile=one.tile, batch=one.batch)
                for name, one in facts.items()
                if one.tile is not None
            },
            hardware(settings.device),
            own_sources(settings),
            {name: known_classes(model) for name, model in self.detectors.items()},
        )

    def labelled_by(self, classes: Sequence[str]) -> Models:
        """Return the same, with detectors whose labels index `classes`."""
        relabelled = {name: labelled_by(model, classes) for name, model in self.detectors.items()}
        return Models(self.restorers, relabelled, self.built)


def build_models(settings: RunSettings) -> Models:
    """Build the restorers and detectors that the settings name; ValueError for a label given twice."""
    restorers = [parse_restorer(text) for text in settings.restorers]
    detectors = [parse_detector(text) for text in settings.detectors]
    _check_labels(restorers, "two restorers are")
    _check_labels(detectors, "two detectors are")
    _check_labels(restorers + detectors, "a restorer and a detector are both")
    restoring = {spec.label: built_restorer(spec, settings.options) for spec in restorers}
    detecting = {spec.label: built_detector(spec, settings.options) for spec in detectors}
    return Models(
        {name: built.model for name, built in restoring.items()},
        {name: built.model for name, built in detecting.items()},
        restoring | detecting,
    )


def _check_labels(specs: list[Spec], who: str) -> None:
    labels = [spec.label for spec in specs]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise ValueError(f"{who} called {twice!r}; name them with LABEL=NAME")


@dataclass(frozen=True)
class Seen:
    """A variant's photos as a detector sees them: images (3, h, w), the restorer's errors and notes, and its seconds."""

    images: list[Tensor]
    errors: list[str | None]
    notes: list[str | None]  # JSON
    seconds: float  # of restoring, all images


@dataclass(frozen=True)
class Variant:
    """The photos of a unit as one variant has them, by the label of the detector that sees them."""

    name: str
    items: list[Prepared]
    seen: dict[str, Seen]

    @property
    def errors(self) -> list[str | None]:
        """Return the restorer's error on each photo, for whichever detector."""
        return [next(filter(None, of), None) for of in zip(*(seen.errors for seen in self.seen.values()), strict=True)]

    @cached_property
    def images(self) -> list[Tensor]:
        """Return the images (3, H, W) for display: those of the first detector, at the photos' own size."""
        first = next(iter(self.seen.values()))
        return [grown(image, item.degraded) for image, item in zip(first.images, self.items, strict=True)]


Step = Callable[[str, int], None]  # called with a variant's name and how many of its images were restored since


def _restored(
    settings: RunSettings,
    label: str,
    restorer: nn.Module,
    photos: list[str],
    images: list[Tensor],
    shrink: Shrink | None,
    step: Callable[[int], None],
) -> list[Attempt]:
    """Return the images restored, on the CPU a few at a time, so that `step` can report progress."""
    size = TOGETHER if settings.device == "cpu" else len(images)
    restored: list[Attempt] = []
    for first in range(0, len(images), size):
        some = slice(first, first + size)
        restored += restore_photos(label, restorer, photos[some], images[some], shrink)
        error = next((result.error for result in restored if result.error), None)
        if settings.on_error == "stop" and error:
            raise RestorerError(f"{error}; fix it, or leave such photos out with `on_error='skip'`")
        step(len(images[some]))
    return restored


def _unrestored(name: str, items: list[Prepared], images: list[Tensor], models: Models) -> Variant:
    none: list[str | None] = [None] * len(items)
    return Variant(name, items, dict.fromkeys(models.detectors, Seen(images, none, none, 0.0)))


def _variants(
    settings: RunSettings, items: list[Prepared], models: Models, clock: Clock, step: Step, clean_known: bool = False
) -> list[Variant]:
    """Return the photos of every variant; clean ones are not restored if their results are known."""
    firsts = [item for item in items if item.draw == 0]
    if settings.as_they_are:
        variants = [_unrestored(AS_IS, items, [item.degraded for item in items], models)]
    else:
        distorted = _unrestored("distorted", items, [item.degraded for item in items], models)
        variants = [_unrestored("clean", firsts, [item.clean for item in firsts], models), distorted]
    jobs = [(label, label, items, [item.degraded for item in items]) for label in models.restorers]
    if settings.do_no_harm and not clean_known:
        jobs += [(on_clean(label), label, firsts, [item.clean for item in firsts]) for label in models.restorers]
    for name, label, chosen, images in jobs:
        photos = [item.image for item in chosen]
        work = partial(_restored, settings, label, models.restorers[label], photos)
        variants.append(Variant(name, chosen, _by_detector(settings, images, models, clock, work, partial(step, name))))
    return variants


def _by_detector(
    settings: RunSettings, images: list[Tensor], models: Models, clock: Clock, work: Callable, step: Callable[[int], None]
) -> dict[str, Seen]:
    """Return what each detector gets of the images restored by `work`; equal sizes are restored once."""
    made: dict[tuple[tuple[int, ...], ...], Seen] = {}
    seen: dict[str, Seen] = {}
    for label, detector in models.detectors.items():
        small = settings.restore_at == "detector"
        sizes = tuple(seen_size(image, detector) if small else tuple(image.shape[1:]) for image in images)
        if sizes not in made:
            report = (lambda count: None) if made else step  # each image counts once in the progress
            shrink = partial(shrunk, detector=detector) if small else None
            restored, seconds = clock.time("restore", partial(work, images, shrink, report))
            notes = [json.dumps(result.note) if result.note is not None else None for result in restored]
            errors = [result.error for result in restored]
            made[sizes] = Seen([result.image for result in restored], errors, notes, seconds)
        seen[label] = made[sizes]
    return seen


@dataclass(frozen=True)
class Computed:
    """The results of a unit: its variants with their images, detections by variant and detector, and its rows."""

    variants: list[Variant]
    detections: dict[str, dict[str, list[Detections]]]
    rows: Awaited


def compute(
    settings: RunSettings,
    unit: int,
    items: list[Prepared],
    models: Models,
    clock: Clock,
    pool: Executor,
    step: Step = lambda variant, images: None,
    known: Sequence[Row] = (),
) -> Computed:
    """Restore the photos of a unit and detect in them; `pool` measures the degraded photos and what restorers gave.

    Its rows are one for each image, draw, variant and detector. `known` rows of clean photos, restored or not, from another run
    of a sweep are taken over in place of computing them again.
    """
    clock.note_work(
        workers_read=sum(item.seconds_read for item in items),
        workers_degrade=sum(item.seconds for item in items),
    )
    variants = _variants(settings, items, models, clock, step, bool(known))
    found: dict[str, dict[str, list[Detections]]] = {variant.name: {} for variant in variants}
    known_clean, gathered = [row for row in known if row.variant == "clean"], Gathered()
    gathered.add(known_clean)
    for variant in variants:
        if known and variant.name == "clean":
            found["clean"] = {label: stored_detections(known_clean, label) for label in models.detectors}
            continue
        is_measured = variant.name != "clean" and not settings.as_they_are
        for label, detector in models.detectors.items():
            checked, seconds = _detected(label, detector, variant, clock)
            found[variant.name][label] = checked
            rows = [_row(unit, variant, i, label, result, seconds) for i, result in enumerate(checked)]
            if is_measured:
                gathered.add_measured(rows, variant.items, variant.seen[label].images, detector)
            else:
                gathered.add(rows)
    gathered.add([row for row in known if row.variant != "clean"])
    return Computed(variants, found, gathered.measured_by(pool))


def _detected(label: str, detector: nn.Module, variant: Variant, clock: Clock) -> tuple[list[Detections], float]:
    """Return what a detector finds in a variant's photos, boxes in their own pixels, and the seconds it took."""
    images, photos = variant.seen[label].images, [item.image for item in variant.items]
    checked, seconds = clock.time("detect", partial(detect_photos, label, detector, photos, images))
    together = zip(checked, images, variant.items, strict=True)
    return [enlarged(result, image, item.degraded) for result, image, item in together], seconds


def _row(unit: int, variant: Variant, i: int, detector: str, found: Detections, seconds: float) -> Row:
    """Return the row of photo `i` of a variant; `seconds` is what detecting on all its photos took."""
    item = variant.items[i]
    return Row(
        unit=unit,
        image=item.image,
        draw=item.draw,
        variant=variant.name,
        detector=detector,
        boxes=found.boxes.flatten().tolist(),
        scores=found.scores.tolist(),
        labels=found.labels.tolist(),
        levels=json.dumps(item.levels) if not is_clean(variant.name) else None,
        note=variant.seen[detector].notes[i],
        error=variant.seen[detector].errors[i],
        seconds_degrade=0.0 if is_clean(variant.name) else item.seconds,
        seconds_restore=variant.seen[detector].seconds / len(variant.items),
        seconds_detect=seconds / len(variant.items),
    )
