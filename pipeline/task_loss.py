"""A loss that compares the features and outputs of detectors on a restored crop with those on the clean one.

The features are a perceptual loss in the sense of Johnson et al. (ECCV 2016, arXiv:1603.08155) through frozen detectors in
place of VGG; the outputs are distilled from the clean crop (Hinton et al., 2015, arXiv:1503.02531). Each detector sees a crop
as it would see that part of a photo of 500x375 pixels, resized exactly as it resizes photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate, kl_div, log_softmax
from vocbench.detection.detectors.mobilenet_ssd import CLASSES, HEADS, load_mobilenet_ssd
from vocbench.detection.detectors.ultralytics_adapter import load_fused_network
from vocbench.pipeline.weights import find

PHOTO = (375, 500)  # pixels, height and width: what VOC's photos mostly are
OUTPUTS = 0.2  # weight of the distilled outputs beside the features


def relative(features: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Return the mean over maps of the mean absolute difference, in parts of the wanted map's mean."""
    pairs = zip(features, wanted, strict=True)
    return torch.stack([(a - b).abs().mean() / b.abs().mean().clamp(min=1e-6) for a, b in pairs]).mean()


def weighted(values: Tensor, weights: Tensor) -> Tensor:
    """Return the mean of the values by their weights, of the same shape; 0 where all weights are."""
    return (values * weights).sum() / weights.sum().clamp(min=1.0)


class MobileNetView(nn.Module):
    """MobileNet-SSD's trunk at strides 4 to 16, the six maps that its heads read, its class scores and box offsets."""

    TRUNK = ("conv3", "conv5")

    def __init__(self) -> None:
        super().__init__()
        self.detector = load_mobilenet_ssd(find("mobilenet-ssd")).requires_grad_(False)

    def see(self, crops: Tensor, upright: bool) -> tuple[list[Tensor], Tensor, Tensor]:
        """Return maps, class logits (B, P, 21) and offsets (B, P, 4) of crops (B, 3, S, S) RGB in [0, 1]."""
        height, width = PHOTO[::-1] if upright else PHOTO
        size = [max(1, round(crops.shape[2] * 300 / height)), max(1, round(crops.shape[3] * 300 / width))]
        x = interpolate(crops, size, mode="bilinear", align_corners=False).flip(1) * 2 - 1
        features = self.detector.features(x.contiguous(memory_format=torch.channels_last))
        scores, offsets = [], []
        for i, (name, _, _) in enumerate(HEADS):
            scores.append(self.detector.scores[i](features[name]).permute(0, 2, 3, 1).reshape(len(crops), -1, CLASSES))
            offsets.append(self.detector.offsets[i](features[name]).permute(0, 2, 3, 1).reshape(len(crops), -1, 4))
        maps = [features[name] for name in (*self.TRUNK, *(name for name, _, _ in HEADS))]
        return maps, torch.cat(scores, 1), torch.cat(offsets, 1)

    def forward(self, restored: Tensor, clean: Tensor, step: int = 0) -> Tensor:
        upright = step % 4 == 3  # as many photos are
        with torch.no_grad():
            wanted, wanted_scores, wanted_offsets = self.see(clean, upright)
        maps, scores, offsets = self.see(restored, upright)
        target, given = log_softmax(wanted_scores, 2), log_softmax(scores, 2)
        objects = 1 - target[..., 0].exp()  # (B, P): how surely the clean crop holds one there
        claimed = 1 - given[..., 0].detach().exp()
        classes = kl_div(given, target, reduction="none", log_target=True).sum(2)
        boxes = (offsets - wanted_offsets).abs().mean(2)
        outputs = weighted(classes, torch.maximum(objects, claimed)) + 0.5 * weighted(boxes, objects)
        return relative(maps, wanted) + OUTPUTS * outputs


class YoloView(nn.Module):
    """The backbone and neck of an ultralytics YOLOv8 detector, its class scores and its box distributions."""

    MAPS = (2, 4, 6, 9, 15, 18, 21)  # layers of yolov8*.yaml: the backbone at strides 4 to 32, and what the head reads

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.network = cast(Any, load_fused_network(path).requires_grad_(False))  # its layers have the indices of their inputs
        head = self.network.model[-1]
        if type(head).__name__ != "Detect" or head.f != [15, 18, 21]:
            raise ValueError(f"{path}: no detector of YOLOv8; give one, or mobilenet-ssd")

    def see(self, crops: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Return maps, class logits (B, A, classes) and box logits (B, A, 64) of crops (B, 3, S, S) RGB in [0, 1]."""
        side = max(32, round(crops.shape[3] * 640 / max(PHOTO) / 32) * 32)
        scaled = interpolate(crops, (side, side), mode="bilinear", align_corners=False)
        x: Any = scaled.contiguous(memory_format=torch.channels_last)
        *layers, head = self.network.model
        kept: list[Tensor] = []
        for layer in layers:
            source = layer.f
            if source != -1:
                x = kept[source] if isinstance(source, int) else [x if i == -1 else kept[i] for i in source]
            x = layer(x)
            kept.append(x)
        inputs = [kept[i] for i in head.f]
        scores = torch.cat([head.cv3[i](y).flatten(2) for i, y in enumerate(inputs)], 2).transpose(1, 2)
        boxes = torch.cat([head.cv2[i](y).flatten(2) for i, y in enumerate(inputs)], 2).transpose(1, 2)
        return [kept[i] for i in self.MAPS], scores, boxes

    def forward(self, restored: Tensor, clean: Tensor, step: int = 0) -> Tensor:
        with torch.no_grad():
            wanted, wanted_scores, wanted_boxes = self.see(clean)
        maps, scores, boxes = self.see(restored)
        target = wanted_scores.sigmoid()
        objects, claimed = target.amax(2), scores.detach().sigmoid().amax(2)
        classes = binary_cross_entropy_with_logits(scores, target, reduction="none")
        classes = (classes - binary_cross_entropy_with_logits(wanted_scores, target, reduction="none")).sum(2)
        sides = [logits.unflatten(2, (4, -1)) for logits in (boxes, wanted_boxes)]
        places = kl_div(log_softmax(sides[0], 3), log_softmax(sides[1], 3), reduction="none", log_target=True).sum((2, 3))
        outputs = weighted(classes, torch.maximum(objects, claimed)) + 0.25 * weighted(places, objects)
        return relative(maps, wanted) + OUTPUTS * outputs


class DetectorLoss(nn.Module):
    """The sum of several detectors' losses of (restored, clean) crops, each (B, 3, S, S) RGB in [0, 1], at a step."""

    def __init__(self, *views: nn.Module):
        super().__init__()
        # Weights in the images' own memory format: mixed formats make convolutions on the CPU twenty times slower.
        self.views = nn.ModuleList(views).to(memory_format=torch.channels_last)

    def forward(self, restored: Tensor, clean: Tensor, step: int = 0) -> Tensor:
        return torch.stack([view(restored, clean, step) for view in self.views]).sum()


def view(name: str) -> nn.Module:
    """Return the view of `mobilenet-ssd` or of a `.pt` file of YOLOv8 that the caller trusts.

    Raises FileNotFoundError for a missing file and ValueError for another detector.
    """
    if name == "mobilenet-ssd":
        return MobileNetView()
    if not name.endswith(".pt"):
        raise ValueError(f"detector {name!r}: expected mobilenet-ssd or a .pt file of YOLOv8")
    if not Path(name).is_file():
        raise FileNotFoundError(f"{name}: no such model file")
    return YoloView(name)
