"""The restoring stage inside other people's programs: arrays, videos and ultralytics' own calls."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from vocbench.pipeline.chain import restore_images
from vocbench.restorer.images import from_uint8, to_uint8


def restore_array(restorer: nn.Module, picture: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 RGB restored, same shape and type. For OpenCV's BGR, reverse the last axis before and after."""
    return to_uint8(restore_images(restorer, [from_uint8(picture)])[0])


def restore_video(restorer: nn.Module, source: str | Path | int) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8 BGR of a video file, or of the camera of that number, each restored; OpenCV reads them.

    Raises OSError where the source cannot be opened.
    """
    import cv2

    capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
    try:
        if not capture.isOpened():
            raise OSError(f"{source}: OpenCV cannot open this video or camera")
        while True:
            read, frame = capture.read()
            if not read:
                return
            yield np.ascontiguousarray(restore_array(restorer, frame[:, :, ::-1].copy())[:, :, ::-1])
    finally:
        capture.release()


def attach(model: Any, restorer: nn.Module) -> None:
    """Put a restorer in front of an ultralytics model: `predict`, `track`, `val` and calls see restored pictures from then on.

    It holds for every task and every later call, with another device or precision and after `.to()` and `.fuse()` as well.
    Photos are restored at their own size before they are letterboxed; in `val`, where ultralytics resizes first, at the resized
    size, without the letterbox's bars. `detach(model)` takes it away, another `attach` replaces it. Copies keep it.
    """
    from vocbench.detection.detectors.ultralytics_adapter import attach as attach_change

    attach_change(model, partial(restore_images, restorer))


def detach(model: Any) -> None:
    """Take the restorer of `attach` away."""
    from vocbench.detection.detectors.ultralytics_adapter import detach as detach_change

    detach_change(model)


def ultralytics_predictor(restorer: nn.Module) -> type:
    """What `model.predict(..., predictor=...)` takes: ultralytics' detection on restored pictures, arrays or tensors.

    For models that find boxes, and for this call alone; `attach` is for every task and every call.
    """
    from vocbench.detection.detectors.ultralytics_adapter import filtering_predictor

    return filtering_predictor(partial(restore_images, restorer))


def ultralytics_validator(restorer: nn.Module) -> type:
    """What `model.val(validator=...)` takes: ultralytics' validation on restored images.

    For models that find boxes. ultralytics resizes before its validator sees an image, so the resized image is restored,
    without the letterbox's bars.
    """
    from vocbench.detection.detectors.ultralytics_adapter import filtering_validator

    return filtering_validator(partial(restore_images, restorer))
