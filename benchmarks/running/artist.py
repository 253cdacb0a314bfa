"""Who draws a run's pictures, as far as computing knows: it is handed an artist and imports none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from vocbench.benchmarks.running.unit import Variant
from vocbench.benchmarks.storage.pictures import Pictures
from vocbench.detection.detections import Detections, Objects


class Artist(Protocol):
    """Draws what a unit has to show, where it is computed, and keeps the pictures, where the run's folder is."""

    def draw(
        self,
        variants: Sequence[Variant],
        detections: Mapping[str, Mapping[str, Sequence[Detections]]],
        objects: Callable[[str], Objects],
    ) -> Pictures:
        """Return the pictures of a unit: of its variants with their images, and detections by variant and detector.

        `objects` gives the ground truth of an image.
        """

    def keep(self, pictures: Pictures) -> None:
        """Write what `draw` gave into the run's folder."""


class Hire(Protocol):
    """Gives the artist of a run."""

    def __call__(self, folder: Path, chosen: dict[str, int], classes: Sequence[str]) -> Artist:
        """Return who draws into `folder` the photos `chosen` (id to number), whose labels index `classes`."""
