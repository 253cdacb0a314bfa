"""The compiled library as functions on tensors and as PyTorch operators, so that copying, compiling and autograd work.

`vocbench::owan` restores a batch, `vocbench::owan_layer` is one operation layer with its gradient. The library starts its
threads for one call, as many as PyTorch has in the calling thread, and ends them, so there are none to copy or to lose in a
fork.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from vocbench.restorer.engines import compiled
from vocbench.restorer.engines.packing import pack

FOLDER = Path(__file__).with_name("cpp")
SOURCE = FOLDER / "owan.cpp"
KEPT = 8  # networks whose packed weights a process keeps, 1.2 MB each


@functools.cache
def library() -> ctypes.CDLL | None:
    """Return the compiled library; None without a compiler, or if compiling failed, which is logged."""
    made = compiled.load("owan", SOURCE, sorted(FOLDER.glob("*.h")))
    if made is not None:
        pointer, integer = ctypes.c_void_p, ctypes.c_int
        made.owan_restore.argtypes = [pointer] * 3 + [integer] * 6
        made.layer_forward.argtypes = [pointer] * 7 + [integer] * 4
        made.layer_backward.argtypes = [pointer] * 14 + [integer] * 4
        made.digest.argtypes = [pointer, pointer, integer, pointer]
        made.digest.restype = None
    return made


def available() -> bool:
    """Return whether compiled layers are available: there is a C++ compiler with vector types, such as g++ or clang++."""
    return library() is not None


def _loaded() -> ctypes.CDLL:
    made = library()
    if made is None:
        raise RuntimeError("OWAN's compiled layers need a C++ compiler (g++ or clang++); use another engine")
    return made


def _checked(status: int) -> None:
    if status:
        raise MemoryError("OWAN's compiled layers: out of memory; restore fewer images at a time, or in tiles")


# By the digest of a network's parameters, so that packed weights follow them whatever changes them, and no copy holds any.
_packed: dict[tuple[int, int, int, str], Tensor] = {}


def _digest(parameters: Sequence[Tensor]) -> tuple[int, int]:
    count, result = len(parameters), (ctypes.c_uint64 * 2)()
    pointers = (ctypes.c_void_p * count)(*[tensor.data_ptr() for tensor in parameters])
    sizes = (ctypes.c_int64 * count)(*[4 * tensor.numel() for tensor in parameters])
    _loaded().digest(pointers, sizes, count, result)
    return result[0], result[1]


def packed(parameters: Sequence[Tensor], factor: int, attention: str) -> Tensor:
    """Return OWAN's weights in the library's order, from its parameters in theirs; kept for the next call."""
    plain = [p if p.dtype == torch.float32 and p.is_contiguous() else p.detach().float().contiguous() for p in parameters]
    key = (*_digest(plain), factor, attention)
    weights = _packed.get(key)
    if weights is None:
        with torch.inference_mode(False), torch.no_grad():
            weights = pack([tensor.detach() for tensor in plain], factor, attention)
        while len(_packed) >= KEPT:
            _packed.pop(next(iter(_packed)), None)
        _packed[key] = weights
    return weights


def restore(image: Tensor, parameters: Sequence[Tensor], factor: int, attention: str) -> Tensor:
    """Restore images (B, 3, H, W) float32 on the CPU with OWAN, not clipped; without gradients."""
    image, weights = image.detach().contiguous(), packed(parameters, factor, attention)
    restored = torch.empty_like(image, memory_format=torch.contiguous_format)
    count, _, height, width = image.shape
    kind = ("input", "none", "fixed").index(attention)
    if image.numel():
        _checked(
            _loaded().owan_restore(
                image.data_ptr(), restored.data_ptr(), weights.data_ptr(),
                count, height, width, factor, kind, torch.get_num_threads(),
            )
        )  # fmt: skip
    return restored


_owan = torch.library.custom_op(
    "vocbench::owan",
    restore,
    mutates_args=(),
    device_types="cpu",
    schema="(Tensor image, Tensor[] parameters, int factor, str attention) -> Tensor",
)


@_owan.register_fake
def _(image: Tensor, parameters: Sequence[Tensor], factor: int, attention: str) -> Tensor:
    return torch.empty_like(image, memory_format=torch.contiguous_format)


def owan(image: Tensor, parameters: Sequence[Tensor], factor: int, attention: str) -> Tensor:
    """Run `restore` as an operator that `torch.compile` and `torch.export` keep in their graphs."""
    return _owan(image, list(parameters), factor, attention)


def _pointers(*tensors: Tensor) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]


def _layer_forward(x: Tensor, m: Tensor, p: Tensor, k1: Tensor, k2: Tensor, kd: Tensor) -> Tensor:
    x, m, p, k1, k2, kd = (tensor.detach().contiguous() for tensor in (x, m, p, k1, k2, kd))
    y = torch.empty_like(x)
    _checked(_loaded().layer_forward(*_pointers(x, y, m, p, k1, k2, kd), *x.shape[:3], torch.get_num_threads()))
    return y


def _layer_backward(
    x: Tensor, m: Tensor, p: Tensor, k1: Tensor, k2: Tensor, kd: Tensor, y: Tensor, gy: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    given = [tensor.detach().contiguous() for tensor in (x, y, gy, m, p, k1, k2, kd)]
    x, y, gy, m, p, k1, k2, kd = given
    gx, gm = torch.empty_like(x), torch.empty_like(m)
    threads = max(1, min(torch.get_num_threads(), len(x)))
    sums = [tensor.new_zeros(threads, *tensor.shape) for tensor in (p, k1, k2, kd)]  # one of each for every thread
    pointers = _pointers(x, y, gy, gx, m, p, k1, k2, kd, gm, *sums)
    _checked(_loaded().layer_backward(*pointers, *x.shape[:3], threads))
    gp, g1, g2, gd = (total.sum(0) for total in sums)
    return gx, gm, gp, g1, g2, gd


_SIX = "Tensor x, Tensor m, Tensor p, Tensor k1, Tensor k2, Tensor kd"
_layer = torch.library.custom_op(
    "vocbench::owan_layer", _layer_forward, mutates_args=(), device_types="cpu", schema=f"({_SIX}) -> Tensor"
)
_gradient = torch.library.custom_op(
    "vocbench::owan_layer_backward",
    _layer_backward,
    mutates_args=(),
    device_types="cpu",
    schema=f"({_SIX}, Tensor y, Tensor gy) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)


@_layer.register_fake
def _(x, m, p, k1, k2, kd):
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@_gradient.register_fake
def _(x, m, p, k1, k2, kd, y, gy):
    return tuple(torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in (x, m, p, k1, k2, kd))


def _keep(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs, output)


def _backward(ctx, gy):
    return _gradient(*ctx.saved_tensors, gy)


_layer.register_autograd(_backward, setup_context=_keep)


def layer(x: Tensor, matrices: Tensor, first: Tensor, taps1: Tensor, taps2: Tensor, dilated: Tensor) -> Tensor:
    """Apply a layer to (B, H, W, 16) >= 0, differentiably; matrices (B, 8, 16, 16), the rest as of `folding.fold`."""
    return _layer(x, matrices, first, taps1, taps2, dilated)
