"""Any ultralytics model as a detector of VOC's classes. ultralytics is AGPL-3.0; this is the only module that imports it.

A `.pt` file of ultralytics is a pickle that runs code when it is loaded: it is opened only on the user's word. ONNX is the safe
form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from vocbench.detection.detections import VOC_CLASSES, Detections
from vocbench.detection.torchvision_ssd import coco_names, voc_label

WHENCE = {
    ".pt": "download it from https://github.com/ultralytics/assets/releases",
    ".onnx": "make it with `yolo export model=MODEL.pt format=onnx`",
}


def to_bgr(image: Tensor) -> np.ndarray:
    """(3, H, W) RGB in [0, 1] to (H, W, 3) uint8 BGR, the form in which ultralytics takes an array."""
    levels = image.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(1, 2, 0).flip(2).cpu().numpy())


def class_names(given: Mapping[int, str]) -> list[str]:
    """A model's class names; 80 or 20 bare numbers, as a `.yaml` has, stand for COCO's or VOC's in order."""
    names = [given[i] for i in range(len(given))]
    if names != [str(i) for i in range(len(names))]:
        return names
    return {80: coco_names(), 20: list(VOC_CLASSES)}.get(len(names), names)


class UltralyticsDetector(nn.Module):
    """An ultralytics model: a list of (3, H, W) RGB in [0, 1] to a list of `Detections`; classes are mapped by their names."""

    def __init__(self, model, device: str = "cpu", score: float = 0.01, keep: int = 300):
        super().__init__()
        self.predict = model.predict  # kept as a function: ultralytics moves and fuses its module as it likes
        self.device, self.score, self.keep = device, score, keep
        names = class_names(model.names)
        self.labels = torch.tensor([voc_label(name) for name in names])
        if (self.labels < 0).all():
            raise ValueError(f"the model knows none of VOC's classes; its classes are {', '.join(names[:8])} …")

    @torch.no_grad()
    def forward(self, images: Sequence[Tensor]) -> list[Detections]:
        found = []
        for image in images:  # one by one: ultralytics pads a batch to a common shape, which changes results
            result = self.predict(
                to_bgr(image), conf=self.score, max_det=self.keep, device=self.device, verbose=False, save=False
            )[0]
            labels = self.labels[result.boxes.cls.long().cpu()]
            kept = labels >= 0
            found.append(Detections(result.boxes.xyxy.cpu()[kept], result.boxes.conf.cpu()[kept], labels[kept]))
        return found


def load_ultralytics(path: str | Path, device: str = "cpu", trust: bool = False) -> UltralyticsDetector:
    """The model of a `.pt`, `.onnx` or `.yaml` file; ValueError for a `.pt` without `trust`, and for files that do not load."""
    path = Path(path)
    if path.suffix in (".pt", ".onnx") and not path.is_file():
        raise FileNotFoundError(f"{path}: no such model file; {WHENCE[path.suffix]} and give its path")
    if path.suffix == ".pt" and not trust:
        raise ValueError(f"{path}: a .pt file of ultralytics runs code when it is loaded; add --trust-weights if you trust it")
    try:
        from ultralytics import YOLO
    except ImportError:
        raise ValueError("ultralytics is not installed; `pip install ultralytics` brings it (AGPL-3.0)") from None
    try:
        return UltralyticsDetector(YOLO(str(path), task="detect", verbose=False), device)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"{path}: ultralytics could not load it ({' '.join(str(error).split())[:160]})") from None


def filtering_predictor(change: Callable[[np.ndarray], np.ndarray]) -> partial:
    """A predictor of ultralytics that passes every picture (H, W, 3) uint8 BGR through `change` before it is letterboxed."""
    from ultralytics.models.yolo.detect import DetectionPredictor

    class FilteringPredictor(DetectionPredictor):
        def preprocess(self, im):
            return super().preprocess(im if isinstance(im, torch.Tensor) else [change(picture) for picture in im])

    return partial(FilteringPredictor)


def filtering_validator(change: Callable[[Tensor], Sequence[Tensor]]) -> partial:
    """A validator of ultralytics that passes every batch (B, 3, H, W) RGB in [0, 1] through `change`."""
    from ultralytics.models.yolo.detect import DetectionValidator

    class FilteringValidator(DetectionValidator):
        def preprocess(self, batch):
            batch = super().preprocess(batch)
            images = batch["img"]
            batch["img"] = torch.stack(list(change(images.float()))).to(images)
            return batch

    return partial(FilteringValidator)
