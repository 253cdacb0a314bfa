"""The arithmetic every SSD shares: prior boxes, decoding and suppression (Liu et al., ECCV 2016, arXiv:1512.02325)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor
from vocbench.detection.detections import Detections


@dataclass(frozen=True)
class PriorMap:
    """The priors of one feature map: its side in cells, their sizes and aspect ratios (each also inverted), and the step.

    Sizes and step in pixels of the network's input; step None means input side / map side.
    """

    side: int
    smallest: float
    largest: float | None
    ratios: tuple[float, ...]
    step: float | None = None

    def shapes(self) -> list[tuple[float, float]]:
        """Return (width, height) in pixels: the small square, the geometric mean square, then each ratio and its inverse."""
        shapes = [(self.smallest, self.smallest)]
        if self.largest is not None:
            shapes.append((sqrt(self.smallest * self.largest),) * 2)
        for ratio in self.ratios:
            wide, narrow = self.smallest * sqrt(ratio), self.smallest / sqrt(ratio)
            shapes += [(wide, narrow), (narrow, wide)]
        return shapes


def priors(maps: Sequence[PriorMap], side: int, clip: bool = False) -> Tensor:
    """Return prior boxes (P, 4) as centre x, centre y, width, height in parts of the input's side; by row, then cell."""
    boxes = []
    for prior_map in maps:
        step = prior_map.step or side / prior_map.side
        centres = [(i + 0.5) * step for i in range(prior_map.side)]
        boxes += [(x, y, w, h) for y in centres for x in centres for w, h in prior_map.shapes()]
    result = (torch.tensor(boxes, dtype=torch.float64) / side).float()
    return result.clamp(0, 1) if clip else result


def decode(offsets: Tensor, prior_boxes: Tensor, variances: tuple[float, float] = (0.1, 0.2)) -> Tensor:
    """Turn offsets (B, P, 4) from centre-size priors (P, 4) into corner boxes (B, P, 4) in parts of the image."""
    centre = prior_boxes[:, :2] + offsets[..., :2] * variances[0] * prior_boxes[:, 2:]
    size = prior_boxes[:, 2:] * torch.exp(offsets[..., 2:] * variances[1])
    return torch.cat([centre - size / 2, centre + size / 2], -1)


@dataclass(frozen=True)
class Suppression:
    """Which of the boxes are kept: the SSD paper's settings for average precision."""

    score: float = 0.01  # the least score
    top_k: int = 400  # boxes of a class that enter suppression
    iou: float = 0.45  # above it, the lower of two boxes of a class goes
    keep: int = 200  # boxes of an image that stay


def suppress(boxes: Tensor, scores: Tensor, size: tuple[int, int], settings: Suppression) -> Detections:
    """Turn an image's boxes (P, 4) in its parts and class scores (P, C) into detections in pixels of (width, height)."""
    from torchvision.ops import batched_nms

    chosen_scores, order = scores.sort(dim=0, descending=True, stable=True)  # (P, C)
    chosen_scores, order = chosen_scores[: settings.top_k], order[: settings.top_k]
    rank, label = (chosen_scores > settings.score).nonzero(as_tuple=True)
    score, corner = chosen_scores[rank, label], boxes[order[rank, label]]
    kept = batched_nms(corner, score, label, settings.iou)[: settings.keep]  # by falling score
    pixels = corner.new_tensor([size[0], size[1]] * 2)
    return Detections(corner[kept] * pixels, score[kept], label[kept])
