"""The training batches, prepared one step ahead, and the validation sets."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor
from vocbench.restorer.training.patches import PhotoPatches
from vocbench.restorer.training.photos import part
from vocbench.restorer.training.process import Process
from vocbench.restorer.training.settings import Training


class Patches:
    """The batch of each step, prepared during the step before: sizes are drawn per step, samples divided among processes."""

    def __init__(self, settings: Training, process: Process, names: Sequence[str] | None = None):
        """Start to prepare batches; `names` are the held-out photos of a resumed training."""
        self.settings, self.process = settings, process
        self.photos = part(settings.clean, settings.held, names)
        mixture = dict(settings.mixture)
        self.source = PhotoPatches(self.photos.train, mixture, settings.seed, settings.scales, settings.drawn, settings.memory)
        self._worker = ThreadPoolExecutor(1, "batches", process.use_device)
        self._ahead: dict[int, Future] = {}

    @property
    def held(self) -> list[Path]:
        """Return the photos held out for validation."""
        return self.photos.held

    def next(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the batch of a step, and start to prepare the next one."""
        now = self._ahead.pop(step, None) or self._worker.submit(self.batch, step)
        self._ahead = {step + 1: self._worker.submit(self.batch, step + 1)}
        return now.result()

    def size(self, step: int) -> int:
        choices = self.settings.patch
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + step)
        return choices[int(torch.randint(len(choices), (), generator=generator))]

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return degraded and clean patches, and which of them show photos (B,) bool."""
        size = self.size(step)
        count = max(1, round(self.settings.batch * (self.settings.patch[0] / size) ** 2))
        first = self.process.rank * count
        indices = range(first, first + count)
        degraded, clean, samples = self.source.batch(size, step, indices, self.process.device)
        return degraded, clean, torch.tensor([sample.is_photo for sample in samples])

    def validation(self, count: int = 16) -> dict[str, tuple[Tensor, Tensor]]:
        """Return, per recipe of the mixture, `count` degraded and clean patches of the held-out photos."""
        sets = {}
        for recipe, _ in self.settings.mixture:
            held = PhotoPatches(self.held, {recipe: 1.0}, seed=2**31 + self.settings.seed)
            sets[recipe] = held.batch(max(self.settings.patch), 0, range(count), self.process.device)[:2]
        return sets
