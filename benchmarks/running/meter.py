"""The progress of a run, reported every few images although photos are computed and stored in units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from vocbench.benchmarks.settings import RunSettings

Progress = Callable[[int, int], Callable[[float, str], None]]  # total and done photos -> photos done since, and the variant
STORED = "stored"  # reported in place of a variant when photos are done


@dataclass
class Meter:
    """Counts progress in parts of a photo: one for each of its restored images, and one for the rest of the work."""

    settings: RunSettings
    units: list[list[str]]
    report: Callable[[float, str], None]
    counted: Counter[int] = field(default_factory=Counter)  # unit: its images that are restored

    @property
    def parts(self) -> int:
        """Return the number of parts of a photo."""
        return 1 + len(self.settings.restorers) * (self.settings.draws + self.settings.do_no_harm)

    def step(self, unit: int, variant: str, images: int) -> None:
        """Count images of a unit that are restored."""
        self.counted[unit] += images
        self.report(images / self.parts, variant)

    def finish(self, unit: int) -> None:
        """Count what is left of a unit that is done."""
        self.report(len(self.units[unit]) - self.counted.pop(unit, 0) / self.parts, STORED)
