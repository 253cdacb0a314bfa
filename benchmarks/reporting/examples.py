"""Pictures of a run: each example photo clean, distorted and restored side by side, boxes drawn; and the gallery's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from vocbench.benchmarks.reporting.gallery import SHOWN_SCORE, Gallery
from vocbench.benchmarks.storage.pictures import Pictures
from vocbench.benchmarks.storage.run_folder import RunFolder
from vocbench.detection.detections import Detections, Objects
from vocbench.detection.drawing import draw_boxes, write_caption
from vocbench.restorer.files import write_whole
from vocbench.restorer.images import encode_image, from_uint8, to_uint8

if TYPE_CHECKING:
    from vocbench.benchmarks.running.unit import Variant

GAP = 6  # pixels between panels


class Examples:
    """Draws `NUMBER_IMAGE.png` for the chosen images (id to number), first draw, first detector, and feeds the gallery.

    Drawing and saving are separate, as they may happen on different machines.
    """

    def __init__(self, folder: RunFolder, chosen: dict[str, int], classes: Sequence[str]):
        self.folder, self.chosen, self.classes = folder.examples, chosen, classes
        self.gallery = Gallery(folder.gallery)

    def draw(
        self,
        variants: Sequence[Variant],
        detections: Mapping[str, Mapping[str, Sequence[Detections]]],
        objects: Callable[[str], Objects],
    ) -> Pictures:
        """Return the pictures of a unit: of its variants with their images, and detections by variant and detector.

        `objects` gives the ground truth of an image.
        """
        files = {}
        for image in dict.fromkeys(item.image for item in variants[0].items):
            if image not in self.chosen:
                continue
            panels = [
                _panel(variant.name, variant.images[i], next(iter(detections[variant.name].values()))[i], self.classes)
                for variant in variants
                for i, item in enumerate(variant.items)
                if item.image == image and item.draw == 0
            ]
            files[f"{self.chosen[image]:03d}_{image}.png"] = encode_image(beside(panels), ".png")
        return Pictures(files, self.gallery.draw(variants, detections, objects))

    def keep(self, pictures: Pictures) -> None:
        """Write them into the run's folder."""
        for name, data in pictures.examples.items():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / name, data)
        for shot in pictures.shots:
            self.gallery.keep(shot)


def _panel(title: str, image: Tensor, detections: Detections, classes: Sequence[str]) -> Tensor:
    return from_uint8(write_caption(draw_boxes(to_uint8(image), detections, SHOWN_SCORE, classes=classes), title))


def beside(panels: list[Tensor]) -> Tensor:
    """Return panels (3, H, W) of one height in a row, white between them."""
    gap = torch.ones(3, panels[0].shape[1], GAP)
    row = [part for panel in panels for part in (panel, gap)]
    return torch.cat(row[:-1], 2)
