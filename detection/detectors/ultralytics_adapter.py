"""Any ultralytics model as a detector of VOC's classes, its own or others. Only this module imports ultralytics (AGPL-3.0).

A `.pt` file of ultralytics is a pickle that runs code when it is loaded, and a `.yaml` names what is called to build its
network: files other than ONNX are opened only with the user's permission. The `.yaml` files inside ultralytics are its own
code.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from vocbench.detection.detections import VOC_CLASSES, Detections
from vocbench.detection.detectors.labels import default_classes, label_map
from vocbench.detection.detectors.torchvision_ssd import coco_names

WHENCE = {
    ".pt": "download it from https://github.com/ultralytics/assets/releases",
    ".onnx": "make it with `yolo export model=MODEL.pt format=onnx`",
}


SIDE = 640  # pixels of the letterbox, where a model does not say
BOXES = ("detect", "segment", "pose")  # tasks of ultralytics whose results have upright boxes


@contextmanager
def results_alone() -> Iterator[None]:
    """Redirect the output of ultralytics to standard error, as standard output is for results."""
    from ultralytics.utils import LOGGER

    moved = [
        handler for handler in LOGGER.handlers if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout
    ]
    for handler in moved:
        handler.setStream(sys.stderr)
    try:
        yield
    finally:
        for handler in moved:
            handler.setStream(sys.stdout)


@contextmanager
def threads_kept() -> Iterator[None]:
    """Restore the process's number of PyTorch threads at the end: ultralytics sets it to one less than there are cores."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def to_bgr(image: Tensor) -> np.ndarray:
    """Turn (3, H, W) RGB in [0, 1] into (H, W, 3) uint8 BGR, the form in which ultralytics takes an array."""
    levels = image.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(1, 2, 0).flip(2).cpu().numpy())


def from_bgr(picture: np.ndarray) -> Tensor:
    """Turn (H, W, 3) uint8 BGR into (3, H, W) RGB in [0, 1]; ValueError for another form."""
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(f"a picture must be (H, W, 3) uint8 BGR, got {picture.shape} {picture.dtype}")
    return torch.from_numpy(np.ascontiguousarray(picture[:, :, ::-1].transpose(2, 0, 1))).float() / 255


def class_names(given: Mapping[int, str]) -> list[str]:
    """Return a model's class names; 80 or 20 bare numbers, as a `.yaml` has, stand for COCO's or VOC's in order."""
    names = [given[i] for i in range(len(given))]
    if names != [str(i) for i in range(len(names))]:
        return names
    return {80: coco_names(), 20: list(VOC_CLASSES)}.get(len(names), names)


class UltralyticsDetector(nn.Module):
    """An ultralytics model: a list of (3, H, W) RGB in [0, 1] to a list of `Detections`.

    Classes are mapped by their names to `classes`: VOC's where the model knows any, else its own.
    """

    def __init__(self, model: Any, device: str = "cpu", score: float = 0.01, keep: int = 300):
        super().__init__()
        self.side = (getattr(model, "overrides", None) or {}).get("imgsz") or SIDE
        self.predict = model.predict  # kept as a function: ultralytics moves and fuses its module as it likes
        self.device, self.score, self.keep = device, score, keep
        self.known = tuple(str(name) for name in class_names(model.names))
        self.label_by(default_classes(self.known))

    def label_by(self, classes: Sequence[str]) -> UltralyticsDetector:
        """Let labels index these classes; boxes of others are left out."""
        self.classes = tuple(classes)
        self.labels = label_map(self.known, classes)
        return self

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width in pixels of a photo inside the letterbox that the model sees."""
        high, wide = self.side if isinstance(self.side, (list, tuple)) else (self.side, self.side)
        factor = min(high / height, wide / width)
        return max(round(height * factor), 1), max(round(width * factor), 1)

    @torch.no_grad()
    def forward(self, images: Sequence[Tensor]) -> list[Detections]:
        with results_alone(), threads_kept():
            return self._detect(images)

    def _detect(self, images: Sequence[Tensor]) -> list[Detections]:
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
    """Return the model of a `.pt`, `.onnx` or `.yaml` file.

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
        raise ValueError(f'{path}: an ONNX model needs onnxruntime; `pip install ".[export]"` brings it')
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")  # else it installs missing packages by pip
    if find_spec("ultralytics") is None:
        raise ValueError("ultralytics is not installed; `pip install ultralytics` brings it (AGPL-3.0)")
    try:
        with redirect_stdout(sys.stderr), _under_its_name(path) as opened:  # it prints when it is first imported, too
            from ultralytics import YOLO

            with results_alone():
                model = YOLO(str(opened), task="detect" if kind == ".onnx" else None, verbose=False)
    except Exception as error:
        raise ValueError(f"{path}: ultralytics could not load it ({' '.join(str(error).split())[:160]})") from None
    if model.task not in BOXES:
        raise ValueError(
            f"{path}: a model of the task {model.task!r}, which gives no upright boxes; give one of {', '.join(BOXES)}"
        )
    return UltralyticsDetector(model, device)


