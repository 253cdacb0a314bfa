"""The chain: restore, then detect. Either part can be swapped without the other knowing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from vocbench.detection.detections import Detections, classes_of
from vocbench.pipeline.gate import UNTOUCHED, Gated
from vocbench.pipeline.scale import Scale, check_scale, enlarged, shrunk
from vocbench.restorer.contract import Restored, restore_each
from vocbench.restorer.tiling import out_of_memory

T = TypeVar("T")
Shrink = Callable[[Tensor], Tensor]  # brings an image (3, H, W) to the size at which it is restored


class RestorerError(ValueError):
    """A restorer failed on a photo; the message names both."""


class DetectorError(ValueError):
    """A detector failed on a photo, or gave no detections for it; the message names both."""


def reason(error: BaseException) -> str:
    """Return what an exception says, in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def each(work: Callable[[list[Tensor]], Sequence[T]], images: list[Tensor]) -> list[T | Exception]:
    """Return the results of `work` for every image; if it fails, halve the list, down to single images that get the exception.

    So a batch that does not fit into memory is computed in smaller ones, and only the images at fault fail.
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
class Attempt(Restored):
    """A restored image with the restorer's note on it, or the image as it was with the error."""

    error: str | None = None


def restore_photos(
    label: str, restorer: nn.Module, photos: Sequence[str], images: list[Tensor], shrink: Shrink | None = None
) -> list[Attempt]:
    """Return each image restored, at the size to which `shrink` brings it; an error names the restorer and the photo."""
    results = each(partial(restore_with_notes, restorer, shrink=shrink), images)
    return [
        Attempt(_at_size(image, shrink), error=f"the restorer {label!r} failed on {photo}: {reason(result)}")
        if isinstance(result, Exception)
        else Attempt(result.image, result.note)
        for photo, image, result in zip(photos, images, results, strict=True)
    ]


def restore_photo(label: str, restorer: nn.Module, photo: str, image: Tensor, shrink: Shrink | None = None) -> Tensor:
    """Return one image restored, at the size to which `shrink` brings it; raise `RestorerError` where the restorer fails."""
    (restored,) = restore_photos(label, restorer, [photo], [image], shrink)
    if restored.error:
        raise RestorerError(restored.error)
    return restored.image


def detect_photos(label: str, detector: Callable[..., Any], photos: Sequence[str], images: list[Tensor]) -> list[Detections]:
    """Return each image's detections, checked; `DetectorError` if it fails. Labels index the detector's `classes`."""

    count = len(classes_of(detector))

    def work(some: list[Tensor]) -> list[Detections]:
        with torch.no_grad():
            found = [Detections.of(result, count) for result in detector(some)]
        if len(found) != len(some):
            raise ValueError(f"it returned detections for {len(found)} images, expected {len(some)}")
        return found

    checked: list[Detections] = []
    for photo, result in zip(photos, each(work, images), strict=True):
        if isinstance(result, Exception):
            raise DetectorError(f"the detector {label!r} failed on {photo}: {reason(result)}")
        checked.append(result)
    return checked


TOLERANCE = 0.5 / 255  # half a level of 8 bits, which rounding to a file would not show


def check_images(images: Sequence[Tensor]) -> None:
    """Raise ValueError, naming the image and the remedy, unless images are (3, H, W) RGB floats in [0, 1] with pixels.

    Values may lie outside [0, 1] by half a level of 8 bits, as resizing and half precision cause.
    """
    for i, image in enumerate(images):
        fault = _fault(image)
        if fault:
            raise ValueError(f"image {i}: {fault}")


