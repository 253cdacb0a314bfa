"""MobileNet-SSD: a small SSD with 300x300 input, trained on VOC 2007 and 2012 trainval (chuanqi305/MobileNet-SSD, MIT).

A PyTorch form of its deploy prototxt; the batch norms are already folded into the caffemodel's convolutions. It differs from
the prototxt in keeping scores from 0.01 and 200 boxes, which average precision needs, instead of 0.25 and 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from vocbench.detection.detections import VOC_CLASSES, Detections
from vocbench.detection.detectors.caffemodel import read_caffemodel
from vocbench.detection.detectors.ssd import PriorMap, Suppression, decode, priors, suppress

SIDE = 300  # pixels of the input
CLASSES = len(VOC_CLASSES) + 1  # background first
BATCH = 16  # photos at a time

# Blocks conv1 to conv13 after the stem: input channels, output channels, stride.
BLOCKS = (
    (32, 64, 1),
    (64, 128, 2),
    (128, 128, 1),
    (128, 256, 2),
    (256, 256, 1),
    (256, 512, 2),
    *((512, 512, 1),) * 5,
    (512, 1024, 2),
    (1024, 1024, 1),
)
# Extra blocks conv14 to conv17: input, middle and output channels; the second convolution has stride 2.
EXTRAS = ((1024, 256, 512), (512, 128, 256), (256, 128, 256), (256, 64, 128))
# Where boxes are predicted: layer, channels, priors a cell.
HEADS = (("conv11", 512, 3), ("conv13", 1024, 6), ("conv14_2", 512, 6), ("conv15_2", 256, 6), ("conv16_2", 256, 6),
         ("conv17_2", 128, 6))  # fmt: skip
PRIORS = (
    PriorMap(19, 60, None, (2.0,)),
    PriorMap(10, 105, 150, (2.0, 3.0)),
    PriorMap(5, 150, 195, (2.0, 3.0)),
    PriorMap(3, 195, 240, (2.0, 3.0)),
    PriorMap(2, 240, 285, (2.0, 3.0)),
    PriorMap(1, 285, 300, (2.0, 3.0)),
)


def _convolution(name: str, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> tuple[str, nn.Conv2d]:
    return name, nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups)


def _trunk() -> list[tuple[str, nn.Conv2d]]:
    """Return every convolution before the heads, in order, by its name in the caffemodel."""
    layers = [_convolution("conv0", 3, 32, 3, 2)]
    for i, (inputs, outputs, stride) in enumerate(BLOCKS, 1):
        layers.append(_convolution(f"conv{i}/dw", inputs, inputs, 3, stride, inputs))
        layers.append(_convolution(f"conv{i}", inputs, outputs, 1))
    for i, (inputs, middle, outputs) in enumerate(EXTRAS, 14):
        layers.append(_convolution(f"conv{i}_1", inputs, middle, 1))
        layers.append(_convolution(f"conv{i}_2", middle, outputs, 3, 2))
    return layers


def preprocess(images: Sequence[Tensor]) -> Tensor:
    """Turn images (3, H, W) RGB in [0, 1] into the network's input (B, 3, 300, 300): BGR, bilinear, in [-1, 1]."""
    resized = [interpolate(image[None], (SIDE, SIDE), mode="bilinear", align_corners=False) for image in images]
    return torch.cat(resized).flip(1) * 2 - 1


class MobileNetSSD(nn.Module):
    """Detector of the 20 VOC classes: a list of images (3, H, W) RGB in [0, 1] to a list of `Detections` in their pixels."""

    def __init__(self, suppression: Suppression | None = None, batch: int = BATCH):
        super().__init__()
        self.suppression, self.batch = suppression or Suppression(), batch
        self.names = [name for name, _ in _trunk()]
        self.trunk = nn.ModuleList(layer for _, layer in _trunk())
        self.offsets = nn.ModuleList(nn.Conv2d(channels, 4 * count, 1) for _, channels, count in HEADS)
        self.scores = nn.ModuleList(nn.Conv2d(channels, CLASSES * count, 1) for _, channels, count in HEADS)
        self.priors: Tensor
        self.register_buffer("priors", priors(PRIORS, SIDE), persistent=False)

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width in pixels to which a photo of any size is resized."""
        return SIDE, SIDE

    def features(self, x: Tensor, last: str = "conv17_2") -> dict[str, Tensor]:
        """Return the maps after every layer's ReLU up to `last`, by name, of a preprocessed batch (B, 3, h, w) of any size."""
        maps = {}
        for name, layer in zip(self.names, self.trunk, strict=True):
            maps[name] = x = torch.relu(layer(x))
            if name == last:
                break
        return maps

    def raw(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the box offsets (B, 1917, 4) and class scores (B, 1917, 21), background first, of a batch (B, 3, 300, 300)."""
        maps = self.features(x)
        offsets, scores = [], []
        for i, (name, _, _) in enumerate(HEADS):
            offsets.append(self.offsets[i](maps[name]).permute(0, 2, 3, 1).flatten(1))
            scores.append(self.scores[i](maps[name]).permute(0, 2, 3, 1).flatten(1))
        batch = x.shape[0]
        return torch.cat(offsets, 1).reshape(batch, -1, 4), torch.cat(scores, 1).reshape(batch, -1, CLASSES).softmax(2)

    @torch.no_grad()
    def forward(self, images: Sequence[Tensor]) -> list[Detections]:
        found: list[Detections] = []
        for first in range(0, len(images), self.batch):
            group = [image.to(self.priors.device) for image in images[first : first + self.batch]]
            offsets, scores = self.raw(preprocess(group))
            boxes = decode(offsets, self.priors)  # (B, 1917, 4)
            for image, box, score in zip(group, boxes, scores, strict=True):
                height, width = image.shape[1:]
                found.append(suppress(box, score[:, 1:], (width, height), self.suppression))
        return found


def load_mobilenet_ssd(path: str | Path, suppression: Suppression | None = None) -> MobileNetSSD:
    """Return the detector with the weights of a caffemodel, in evaluation mode; ValueError for a file of another network."""
    blobs = read_caffemodel(path)
    network = MobileNetSSD(suppression)
    named = dict(zip(network.names, network.trunk, strict=True))
    for i, (name, _, _) in enumerate(HEADS):
        named[f"{name}_mbox_loc"], named[f"{name}_mbox_conf"] = network.offsets[i], network.scores[i]
    for name, layer in named.items():
        weight, bias = _weights(path, name, blobs, layer)
        layer.load_state_dict({"weight": weight, "bias": bias})
    return network.eval()


def _weights(path: str | Path, name: str, blobs: dict[str, Any], layer: nn.Module) -> tuple[Tensor, Tensor]:
    expected = tuple(layer.weight.shape), tuple(layer.bias.shape)  # type: ignore[union-attr, arg-type]
    got = tuple(blob.shape for blob in blobs.get(name, ()))
    if got != expected:
        raise ValueError(f"{path}: not MobileNet-SSD: layer {name!r} should hold {expected}, got {got or 'nothing'}")
    weight, bias = blobs[name]
    return torch.from_numpy(weight), torch.from_numpy(bias)
