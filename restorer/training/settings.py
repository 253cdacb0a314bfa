"""The settings of a training with their units and origins, its budget and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from vocbench.restorer.training.patches import MEMORY, SCALES


@dataclass(frozen=True)
class Training:
    """Settings of a run, saved with its checkpoints; the defaults are the paper's."""

    network: str = "owan"
    clean: tuple[str, ...] = ()  # folders of clean photos
    mixture: tuple[tuple[str, float], ...] = (("voc", 0.6), ("moderate", 0.3), ("clean", 0.1))
    patch: tuple[int, ...] = (63,)  # pixels; one size is drawn per step
    batch: int = 32  # patches of the first size; other sizes get about as many pixels
    learning_rate: float = 1e-3
    gates_factor: float = 10.0  # of the learning rate, for the gates of a network at a part of the resolution
    only: str = ""  # train only parameters whose names begin with this
    warmup: int = 0  # steps of linear rise
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0  # norm of the gradient, 0 for none
    ema: float = 0.999  # decay per step of the averaged weights
    steps: int | None = None  # the budget; one of steps and minutes
    minutes: float | None = None
    seed: int = 0
    validate: int = 250  # steps between validations and checkpoints
    held: int = 20  # about one in this many photos is held out for validation
    task_weight: float = 0.0  # weight of the task loss, beside L1
    drawn: float = 0.0  # share of patches that are flat, smooth or drawn pictures
    scales: tuple[float, ...] = SCALES  # of the photos that patches are cut from
    memory: int = MEMORY  # bytes of decoded photos that are kept

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give the budget either as steps or as minutes")
        if min(self.patch, default=0) < 16:
            raise ValueError(f"patches must be at least 16 pixels, got {self.patch}")
        if self.batch < 1 or self.held < 2:
            raise ValueError(f"expected batch >= 1 and held >= 2, got {self.batch} and {self.held}")
        if not 0 <= self.drawn <= 1:
            raise ValueError(f"the share of drawn pictures must be in 0 to 1, got {self.drawn}")
        if not self.scales or not all(0 < scale <= 1 for scale in self.scales):
            raise ValueError(f"scales of photos must be above 0 and at most 1, got {self.scales}")
        if self.validate < 1:
            raise ValueError(f"expected at least 1 step between validations, got {self.validate}")


# Settings that may change when a training is resumed: none of them affects the steps so far.
CHANGEABLE = frozenset({"clean", "learning_rate", "clip", "steps", "minutes", "validate", "memory"})


def plain(settings: Training) -> dict[str, Any]:
    """Return settings as lists, numbers and text, which a checkpoint can hold without pickled classes."""

    def listed(value: Any) -> Any:
        return [listed(one) for one in value] if isinstance(value, tuple) else value

    return {name: listed(value) for name, value in asdict(settings).items()}


def changed(settings: Training, kept: Mapping[str, Any]) -> list[str]:
    """Return the names of settings that must not differ from a checkpoint's but do; settings that it lacks had the default."""
    given = plain(settings)
    before = {field.name: field.default for field in fields(Training)} | {"scales": list(SCALES)} | dict(kept)
    return [name for name, value in given.items() if name not in CHANGEABLE and before[name] != value]


def schedule(settings: Training, step: int, elapsed: float) -> float:
    """Return the learning rate at a step, or after `elapsed` seconds: linear warm-up, then a cosine over the budget to zero."""
    done = step / settings.steps if settings.steps else elapsed / (60 * (settings.minutes or 1))
    warm = min(1.0, (step + 1) / settings.warmup) if settings.warmup else 1.0
    return settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def finished(settings: Training, step: int, elapsed: float) -> bool:
    """Return whether the budget is used up."""
    return step >= settings.steps if settings.steps else elapsed >= 60 * (settings.minutes or 0)
