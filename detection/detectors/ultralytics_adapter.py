"""Any ultralytics model as a detector of VOC's classes. ultralytics is AGPL-3.0; this is the only module that imports it.

A `.pt` file of ultralytics is a pickle that runs code when it is loaded, and a `.yaml` names what is called to build its
network: files of every kind but ONNX are opened only on the user's word. The `.yaml` files inside ultralytics are its own code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from vocbench.detection.detections import VOC_CLASSES, Detections
from vocbench.detection.detectors.torchvision_ssd import coco_names, voc_label

WHENCE = {
    ".pt": "download it from https://github.com/ultralytics/assets/releases",
    ".onnx": "make it with `yolo export model=MODEL.pt format=onnx`",
}


def to_bgr(image: Tensor) -> np.ndarray:
    """(3, H, W) RGB in [0, 1] to (H, W, 3) uint8 BGR, the form in which ultralytics takes an array."""
    levels = image.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(1, 2, 0).flip(2).cpu().numpy())


def from_bgr(picture: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 BGR to (3, H, W) RGB in [0, 1]; ValueError for another form."""
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(f"a picture must be (H, W, 3) uint8 BGR, got {picture.shape} {picture.dtype}")
    return torch.from_numpy(np.ascontiguousarray(picture[:, :, ::-1].transpose(2, 0, 1))).float() / 255


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
    """The model of a `.pt`, `.onnx` or `.yaml` file.

    Raises ValueError without `trust` for what may run code, and for files that do not load; FileNotFoundError.
    """
    path = Path(path)
    kind = path.suffix.lower()
    own = kind == ".yaml" and path.name == str(path) and not path.is_file()  # of ultralytics itself, such as yolov8n.yaml
    if kind in WHENCE and not path.is_file():
        raise FileNotFoundError(f"{path}: no such model file; {WHENCE[kind]} and give its path")
    if kind != ".onnx" and not own and not trust:
        raise ValueError(
            f"{path}: a {kind} file of ultralytics may run code when it is loaded; "
            "allow it by `trust_weights=True` if you trust it"
        )
    if kind == ".onnx" and find_spec("onnxruntime") is None:
        raise ValueError(f'{path}: an ONNX model needs onnxruntime; `pip install "vocbench[export]"` brings it')
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")  # it would call pip for what it misses
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


def load_fused_network(path: str | Path) -> nn.Module:
    """Return the network of a `.pt` file that the caller trusts, its batch norms folded in, in evaluation mode."""
    from ultralytics import YOLO

    return YOLO(str(path)).model.float().fuse(verbose=False).eval()


def filtering_predictor(change: Callable[[list[Tensor]], Sequence[Tensor]]) -> type:
    """A predictor class of ultralytics whose pictures pass through `change` before they are letterboxed.

    `change` takes and gives (3, H, W) RGB in [0, 1], several at once and each of its own size.
    """
    from ultralytics.models.yolo.detect import DetectionPredictor

    class FilteringPredictor(DetectionPredictor):
        def preprocess(self, im):
            if isinstance(im, Tensor):  # RGB in [0, 1] already
                return super().preprocess(torch.stack(list(change(list(im.float())))))
            return super().preprocess([to_bgr(image) for image in change([from_bgr(picture) for picture in im])])

    return FilteringPredictor


def filtering_validator(change: Callable[[list[Tensor]], Sequence[Tensor]]) -> type:
    """A validator class of ultralytics whose batches pass through `change`: images (3, H, W) RGB in [0, 1], all of one size."""
    from ultralytics.models.yolo.detect import DetectionValidator

    class FilteringValidator(DetectionValidator):
        def preprocess(self, batch):
            batch = super().preprocess(batch)
            images = batch["img"]
            batch["img"] = torch.stack(list(change(list(images.float())))).to(images)
            return batch

    return FilteringValidator
