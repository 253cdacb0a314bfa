"""The trainable restorers: how each is built, loaded and run fast while it learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn
from vocbench.restorer import native, owan


@dataclass(frozen=True)
class Trainable:
    """A network of `vocbench train`: fresh, from a file, and an equal faster form for training on a device (or None)."""

    build: Callable[[], nn.Module]
    load: Callable[[Path], nn.Module]
    fast: Callable[[nn.Module, torch.device], nn.Module | None] = lambda network, device: None
    tiling: str = "63:42"


def _compiled_owan(network: nn.Module, device: torch.device) -> nn.Module | None:
    return native.NativeOwan(network) if device.type == "cpu" and native.available() else None  # type: ignore[arg-type]


def _build_dncnn() -> nn.Module:
    from vocbench.restorer.dncnn import DnCNN, start_near_identity

    return start_near_identity(DnCNN())


def _load_dncnn(path: Path) -> nn.Module:
    from vocbench.restorer.dncnn import load_dncnn

    return load_dncnn(path)


TRAINABLE: dict[str, Trainable] = {
    "owan": Trainable(partial(owan.build, "owan"), owan.load_owan, _compiled_owan),
    "owan-no-attention": Trainable(partial(owan.build, "owan-no-attention"), owan.load_owan, _compiled_owan),
    "owan-fixed-attention": Trainable(partial(owan.build, "owan-fixed-attention"), owan.load_owan, _compiled_owan),
    "dncnn": Trainable(_build_dncnn, _load_dncnn, tiling="whole"),
}
