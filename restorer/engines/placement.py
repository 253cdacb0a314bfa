"""The placement of a network: the device, tiling, batch size and cache folder of its engine."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from torch.backends import cudnn
from vocbench.restorer.cutting import Tiling
from vocbench.restorer.files import cache_folder


@dataclass(frozen=True)
class Placement:
    """The device, tiling, batch size and cache folder that an engine runs a network with."""

    device: str = "cpu"  # or cuda, cuda:N
    tiling: Tiling = field(default_factory=Tiling)  # how photos are cut into tiles before the engine gets them
    batch: int = 1  # tiles at a time, at most
    cache: Path = field(default_factory=cache_folder)  # keeps compiled forms

    @property
    def on_cpu(self) -> bool:
        return self.device == "cpu"


def full_precision() -> AbstractContextManager[None]:
    """Return a context in which convolutions on CUDA are in float32, not in TF32; the program's setting is restored."""
    return cudnn.flags(cudnn.enabled, cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False)
