"""The interface for drawing a run's pictures: the code that computes is handed an artist and imports none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from vocbench.benchmarks.running.unit import Variant
from vocbench.benchmarks.storage.pictures import Pictures
from vocbench.benchmarks.storage.run_folder import RunFolder
from vocbench.detection.detections import Detections, Objects


class Artist(Protocol):
    """Draws the pictures of a unit where it is computed, and saves them where the run's folder is."""

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
        """Write the pictures of `draw` into the run's folder."""


class Hire(Protocol):
    """A factory of the artist of a run."""

    def __call__(self, folder: RunFolder, chosen: dict[str, int], classes: Sequence[str]) -> Artist:
        """Return the artist that draws the photos `chosen` (id to number) into a run's folder; labels index `classes`."""
