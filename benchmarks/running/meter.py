"""How far a run is, told every few images though its photos are computed and stored in units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from vocbench.benchmarks.settings import RunSettings

Progress = Callable[[int, int], Callable[[float, str], None]]  # total and done photos -> photos done since, and the variant
STORED = "stored"  # told in place of a variant where photos are done


@dataclass
class Meter:
    """Tells how far a run is in parts of a photo: each restored image of it is one, and the rest of the work another."""

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
