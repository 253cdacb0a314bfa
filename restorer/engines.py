"""How a restorer's network is executed: the same function by different means, chosen by name.

`auto` takes the first that works on the device: on a CPU `native`, then `torch`; on CUDA `torch`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from vocbench.restorer import native
from vocbench.restorer.owan import Owan
from vocbench.restorer.tiling import Tiling

Network = Callable[[Tensor], Tensor]


class TorchEngine(nn.Module):
    """The plain network in channels-last memory; images go to its device and come back."""

    def __init__(self, network: nn.Module, device: str):
        super().__init__()
        self.device = torch.device(device)
        self.network = network.to(self.device).to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) on any device to the same shape on the same device."""
        moved = images.to(self.device).contiguous(memory_format=torch.channels_last)
        return self.network(moved).to(images.device)


def torch_engine(network: nn.Module, device: str, tiling: Tiling, batch: int, cache: Path) -> nn.Module:
    return TorchEngine(network, device)


def native_engine(network: nn.Module, device: str, tiling: Tiling, batch: int, cache: Path) -> nn.Module:
    if not isinstance(network, Owan) or device != "cpu":
        raise ValueError("the engine 'native' runs OWAN on a CPU; use --engine torch here")
    return native.NativeOwan(network)


def auto_engine(network: nn.Module, device: str, tiling: Tiling, batch: int, cache: Path) -> nn.Module:
    if device == "cpu" and isinstance(network, Owan) and native.available():
        return native_engine(network, device, tiling, batch, cache)
    return torch_engine(network, device, tiling, batch, cache)


ENGINES: dict[str, Callable[[nn.Module, str, Tiling, int, Path], nn.Module]] = {
    "auto": auto_engine,
    "torch": torch_engine,
    "native": native_engine,
}


def make_engine(engine: str, network: nn.Module, device: str, tiling: Tiling, batch: int, cache: Path) -> nn.Module:
    """The network under a named engine: (batch, 3, size, size) to the same shape, on `device`; `cache` keeps compiled forms."""
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}; choose one of {', '.join(ENGINES)}")
    return ENGINES[engine](network, device, tiling, batch, cache)