@contextmanager
def _under_its_name(path: Path) -> Iterator[Path]:
    """Yield a path at which ultralytics opens this very file: for yolov5s.pt it opens, or downloads, yolov5su.pt."""
    from ultralytics.utils.checks import check_yolov5u_filename

    if path.suffix != ".pt" or check_yolov5u_filename(path.name, verbose=False) == path.name:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="vocbench-") as folder:
        copy = Path(folder, "given.pt")
        shutil.copyfile(path, copy)
        yield copy


def load_fused_network(path: str | Path) -> nn.Module:
    """Return the network of a `.pt` file that the caller trusts, its batch norms folded in, in evaluation mode."""
    from ultralytics import YOLO

    with _under_its_name(Path(path)) as opened, results_alone():
        return YOLO(str(opened)).model.float().fuse(verbose=False).eval()  # type: ignore[union-attr]


Change = Callable[[list[Tensor]], Sequence[Tensor]]  # images (3, H, W) RGB in [0, 1], each of its own size, to the same sizes


def filtering_predictor(change: Change, base: type | None = None) -> type:
    """Return a predictor class built on `base`, ultralytics' for boxes by default, that sees its pictures through `change`.

    They pass through it before they are letterboxed.
    """
    if base is None:
        from ultralytics.models.yolo.detect import DetectionPredictor

        base = DetectionPredictor

    class FilteringPredictor(base):  # type: ignore[valid-type, misc]
        def preprocess(self, im: Any) -> Any:
            if isinstance(im, Tensor):  # RGB in [0, 1] already
                return super().preprocess(torch.stack(list(change(list(im.float())))))
            return super().preprocess([to_bgr(image) for image in change([from_bgr(picture) for picture in im])])

    return FilteringPredictor


def filtering_validator(change: Change, base: type | None = None) -> type:
    """Return a validator class built on `base`, ultralytics' for boxes by default, that sees its images through `change`.

    ultralytics resizes and letterboxes before a validator sees an image: what passes is the picture without its bars.
    """
    if base is None:
        from ultralytics.models.yolo.detect import DetectionValidator

        base = DetectionValidator

    class FilteringValidator(base):  # type: ignore[valid-type, misc]
        def preprocess(self, batch: Any) -> Any:
            batch = super().preprocess(batch)
            images = batch["img"].clone()
            places = [_picture_in(batch, i) for i in range(len(images))]
            changed = change([image[place].float() for image, place in zip(images, places, strict=True)])
            for image, place, picture in zip(images, places, changed, strict=True):
                image[place] = picture.to(image)
            batch["img"] = images
            return batch

    return FilteringValidator


def _picture_in(batch: Mapping[str, Any], i: int) -> tuple[slice, ...]:
    """Return where image `i` of a validator's batch holds its picture: all but the bars of the letterbox."""
    height, width = batch["img"].shape[2:]
    paddings, shapes = batch.get("ratio_pad"), batch.get("ori_shape")
    if not paddings or not shapes or not isinstance(paddings[i][0], tuple):  # a batch that was not letterboxed
        return slice(None), slice(0, height), slice(0, width)
    (gain_height, gain_width), (left, top) = paddings[i]
    bottom, right = top + round(shapes[i][0] * gain_height), left + round(shapes[i][1] * gain_width)
    return slice(None), slice(top, min(bottom, height)), slice(left, min(right, width))


def attach(model: Any, change: Change) -> None:
    """Make every later call of an ultralytics model see its pictures through `change`, whatever its task.

    The model keeps its class's name and behaviour; a predictor or validator that a caller names is built upon as well.
    """
    own = type(model)
    if getattr(own, "changed_by_vocbench", False):
        own = own.__bases__[0]

    class Filtered(own):  # type: ignore[valid-type, misc]
        changed_by_vocbench = True

        def _smart_load(self, key: str) -> Any:
            made = super()._smart_load(key)
            return self._filtered(key, made)

        def _filtered(self, key: str, made: Any) -> Any:
            making = {"predictor": filtering_predictor, "validator": filtering_validator}.get(key)
            if making is None:
                return made
            known = self.__dict__.setdefault("_filtered_classes", {})  # a model asks whether a predictor's class changed
            if made not in known:
                known[made] = making(change, made)
            return known[made]

        def predict(self, source: Any = None, stream: bool = False, predictor: Any = None, **given: Any) -> Any:
            chosen = self._filtered("predictor", predictor) if predictor else None
            return super().predict(source, stream, chosen, **given)

        def val(self, validator: Any = None, **given: Any) -> Any:
            return super().val(self._filtered("validator", validator) if validator else None, **given)

    Filtered.__name__, Filtered.__qualname__, Filtered.__module__ = own.__name__, own.__qualname__, own.__module__
    model.__class__ = Filtered
    model.__dict__.pop("_filtered_classes", None)
    model.predictor = None


def detach(model: Any) -> None:
    """Undo `attach`; a model without it stays as it is."""
    if getattr(type(model), "changed_by_vocbench", False):
        model.__class__ = type(model).__bases__[0]
        model.__dict__.pop("_filtered_classes", None)
        model.predictor = None
