"""Restoring at the detector's scale: photos are shrunk to the size that a detector sees, and its boxes scaled back.

Detectors shrink photos before they detect, and restoring the shrunk photo costs a fraction. A detector gives its size by a
method `input_size(height, width) -> (height, width)`, all in pixels; torchvision's give it by their transform.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from vocbench.detection.detections import Detections

Scale = Literal["native", "detector"]


def check_scale(scale: str) -> None:
    """Raise ValueError for a scale that does not exist."""
    if scale not in get_args(Scale):
        raise ValueError(f"unknown scale {scale!r}; choose one of {', '.join(get_args(Scale))}")


def input_size(detector: Callable[..., Any], height: int, width: int) -> tuple[int, int]:
    """Return height and width to which `detector` resizes a photo of `height` x `width`; ValueError if it does not say."""
    method = getattr(detector, "input_size", None)
    if callable(method):
        return method(height, width)
    transform = getattr(detector, "transform", None)  # torchvision's GeneralizedRCNNTransform
    if getattr(transform, "fixed_size", None):
        wide, high = transform.fixed_size  # type: ignore[union-attr]
        return int(high), int(wide)
    if getattr(transform, "min_size", None):
        shortest, longest = int(transform.min_size[-1]), int(transform.max_size)  # type: ignore[union-attr]
        factor = min(shortest / min(height, width), longest / max(height, width))
        return max(int(height * factor), 1), max(int(width * factor), 1)
    raise ValueError(
        f"{type(detector).__name__} does not say what size it sees; give it a method input_size(height, width), "
        "or restore at the native scale"
    )


def seen_size(image: Tensor, detector: Callable[..., Any]) -> tuple[int, int]:
    """Return height and width at which `detector` sees an image (3, H, W), at most its own; ValueError if it does not say."""
    height, width = image.shape[1:]
    wanted = input_size(detector, height, width)
    return min(wanted[0], height), min(wanted[1], width)


def shrunk(image: Tensor, detector: Callable[..., Any]) -> Tensor:
    """Return an image (3, H, W) in [0, 1] at the size that `detector` sees, bilinear with antialiasing; never enlarged."""
    size = seen_size(image, detector)
    if size == tuple(image.shape[1:]):
        return image
    small = interpolate(image[None].float(), size, mode="bilinear", antialias=True, align_corners=False)[0]
    return small.to(image.dtype)


def grown(small: Tensor, image: Tensor) -> Tensor:
    """Return `small` (3, h, w) enlarged to the size of `image` (3, H, W) for display, bicubic and in [0, 1]."""
    if small.shape == image.shape:
        return small
    return interpolate(small[None], image.shape[1:], mode="bicubic", align_corners=False)[0].clamp(0, 1)


def enlarged(result: Any, seen: Tensor, image: Tensor) -> Any:
    """Return a detector's result on `seen` (3, h, w) with its boxes in the pixels of `image` (3, H, W)."""
    factors = image.shape[2] / seen.shape[2], image.shape[1] / seen.shape[1]
    if factors == (1.0, 1.0):
        return result
    if isinstance(result, Mapping):
        return {**result, "boxes": _scaled(result["boxes"], factors)}
    boxes, scores, labels = result
    return Detections(_scaled(boxes, factors), scores, labels)


def _scaled(boxes: Any, factors: tuple[float, float]) -> Tensor:
    boxes = torch.as_tensor(boxes)
    return boxes * torch.tensor([*factors, *factors], dtype=torch.float32).to(boxes)
