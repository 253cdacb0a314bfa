"""A loss that asks whether the detector sees the same: its trunk's features of a restored patch against the clean one's.

A perceptual loss in the sense of Johnson et al. (ECCV 2016, arXiv:1603.08155) through the frozen detector in place of VGG.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from vocbench.detection.detectors.mobilenet_ssd import load_mobilenet_ssd
from vocbench.pipeline.weights import find

LAYERS = ("conv3", "conv5", "conv11")  # strides 4, 8 and 16; the last one feeds the smallest boxes
SCALE = 0.6  # a photo of 500 pixels becomes the detector's 300


class FeatureLoss(nn.Module):
    """Sum over layers of the mean absolute difference of MobileNet-SSD's features, relative to the clean ones' mean."""

    def __init__(self) -> None:
        super().__init__()
        self.detector = load_mobilenet_ssd(find("mobilenet-ssd")).requires_grad_(False)

    def features(self, patches: Tensor) -> list[Tensor]:
        """Maps of `LAYERS` for patches (B, 3, H, W) RGB in [0, 1]."""
        x = interpolate(patches, scale_factor=SCALE, mode="bilinear", align_corners=False).flip(1) * 2 - 1
        maps = self.detector.features(x.contiguous(memory_format=torch.channels_last), LAYERS[-1])
        return [maps[name] for name in LAYERS]

    def forward(self, restored: Tensor, clean: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.features(clean)
        pairs = zip(self.features(restored), wanted, strict=True)
        return torch.stack([(a - b).abs().mean() / b.abs().mean().clamp(min=1e-6) for a, b in pairs]).sum()
