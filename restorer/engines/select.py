"""Choose by name the engine that executes a restorer's network; all of them compute the same function.

`auto` takes the fastest one available: on a CPU `native` where there is a C++ compiler, else `openvino`, else `torch`; on CUDA
`triton`, in half precision if that agrees with the plain network on flat, smooth, drawn, clean and degraded pictures, or else
in float32, else `torch`.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from vocbench.restorer.engines import native
from vocbench.restorer.engines.openvino_engine import OpenVinoEngine
from vocbench.restorer.engines.placement import Placement, full_precision
from vocbench.restorer.engines.probes import largest_error
from vocbench.restorer.files import replacing, usable
from vocbench.restorer.networks.owan import Owan

logger = logging.getLogger(__name__)
HALF_ERROR = 0.02  # of 1, the most that half precision may change a pixel
Builder = Callable[[nn.Module, Placement], nn.Module]


class TorchEngine(nn.Module):
    """The network in channels-last memory on a device; images are moved there and back.

    On a CPU it computes image by image, which is no slower and makes results independent of the batch, to the bit.
    """

    engine = "torch"

    def __init__(self, network: nn.Module, device: str):
        super().__init__()
        self.network = network.to(torch.device(device)).to(memory_format=torch.channels_last)

    @property
    def any_number(self) -> bool:
        """Return whether a tile's result does not depend on the rest of its batch."""
        return self._own().device.type == "cpu"

    def _own(self) -> Tensor:
        return next(self.network.parameters(), torch.empty(0))

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) floats on any device to the same shape, type and device."""
        moved = images.to(self._own()).contiguous(memory_format=torch.channels_last)
        if self.any_number and len(moved) > 1:
            return torch.cat([self.network(image) for image in moved.split(1)]).to(images)
        with full_precision():
            return self.network(moved).to(images)


def torch_engine(network: nn.Module, placement: Placement) -> nn.Module:
    """Return PyTorch's engine, for any device."""
    return TorchEngine(network, placement.device)


def native_engine(network: nn.Module, placement: Placement) -> nn.Module:
    """Return OWAN's compiled layers, for a CPU with a C++ compiler."""
    if not isinstance(network, Owan) or not placement.on_cpu:
        raise ValueError("the engine 'native' runs OWAN on a CPU; use `engine='torch'` here")
    return native.NativeOwan(network)


def openvino_engine(network: nn.Module, placement: Placement) -> nn.Module:
    """Return OpenVINO on the fused network, for a CPU."""
    if not placement.on_cpu or find_spec("openvino") is None:
        raise ValueError("the engine 'openvino' needs the package openvino and a CPU; use `engine='torch'` here")
    return OpenVinoEngine(network, placement.tiling.size, placement.cache)


def triton_engine(network: nn.Module, placement: Placement) -> nn.Module:
    """Return OWAN's Triton kernels with float16 activations, for CUDA."""
    from vocbench.restorer.engines.triton_layer import TritonOwan

    if not isinstance(network, Owan):
        raise ValueError("the engine 'triton' runs OWAN; use `engine='torch'` here")
    return TritonOwan(network, placement.device)


def _checked_triton(network: Owan, placement: Placement) -> nn.Module | None:
    """Return the Triton engine in the fastest precision that agrees with the plain network here; None elsewhere."""
    from vocbench.restorer.engines import triton_layer

    reason = "triton is not installed"
    if triton_layer.available(placement.device):
        try:
            for dtype in (torch.float16, torch.float32):
                made = triton_layer.TritonOwan(network, placement.device, dtype)
                error = largest_error(made, made.network, placement.tiling.size)
                if error <= HALF_ERROR:
                    return made
                reason = f"in {dtype} its result is off by {error:.3f}"
                logger.info("Triton kernels: %s", reason)
        except Exception as failure:  # a compiler or driver that does not take the kernels
            reason = " ".join(str(failure).split())[:120]
    logger.warning("the Triton kernels are not used (%s); OWAN runs in plain PyTorch", reason)
    return None


def auto_engine(network: nn.Module, placement: Placement) -> nn.Module:
    """Return the fastest available engine; log a notice if neither compiled one is available."""
    if placement.on_cpu and isinstance(network, Owan):
        if native.available():
            return native_engine(network, placement)
        if find_spec("openvino"):
            return openvino_engine(network, placement)
        logger.warning("neither a C++ compiler nor openvino can be used here; OWAN runs in plain PyTorch, several times slower")
    if placement.device.startswith("cuda") and isinstance(network, Owan) and (made := _checked_triton(network, placement)):
        return made
    return torch_engine(network, placement)


ENGINES: dict[str, Builder] = {
    "auto": auto_engine,
    "native": native_engine,
    "openvino": openvino_engine,
    "triton": triton_engine,
    "torch": torch_engine,
}


def check_engine(name: str) -> None:
    if name not in ENGINES:
        raise ValueError(f"unknown engine {name!r}; choose one of {', '.join(ENGINES)}")


BATCHES = (4, 8, 16, 32)  # tiles per batch among which the fastest is chosen
BATCH = 16


def fastest_batch(network: nn.Module, placement: Placement, engine: str = "auto") -> int:
    """Return the number of tiles per batch that is fastest here, measured once for each engine, device and tile.

    This matters only on GPUs: on a CPU every engine computes tile by tile.
    """
    device, size, cache = placement.device, placement.tiling.size, placement.cache
    if size is None or engine == "torch" or placement.on_cpu:
        return BATCH if size else 1
    if usable(cache) != cache:
        return BATCH  # measuring is not worth it if the result cannot be stored
    path = cache / "batches.json"
    key = f"{engine} {device} {size} {_machine(device)}"
    known = _read_json(path)
    if key not in known:
        known[key] = min(BATCHES, key=lambda batch: _seconds_per_tile(network, replace(placement, batch=batch), engine))
        with replacing(path) as part:
            part.write_text(json.dumps(_read_json(path) | {key: known[key]}))
    return known[key]


def _machine(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{platform.processor()} {os.cpu_count()} cores"


def _read_json(path: Path) -> dict[str, int]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _seconds_per_tile(network: nn.Module, placement: Placement, engine: str) -> float:
    assert placement.tiling.size
    made = make_engine(network, placement, engine)
    tiles = torch.rand(placement.batch, 3, placement.tiling.size, placement.tiling.size)
    spent = []
    with torch.inference_mode():
        for _ in range(3):  # the first one warms up
            begun = time.perf_counter()
            made(tiles)  # the result is on the CPU, so the device has finished
            spent.append(time.perf_counter() - begun)
    return min(spent[1:]) / placement.batch


def make_engine(network: nn.Module, placement: Placement, engine: str = "auto") -> nn.Module:
    """Return the network under a named engine: (batch, 3, H, W) to the same shape, where `placement` says."""
    check_engine(engine)
    return ENGINES[engine](network, placement)
