"""Restoring inside other programs: arrays, videos and ultralytics' own calls."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from vocbench.pipeline.chain import restore_images
from vocbench.pipeline.videos import Frame, Video
from vocbench.restorer.images import from_uint8, grey_as, to_uint8


def restore_array(restorer: nn.Module, picture: np.ndarray) -> np.ndarray:
    """Return a picture (H, W, 3) uint8 RGB restored; grey stays grey. Reverse OpenCV's BGR before and after."""
    image = from_uint8(picture)
    return to_uint8(grey_as(image, restore_images(restorer, [image])[0]))


class RestoredVideo:
    """An iterator over the restored frames of a video; `lost` counts those that could not be decoded so far."""

    def __init__(self, restorer: nn.Module, source: str | Path | int):
        self.restorer, self.source = restorer, source
        self._video: Video | None = None
        self._frames = self._restored()

    @property
    def lost(self) -> int:
        return self._video.lost if self._video else 0

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        return next(self._frames)

    def _restored(self) -> Iterator[Frame]:
        self._video, done = Video(self.source), False
        try:
            for number, seconds, picture in self._video:
                done = True
                yield Frame(number, seconds, restore_array(self.restorer, picture[:, :, ::-1].copy())[:, :, ::-1].copy())
        finally:
            self._video.close()
        if not done:
            raise OSError(f"{self.source}: no frame could be decoded; is it a complete video?")
        if self.lost and self._video.total:
            message = f"{self.lost} of {self._video.total} frames could not be decoded and were left out"
            warnings.warn(f"{self.source}: {message}", stacklevel=3)  # at the caller's loop


def restore_video(restorer: nn.Module, source: str | Path | int) -> RestoredVideo:
    """Return an iterator over the frames of a video file, a camera's number or a stream's URL, each restored.

    Each comes with its number and time. Damaged frames of a file are skipped and counted in `lost`, and a warning at the end
    gives their number. From a camera or a stream the newest frame is read each time; frames missed in between count as lost.
    Raises OSError at the first frame if the source cannot be opened or has no frames.
    """
    return RestoredVideo(restorer, source)


def attach(model: Any, restorer: nn.Module) -> None:
    """Put a restorer in front of an ultralytics model: `predict`, `track`, `val` and calls see restored pictures from then on.

    This works for every task and all later calls, also with another device or precision and after `.to()` and `.fuse()`. Photos
    are restored at their own size before they are letterboxed; in `val`, where ultralytics resizes first, at the resized size,
    without the letterbox's bars. `detach(model)` removes the restorer, another `attach` replaces it. Copies keep it.
    """
    from vocbench.detection.detectors.ultralytics_adapter import attach as attach_change

    attach_change(model, partial(restore_images, restorer))


def detach(model: Any) -> None:
    """Remove the restorer of `attach`."""
    from vocbench.detection.detectors.ultralytics_adapter import detach as detach_change

    detach_change(model)


def ultralytics_predictor(restorer: nn.Module) -> type:
    """Return a class for `model.predict(..., predictor=...)`: ultralytics' detection on restored pictures, arrays or tensors.

    For models that find boxes, and for this call alone; `attach` is for every task and every call.
    """
    from vocbench.detection.detectors.ultralytics_adapter import filtering_predictor

    return filtering_predictor(partial(restore_images, restorer))


def ultralytics_validator(restorer: nn.Module) -> type:
    """Return a class for `model.val(validator=...)`: ultralytics' validation on restored images.

    For models that find boxes. ultralytics resizes before its validator sees an image, so the resized image is restored,
    without the letterbox's bars.
    """
    from vocbench.detection.detectors.ultralytics_adapter import filtering_validator

    return filtering_validator(partial(restore_images, restorer))
