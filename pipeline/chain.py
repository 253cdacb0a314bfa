"""The chain: restore, then detect. Either part can be swapped without the other knowing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def restore_images(restorer: nn.Module, images: Sequence[Tensor]) -> list[Tensor]:
    """Images (3, H, W) in [0, 1], each at its own size, restored; in [0, 1], same sizes, same device.

    A restorer with `restore_many` gets them all at once, so that tiles of several photos share batches. Raises ValueError where
    a restorer changes a size or gives NaN.
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
        if not torch.isfinite(after).all():
            raise ValueError("the restorer gave NaN or infinite pixels")
    return [after.clamp(0, 1) for after in restored]


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
