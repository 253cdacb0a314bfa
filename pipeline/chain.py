"""The chain: restore, then detect. Either part can be swapped without the other knowing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from vocbench.detection.detections import Detections
from vocbench.restorer.tiling import out_of_memory

T = TypeVar("T")


class RestorerError(ValueError):
    """A restorer failed on a photo; the message names both."""


class DetectorError(ValueError):
    """A detector failed on a photo, or gave no detections for it; the message names both."""


def reason(error: BaseException) -> str:
    """What an exception says, in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def each(work: Callable[[list[Tensor]], Sequence[T]], images: list[Tensor]) -> list[T | Exception]:
    """What `work` gives for every image. Where it fails, the list is halved, down to the images that get the exception.

    So memory that does not suffice for all images may suffice for fewer, and only the images at fault are lost.
    """
    try:
        return list(work(images))
    except Exception as error:
        if len(images) < 2:
            return [error.with_traceback(None)]  # whose frames hold tensors
        exhausted = out_of_memory(error)
    if exhausted:
        torch.cuda.empty_cache()
    half = len(images) // 2
    return each(work, images[:half]) + each(work, images[half:])


@dataclass(frozen=True)
class Restored:
    """A restored image with the restorer's note on it, or the image as it was with the error."""

    image: Tensor
    note: str | None = None
    error: str | None = None


def restore_photos(label: str, restorer: nn.Module, photos: Sequence[str], images: list[Tensor]) -> list[Restored]:
    """Each image restored; an error names the restorer and the photo."""

    def work(some: list[Tensor]) -> list[Restored]:
        restored = restore_images(restorer, some)
        notes = getattr(restorer, "last_notes", None) or [None] * len(some)
        return [Restored(image, note) for image, note in zip(restored, notes, strict=True)]

    return [
        Restored(image, error=f"the restorer {label!r} failed on {photo}: {reason(result)}")
        if isinstance(result, Exception)
        else result
        for photo, image, result in zip(photos, images, each(work, images), strict=True)
    ]


def restore_photo(label: str, restorer: nn.Module, photo: str, image: Tensor) -> Tensor:
    """One image restored; raises `RestorerError`."""
    (restored,) = restore_photos(label, restorer, [photo], [image])
    if restored.error:
        raise RestorerError(restored.error)
    return restored.image


def detect_photos(label: str, detector: Callable, photos: Sequence[str], images: list[Tensor]) -> list[Detections]:
    """The detections of each image, checked; `DetectorError` where there are none to be had."""

    def work(some: list[Tensor]) -> list[Detections]:
        with torch.no_grad():
            found = [Detections.of(result) for result in detector(some)]
        if len(found) != len(some):
            raise ValueError(f"it gave detections of {len(found)} images for {len(some)}")
        return found

    checked: list[Detections] = []
    for photo, result in zip(photos, each(work, images), strict=True):
        if isinstance(result, Exception):
            raise DetectorError(f"the detector {label!r} failed on {photo}: {reason(result)}")
        checked.append(result)
    return checked


def restore_images(restorer: nn.Module, images: Sequence[Tensor]) -> list[Tensor]:
    """Images (3, H, W) in [0, 1], each at its own size, restored; in [0, 1], same sizes, types and devices.

    A restorer with `restore_many` gets them all at once, so that tiles of several photos share batches. Raises ValueError where
    a restorer changes a size, gives whole numbers or NaN.
    """
    with torch.inference_mode():
        together = getattr(restorer, "restore_many", None)
        if callable(together):
            restored = list(together(list(images)))
        else:
            restored = [restorer(image[None])[0] for image in images]
    if len(restored) != len(images):
        raise ValueError(f"the restorer gave {len(restored)} images for {len(images)}")
    for before, after in zip(images, restored, strict=True):
        if after.shape != before.shape:
            raise ValueError(f"the restorer gave {tuple(after.shape)} for an image of {tuple(before.shape)}; sizes must stay")
        if not after.is_floating_point():
            raise ValueError(f"the restorer gave {after.dtype}; floats in [0, 1] are needed")
        if not torch.isfinite(after).all():
            raise ValueError("the restorer gave NaN or infinite pixels")
    return [after.to(before).clamp(0, 1) for before, after in zip(images, restored, strict=True)]


class RestoredDetector(nn.Module):
    """A detector whose images pass through a restorer first.

    Takes what a torchvision detector takes, a list of (3, H, W) RGB tensors in [0, 1], and gives back what the wrapped
    detector gives. Images are restored at their native size. Training targets pass through unchanged.
    """

    def __init__(self, restorer: nn.Module, detector: Callable[..., Any]):
        super().__init__()
        self.restorer = restorer
        self.detector = detector

    def restore(self, images: Sequence[Tensor]) -> list[Tensor]:
        """The images as the detector will see them."""
        return restore_images(self.restorer, images)

    def forward(self, images: Sequence[Tensor], *args: Any, **kwargs: Any) -> Any:
        restored = [image.clone() for image in self.restore(images)]  # out of inference mode, for detectors that train
        return self.detector(restored, *args, **kwargs)
