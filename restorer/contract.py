"""The interface of restorers and of their results.

A restorer is an `nn.Module` from images (B, 3, H, W) of RGB in [0, 1] to the same shape and range. It may have a method
`restore_many` that takes images (3, H, W) of any sizes at once, so that they share batches, and returns as many images, or
`Restored` to add a note to each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Restored:
    """A restored image (3, H, W), and the restorer's note on it; a run counts equal notes."""

    image: Tensor
    note: str | None = None


def join_notes(*notes: str | None) -> str | None:
    """Join the notes of nested restorers in the given order; None if there is none."""
    return ", ".join(note for note in notes if note) or None


@dataclass(frozen=True)
class Facts:
    """The facts that a model's results depend on, beside its name and the device."""

    sha256: str | None = None  # of the weights file
    engine: str | None = None  # by which the network is executed
    tile: str | None = None  # the tiling
    batch: int | None = None  # tiles at a time


class Restorer(Protocol):
    """The one call that every restorer supports."""

    def __call__(self, images: Tensor, /) -> Tensor: ...


def restore_each(restorer: nn.Module | Restorer, images: Sequence[Tensor]) -> list[Restored]:
    """Return each image (3, H, W) restored, with the note on it; `restore_many` is used where there is one.

    If gradients are recorded, images are restored one by one, as `restore_many` may work without gradients.
    """
    together = getattr(restorer, "restore_many", None)
    if callable(together) and not torch.is_grad_enabled():
        given: Sequence[Any] = together(images)
    else:
        given = [restorer(image[None])[0] for image in images]
    return [one if isinstance(one, Restored) else Restored(one) for one in given]
