"""What a restorer is, and what it gives.

A restorer is an `nn.Module` from images (B, 3, H, W) of RGB in [0, 1] to the same shape and range. It may have a method
`restore_many` that takes images (3, H, W) of any sizes at once, so that they share batches, and gives as many images, or
`Restored` where there is something to tell of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Restored:
    """A restored image (3, H, W), and what the restorer tells of it; a run counts equal notes."""

    image: Tensor
    note: str | None = None


def join_notes(*notes: str | None) -> str | None:
    """Return the notes of restorers inside each other as one, in the given order; None where there is none."""
    return ", ".join(note for note in notes if note) or None


@dataclass(frozen=True)
class Facts:
    """What a model's results depend on beside its name and the device."""

    sha256: str | None = None  # of the weights file
    engine: str | None = None  # by which the network is executed
    tile: str | None = None  # the tiling
    batch: int | None = None  # tiles at a time


class Restorer(Protocol):
    """The one call that every restorer answers."""

    def __call__(self, images: Tensor, /) -> Tensor: ...


def restore_each(restorer: nn.Module | Restorer, images: Sequence[Tensor]) -> list[Restored]:
    """Return each image (3, H, W) restored, with the note on it; `restore_many` is used where there is one.

    Where gradients are recorded, images pass one by one: `restore_many` is free to work without gradients.
    """
    together = getattr(restorer, "restore_many", None)
    if callable(together) and not torch.is_grad_enabled():
        given: Sequence[Any] = together(images)
    else:
        given = [restorer(image[None])[0] for image in images]
    return [one if isinstance(one, Restored) else Restored(one) for one in given]
