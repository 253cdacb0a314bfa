"""OWAN's operation layer compiled for this machine's CPU, forward and backward: the same function, several times faster.

`operation_layer.cpp` is compiled once with the machine's C++ compiler and kept in a cache folder. Where there is no compiler,
`available()` is False and training goes on in plain PyTorch.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from vocbench.restorer.owan import CHANNELS, OPERATIONS, Group, OperationLayer, Owan

SOURCE = Path(__file__).with_name("operation_layer.cpp")
FLAGS = ("-O3", "-march=native", "-ffast-math", "-fopenmp", "-shared", "-fPIC")
KERNELS = (3, 5, 7)
TAPS = sum(k * k for k in KERNELS)


def _compiler() -> str | None:
    return next((found for name in (os.environ.get("CXX"), "g++", "clang++") if name and (found := shutil.which(name))), None)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith("flags")), "")


@functools.cache
def _library() -> ctypes.CDLL | None:
    compiler = _compiler()
    if compiler is None:
        return None
    key = hashlib.sha256("\0".join([SOURCE.read_text(), _cpu(), compiler, *FLAGS]).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("VOCBENCH_CACHE") or Path.home() / ".cache" / "vocbench") / "native"
    built = folder / f"operation_layer-{key}.so"
    if not built.is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as work:
                out = Path(work) / "layer.so"
                subprocess.run([compiler, *FLAGS, str(SOURCE), "-o", str(out)], check=True, capture_output=True)
                os.replace(out, built)
        except (OSError, subprocess.CalledProcessError):
            return None
    library = ctypes.CDLL(str(built))
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    library.forward.argtypes = [pointer] * 7 + [integer] * 3
    library.backward.argtypes = [pointer] * 14 + [integer] * 3
    return library


def available() -> bool:
    """Whether the compiled layer can be had here: an x86 or Arm CPU with a C++ compiler that knows OpenMP."""
    return _library() is not None


class _Layer(torch.autograd.Function):
    """x (B, H, W, 16) to y of the same shape, given the folded matrices and taps of `operation_layer.cpp`."""

    @staticmethod
    def forward(ctx, x, m, p, k1, k2, kd):  # type: ignore[override]
        library = _library()
        assert library is not None
        inputs = [tensor.contiguous() for tensor in (x, m, p, k1, k2, kd)]
        y = torch.empty_like(inputs[0])
        first, *rest = (tensor.data_ptr() for tensor in inputs)
        library.forward(first, y.data_ptr(), *rest, *x.shape[:3])
        ctx.save_for_backward(*inputs, y)
        return y

    @staticmethod
    def backward(ctx, gy):  # type: ignore[override]
        library = _library()
        assert library is not None
        x, m, p, k1, k2, kd, y = ctx.saved_tensors
        gy = gy.contiguous()
        gx, gm = torch.empty_like(x), torch.empty_like(m)
        gradients = [torch.zeros_like(tensor) for tensor in (p, k1, k2, kd)]
        tensors = (x, y, gy, gx, m, p, k1, k2, kd, gm, *gradients)
        library.backward(*(tensor.data_ptr() for tensor in tensors), *x.shape[:3])
        return gx, gm, *gradients


def _taps(convolutions: list[Tensor]) -> Tensor:
    """Depthwise weights (16, 1, k, k) of k = 3, 5, 7 as (83, 16)."""
    return torch.cat([weight.flatten(1) for weight in convolutions], 1).t()


def layer(x: Tensor, module: OperationLayer, weights: Tensor) -> Tensor:
    """The operation layer on (B, H, W, 16), x >= 0, with attention weights (B, 8); differentiable in everything."""
    ops = module.operations
    separable, wide = [ops[i] for i in range(4)], [ops[i] for i in range(4, 7)]
    join = module.join.weight.reshape(CHANNELS, len(OPERATIONS), CHANNELS).permute(1, 0, 2)  # (8, out, in)
    lone = separable[0]  # its two depthwise convolutions are scales of single channels
    last = [
        lone[4].weight.flatten(1) * lone[3].weight.flatten(),
        *(op[4].weight.flatten(1) for op in separable[1:]),
        *(op[1].weight.flatten(1) for op in wide),
        torch.eye(CHANNELS, dtype=x.dtype),
    ]
    m = (join @ torch.stack(last)) * weights[:, :, None, None]  # (B, 8, 16, 16)
    first = [lone[1].weight.flatten(1) * lone[0].weight.flatten(), *(op[1].weight.flatten(1) for op in separable[1:])]
    k1 = _taps([op[0].weight for op in separable[1:]])
    k2 = _taps([op[3].weight for op in separable[1:]])
    kd = _taps([op[0].weight for op in wide])
    return _Layer.apply(x, m, torch.stack(first), k1, k2, kd)


def _group(group: Group, x: Tensor) -> Tensor:
    weights = group.attention(x)  # (B, layers, ops); x is (B, 16, H, W) in channels-last memory
    x = torch.relu(group.preprocess(x)).permute(0, 2, 3, 1)  # (B, H, W, 16)
    for i, module in enumerate(group.layers):
        x = layer(x, module, weights[:, i])
    return x.permute(0, 3, 1, 2)


def forward(network: Owan, image: Tensor) -> Tensor:
    """What `network(image)` gives, (B, 3, H, W) float32 on the CPU, through the compiled layers."""
    x = network.head(image.contiguous(memory_format=torch.channels_last))
    for group in network.groups:
        x = _group(group, x)
    return network.tail(x)


class NativeOwan(nn.Module):
    """An `Owan` run through the compiled layers; its parameters are the network's own."""

    def __init__(self, network: Owan):
        super().__init__()
        if not available():
            raise ValueError("the compiled layer needs a C++ compiler with OpenMP (g++ or clang++); use another engine")
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float32 on the CPU to the same shape, not clipped."""
        return forward(self.network, image)
