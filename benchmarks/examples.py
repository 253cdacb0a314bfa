"""Pictures of a run: each example photo clean, distorted and restored side by side, boxes drawn; and the gallery's."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from vocbench.benchmarks.gallery import Gallery
from vocbench.detection.detections import Detections
from vocbench.detection.drawing import draw_boxes, write_caption
from vocbench.detection.voc import VOCSplit
from vocbench.restorer.images import from_uint8, to_uint8, write_image

SHOWN_SCORE = 0.3  # boxes below it are not drawn
GAP = 6  # pixels between panels


class Examples:
    """Writes `NUMBER_IMAGE.png` for the chosen images (id to number), first draw, first detector, and feeds the gallery."""

    def __init__(self, folder: Path, chosen: dict[str, int], data: VOCSplit):
        self.folder, self.chosen = folder, chosen
        self.gallery = Gallery(folder.with_name("gallery"), data)

    def save(self, unit: int, variants: list, found: dict[str, dict[str, list[Detections]]]) -> None:
        """Take in a unit: its variants with their pictures, and detections by variant and detector."""
        self.gallery.save(variants, found)
        for image, number in self.chosen.items():
            panels = []
            for variant in variants:
                for i, item in enumerate(variant.items):
                    if item.image == image and item.draw == 0:
                        detections = next(iter(found[variant.name].values()))[i]
                        panels.append(_panel(variant.name, variant.images[i], detections))
            if panels:
                self.folder.mkdir(parents=True, exist_ok=True)
                write_image(self.folder / f"{number:03d}_{image}.png", beside(panels))


def _panel(title: str, image: Tensor, detections: Detections) -> Tensor:
    return from_uint8(write_caption(draw_boxes(to_uint8(image), detections, SHOWN_SCORE), title))


def beside(panels: list[Tensor]) -> Tensor:
    """Panels (3, H, W) of one height in a row, white between them."""
    gap = torch.ones(3, panels[0].shape[1], GAP)
    row = [part for panel in panels for part in (panel, gap)]
    return torch.cat(row[:-1], 2)