def _fault(image: Tensor) -> str | None:
    """Return what is wrong with an image, and what to do, or None."""
    if not isinstance(image, Tensor):
        return f"expected a float tensor (3, H, W) in [0, 1], got {type(image).__name__}"
    if image.ndim != 3 or image.shape[0] != 3 or not image.numel():
        return f"expected (3, H, W) in RGB with at least one pixel, got {tuple(image.shape)}"
    if not image.is_floating_point():
        return f"expected floats in [0, 1], got {image.dtype}; use image.float() / 255 for whole numbers from 0 to 255"
    if image.is_meta:
        return "it is on the device 'meta', where tensors hold no pixels"
    low, high = (float(value) for value in image.detach().aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        return "it holds NaN or infinite pixels"
    if low >= -TOLERANCE and high <= 1 + TOLERANCE:
        return None
    got = f"expected values in [0, 1], got {low:.3g} to {high:.3g}"
    if low >= -TOLERANCE and high > 2:
        return f"{got}; divide by 255"
    if low < -0.1:
        return f"{got}, as of a normalised image; restore it before it is normalised"
    return f"{got}; clamp it if it was resized"


def _at_size(image: Tensor, shrink: Shrink | None) -> Tensor:
    return image if shrink is None else shrink(image)


def _through(restorer: nn.Module, images: Sequence[Tensor], shrink: Shrink | None) -> list[Restored]:
    """Return checked images restored, in the restorer's own precision.

    A gate decides on the given images, before `shrink`, as its limits are for their own size; images that it passes keep it.
    """
    if isinstance(restorer, Gated):
        behind = partial(_through, restorer.restorer, shrink=shrink)
        return restorer.restore_wanted(behind, [image.clamp(0, 1) for image in images])
    images = [_at_size(image, shrink) for image in images]
    own = next((p.dtype for p in _parameters(restorer) if p.is_floating_point()), torch.float32)
    restored = restore_each(restorer, [image.to(own).clamp(0, 1) for image in images])
    kept = _checked(images, [one.image for one in restored])
    return [Restored(image, one.note) for image, one in zip(kept, restored, strict=True)]


def _parameters(restorer: Callable[..., Any]) -> Iterable[Tensor]:
    return restorer.parameters() if isinstance(restorer, nn.Module) else ()


def _checked(images: Sequence[Tensor], restored: Sequence[Tensor]) -> list[Tensor]:
    """Return the restored images, clipped to [0, 1], in the given ones' precision and device; ValueError for a breach."""
    if len(restored) != len(images):
        raise ValueError(f"the restorer returned {len(restored)} images for {len(images)}")
    for before, after in zip(images, restored, strict=True):
        if after.shape != before.shape:
            raise ValueError(
                f"the restorer returned {tuple(after.shape)} for an image of {tuple(before.shape)}; it must keep the size"
            )
        if not after.is_floating_point():
            raise ValueError(f"the restorer returned {after.dtype}; expected floats in [0, 1]")
        if not torch.isfinite(after).all():
            raise ValueError("the restorer returned NaN or infinite pixels")
    return [after.to(before).clamp(0, 1) for before, after in zip(images, restored, strict=True)]


def restore_with_notes(restorer: nn.Module, images: Sequence[Tensor], shrink: Shrink | None = None) -> list[Restored]:
    """Return images (3, H, W) in [0, 1], each at its own size, restored: in [0, 1], same sizes, types and devices, with notes.

    With `shrink` they are restored and returned at the size that it gives them; images that a gate passes keep their own size.
    A restorer with `restore_many` gets them all at once, so that tiles of several photos share batches. Raises ValueError for
    invalid images (see `check_images`), and if a restorer changes a size or returns integers or NaN.
    """
    check_images(images)
    with torch.inference_mode():
        return _through(restorer, images, shrink)


def restore_images(restorer: nn.Module, images: Sequence[Tensor], shrink: Shrink | None = None) -> list[Tensor]:
    """Return what `restore_with_notes` restores, without the notes."""
    return [restored.image for restored in restore_with_notes(restorer, images, shrink)]


def restore_with_gradients(restorer: nn.Module, images: Sequence[Tensor], shrink: Shrink | None = None) -> list[Tensor]:
    """Restore as `restore_images`, with gradients for the images and for the restorer's parameters that require them.

    Raises ValueError if gradients are required and the restorer has none.
    """
    check_images(images)
    restored = _through(restorer, images, shrink)
    asked = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (*_parameters(restorer), *images))
    if asked and not all(one.image.requires_grad for one in restored if one.note != UNTOUCHED):
        raise ValueError(
            "the restorer gives no gradients, as it computes without autograd; use owan or dncnn, or no `differentiable`"
        )
    return [one.image for one in restored]


class RestoredDetector(nn.Module):
    """A detector whose images pass through a restorer first.

    Takes the input of a torchvision detector, a list of (3, H, W) float RGB tensors in [0, 1], and returns the result of the
    wrapped detector, in the pixels of the given images. Other values are refused with a ValueError (see `check_images`).

    The restorer always stays in evaluation mode, whatever `train` sets, and frozen: its parameters require no gradients. With
    `differentiable`, gradients flow through it to the images, and to its parameters if the caller sets
    `restorer.requires_grad_(True)`, so that both parts can be trained together.

    `scale` is the size at which images are restored: `native`, their own, or `detector`, the size that the detector sees, which
    is faster. With `detector`, images are shrunk first with antialiasing, and boxes are scaled back to the given images. A gate
    decides on the image at its native size, and the detector gets the images that it passes unchanged. The detector must say
    what size it sees (see `vocbench.pipeline.scale`), and is called with images alone. With `native`, training targets and
    other arguments are passed on unchanged.
    """

    def __init__(
        self, restorer: nn.Module, detector: Callable[..., Any], *, scale: Scale = "native", differentiable: bool = False
    ):
        super().__init__()
        check_scale(scale)
        self.restorer, self.detector, self.scale, self.differentiable = restorer, detector, scale, differentiable
        self._settle()

    def _settle(self) -> None:
        """Put the restorer into evaluation mode and, unless it is to be trained, freeze its parameters."""
        if isinstance(self.restorer, nn.Module):
            self.restorer.eval()
            if not self.differentiable:
                self.restorer.requires_grad_(False)

    def train(self, mode: bool = True) -> RestoredDetector:
        """Set the detector's mode; the restorer stays in evaluation mode."""
        super().train(mode)
        self._settle()
        return self

    def requires_grad_(self, requires_grad: bool = True) -> RestoredDetector:
        """Set whether parameters require gradients; those of the restorer do only with `differentiable`."""
        super().requires_grad_(requires_grad)
        self._settle()
        return self

    def restore(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Return the images as the detector will see them."""
        images = list(images)
        shrink = partial(shrunk, detector=self.detector) if self.scale == "detector" else None
        if self.differentiable:
            return restore_with_gradients(self.restorer, images, shrink)
        return [image.clone() for image in restore_images(self.restorer, images, shrink)]  # usable by detectors that train

    def forward(self, images: Sequence[Tensor], *args: Any, **kwargs: Any) -> Any:
        images = list(images)
        restored = self.restore(images)
        if self.scale == "native":
            return self.detector(restored, *args, **kwargs)
        if any(value is not None for value in (*args, *kwargs.values())):
            raise ValueError("scale='detector' takes images alone; train the detector with scale='native'")
        results = self.detector(restored)
        return [enlarged(result, small, image) for result, small, image in zip(results, restored, images, strict=True)]
