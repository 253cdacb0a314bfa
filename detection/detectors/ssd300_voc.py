"""SSD300 on VGG16 with VOC's heads (Liu et al., ECCV 2016): the detector of the OWAN paper.

Loads the two checkpoint layouts that the community trains in: amdegroot/ssd.pytorch and lufficc/SSD. conv4_3 is scaled by its
L2 norm, fc6 is a convolution at dilation 6, and the prior boxes are the paper's for VOC.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from vocbench.detection.detections import VOC_CLASSES, Detections
from vocbench.detection.detectors.ssd import PriorMap, Suppression, decode, priors, suppress

SIDE = 300  # pixels of the input
CLASSES = len(VOC_CLASSES) + 1  # background first
MEAN = (123.0, 117.0, 104.0)  # RGB of 255
BATCH = 8

PRIORS = (
    PriorMap(38, 30, 60, (2.0,), 8),
    PriorMap(19, 60, 111, (2.0, 3.0), 16),
    PriorMap(10, 111, 162, (2.0, 3.0), 32),
    PriorMap(5, 162, 213, (2.0, 3.0), 64),
    PriorMap(3, 213, 264, (2.0,), 100),
    PriorMap(1, 264, 315, (2.0,), 300),
)
CONV4_3 = 22  # its ReLU's place in the VGG list
HEADS = (512, 1024, 512, 256, 256, 256)  # channels of the maps that boxes are predicted from


def _vgg() -> nn.ModuleList:
    """Return VGG16 up to fc7 as one list; convolutions and ReLUs at the places that both layouts number."""
    layers: list[nn.Module] = []
    channels = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2, 2, ceil_mode=width == 256))  # 75 becomes 38
    layers[-1] = nn.MaxPool2d(3, 1, padding=1)
    layers += [nn.Conv2d(512, 1024, 3, padding=6, dilation=6), nn.ReLU(), nn.Conv2d(1024, 1024, 1), nn.ReLU()]
    return nn.ModuleList(layers)


def _extras() -> nn.ModuleList:
    """Return conv8_1 to conv11_2; every second one gives a map."""
    return nn.ModuleList(
        [
            nn.Conv2d(1024, 256, 1),
            nn.Conv2d(256, 512, 3, 2, 1),
            nn.Conv2d(512, 128, 1),
            nn.Conv2d(128, 256, 3, 2, 1),
            nn.Conv2d(256, 128, 1),
            nn.Conv2d(128, 256, 3),
            nn.Conv2d(256, 128, 1),
            nn.Conv2d(128, 256, 3),
        ]
    )


class L2Norm(nn.Module):
    """Each pixel's channels divided by their L2 norm and scaled by a learnt weight (ParseNet, Liu et al., 2015)."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), 20.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight[None, :, None, None] * x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)


def preprocess(images: Sequence[Tensor]) -> Tensor:
    """Turn images (3, H, W) RGB in [0, 1] into (B, 3, 300, 300) RGB of 255 less the mean."""
    resized = torch.cat([interpolate(image[None], (SIDE, SIDE), mode="bilinear", align_corners=False) for image in images])
    return resized * 255 - resized.new_tensor(MEAN)[:, None, None]


