"""Restore and detect in single photos with one call, in any form that a program may have them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, overload

import numpy as np
from PIL import Image
from torch import Tensor, nn
from vocbench.detection.detections import Detections
from vocbench.pipeline.chain import detect_photos, restore_photo
from vocbench.pipeline.models import load_detector, load_restorer
from vocbench.pipeline.names import DEFAULT_RESTORER
from vocbench.restorer.images import from_uint8, grey_as, read_photo, to_uint8

Photo: TypeAlias = "str | Path | Image.Image | np.ndarray | Tensor"
Array = TypeVar("Array", np.ndarray, Tensor)
KEPT = 4  # models that stay loaded between calls

_restorer = lru_cache(KEPT)(load_restorer)
_detector = lru_cache(KEPT)(load_detector)


def _name(photo: Photo) -> str:
    """Return the name of the photo for messages."""
    return str(photo) if isinstance(photo, (str, Path)) else "the photo"


def _opened(photo: Photo) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """Return the photo as an image (3, H, W) in [0, 1], and a function from an image to the photo's own form."""
    if isinstance(photo, (str, Path)):
        return read_photo(photo).image, lambda image: Image.fromarray(to_uint8(image))
    if isinstance(photo, Image.Image):
        if photo.mode not in ("RGB", "L"):
            raise ValueError(f"a picture of PIL must have the mode RGB or L, got {photo.mode}; convert it first")
        image, back = _opened(np.asarray(photo))
        return image, lambda restored: Image.fromarray(back(restored))
    if isinstance(photo, np.ndarray):
        if photo.ndim == 2:
            return from_uint8(np.repeat(photo[:, :, None], 3, axis=2)), lambda restored: to_uint8(restored)[:, :, 0]
        return from_uint8(photo), to_uint8
    if isinstance(photo, Tensor):
        return photo, lambda image: image
    raise TypeError(f"a photo is a path, a picture of PIL, a uint8 array or a float tensor, got {type(photo).__name__}")


@overload
def restore(photo: str | Path | Image.Image, restorer: str | Path | nn.Module = ..., *, device: str = ...) -> Image.Image: ...
@overload
def restore(photo: Array, restorer: str | Path | nn.Module = ..., *, device: str = ...) -> Array: ...
def restore(
    photo: Photo, restorer: str | Path | nn.Module = DEFAULT_RESTORER, *, device: str = "auto"
) -> Image.Image | np.ndarray | Tensor:
    """Return a photo restored, in the form in which it was given; a file or an http address becomes a picture of PIL, upright.

    Arrays are (H, W, 3) or grey (H, W) uint8 RGB; tensors (3, H, W) float RGB in [0, 1]. Grey stays grey. `restorer` is an
    argument of `load_restorer`, which stays loaded for the next call, or a module. Raises ValueError and OSError, naming the
    file.
    """
    image, back = _opened(photo)
    model = restorer if isinstance(restorer, nn.Module) else _restorer(restorer, device=device)
    label = type(restorer).__name__ if isinstance(restorer, nn.Module) else str(restorer)
    return back(grey_as(image, restore_photo(label, model, _name(photo), image)))


def detect(
    photo: Photo,
    detector: str | Path | Callable[[list[Tensor]], Any] = "mobilenet-ssd",
    *,
    restorer: str | Path | nn.Module | None = None,
    score: float = 0.3,
    device: str = "auto",
) -> Detections:
    """Return the detections in a photo, restored first if a restorer is named: boxes of at least `score`.

    The photo may have every form that `restore` takes; boxes are in its pixels, those of a file upright. `detector` is an
    argument of `load_detector`, which stays loaded for the next call, or a detector. Raises ValueError and OSError.
    """
    image, _ = _opened(photo)
    model = detector if callable(detector) else _detector(detector, device=device)
    if restorer is not None:
        image = restore(image, restorer, device=device)
    label = type(detector).__name__ if callable(detector) else str(detector)
    (detections,) = detect_photos(label, model, [_name(photo)], [image])
    return detections.at_least(score)