class SSD300(nn.Module):
    """Detector of the 20 VOC classes: a list of images (3, H, W) RGB in [0, 1] to a list of `Detections` in their pixels."""

    def __init__(self, suppression: Suppression | None = None):
        super().__init__()
        self.suppression = suppression or Suppression()
        self.vgg, self.extras, self.norm = _vgg(), _extras(), L2Norm(512)
        counts = [len(prior_map.shapes()) for prior_map in PRIORS]
        pairs = list(zip(HEADS, counts, strict=True))
        self.offsets = nn.ModuleList(nn.Conv2d(channels, 4 * count, 3, padding=1) for channels, count in pairs)
        self.scores = nn.ModuleList(nn.Conv2d(channels, CLASSES * count, 3, padding=1) for channels, count in pairs)
        self.priors: Tensor
        self.register_buffer("priors", priors(PRIORS, SIDE, clip=True), persistent=False)

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width in pixels to which a photo of any size is resized."""
        return SIDE, SIDE

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return the six maps of a preprocessed batch (B, 3, 300, 300): sides 38, 19, 10, 5, 3 and 1."""
        found = []
        for i, layer in enumerate(self.vgg):
            x = layer(x)
            if i == CONV4_3:
                found.append(self.norm(x))
        found.append(x)
        for i, layer in enumerate(self.extras):
            x = torch.relu(layer(x))
            if i % 2:
                found.append(x)
        return found

    def raw(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the box offsets (B, 8732, 4) and class scores (B, 8732, 21), background first."""
        offsets, scores = [], []
        for i, found in enumerate(self.maps(x)):
            offsets.append(self.offsets[i](found).permute(0, 2, 3, 1).reshape(len(x), -1, 4))
            scores.append(self.scores[i](found).permute(0, 2, 3, 1).reshape(len(x), -1, CLASSES))
        return torch.cat(offsets, 1), torch.cat(scores, 1).softmax(2)

    @torch.no_grad()
    def forward(self, images: Sequence[Tensor]) -> list[Detections]:
        found: list[Detections] = []
        for first in range(0, len(images), BATCH):
            group = [image.to(self.priors.device) for image in images[first : first + BATCH]]
            offsets, scores = self.raw(preprocess(group))
            for image, box, score in zip(group, decode(offsets, self.priors), scores, strict=True):
                found.append(suppress(box, score[:, 1:], (image.shape[2], image.shape[1]), self.suppression))
        return found


# Keys under which training programs save the network, the averaged weights first.
WRAPPERS = ("ema", "state_dict", "model_state_dict", "model", "net", "network", "weight", "weights", "params")
# Names of amdegroot/ssd.pytorch and lufficc/SSD, rewritten to ours in this order.
LAYOUTS = (
    (r"^((module|model|net|_orig_mod)\.)*(backbone\.)?", ""),
    (r"^L2Norm\.|^l2_norm\.", "norm."),
    (r"^loc\.|^box_head\.predictor\.reg_headers\.", "offsets."),
    (r"^conf\.|^box_head\.predictor\.cls_headers\.", "scores."),
)


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict of either layout under this module's names."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in LAYOUTS:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


def _unwrapped(path: Path, content: object) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint, also if it holds the optimiser's too; ValueError naming the file."""
    for _ in range(3):
        if isinstance(content, dict):
            content = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), content)
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{path}: expected a state dict of tensors; save model.state_dict()")
    return content


def load_ssd300_voc(path: str | Path, suppression: Suppression | None = None) -> SSD300:
    """Return the detector of a `.pth` of either layout, in evaluation mode; ValueError, naming the file, for others."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file of SSD300")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch raises a different type for every kind of damage
        raise ValueError(
            f"{path}: not a PyTorch state dict of plain tensors (damaged, or one with objects that could run code); "
            "fetch it again, or save only model.state_dict()"
        ) from None
    network, state = SSD300(suppression), rename(_unwrapped(path, state))
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items() if name in expected}
    odd = sorted(name for name in expected if found.get(name) != expected[name])
    if odd:
        raise ValueError(
            f"{path}: not SSD300-VGG16 for VOC: {len(odd)} of {len(expected)} tensors differ, first {odd[0]!r} "
            f"(expected {expected[odd[0]]}, got {found.get(odd[0])})"
        )
    broken = next((name for name in expected if not torch.isfinite(state[name]).all()), None)
    if broken is not None:
        warnings.warn(f"{path}: {broken!r} holds NaN or infinite weights, so there will be few or no detections", stacklevel=2)
    network.load_state_dict({name: state[name] for name in expected})
    return network.eval()
