"""OWAN's operation layer compiled for this machine's CPU, forward and backward: the same function, several times faster.

`cpp/training.cpp` is compiled once with the machine's C++ compiler and kept in a cache folder. Where there is no compiler,
`available()` is False and training goes on in plain PyTorch.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from vocbench.restorer.engines import compiled
from vocbench.restorer.engines.folding import fold
from vocbench.restorer.networks.owan import Group, Owan

SOURCE = Path(__file__).with_name("cpp") / "training.cpp"
TOGETHER = 2  # tiles that a thread restores at a time; fixed, so that the number of threads cannot change a result


@functools.cache
def _library() -> ctypes.CDLL | None:
    library = compiled.load("owan", SOURCE)
    if library is None:
        return None
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    library.forward.argtypes = [pointer] * 7 + [integer] * 4
    library.backward.argtypes = [pointer] * 14 + [integer] * 4
    return library


def available() -> bool:
    """Whether the compiled layer can be had here: a C++ compiler with vector types, as g++ and clang++ are."""
    return _library() is not None


@functools.cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, "owan")


def _shares(tiles: int) -> list[tuple[int, int]]:
    """Tiles begin..end for each of this thread's PyTorch threads; the compiled code lets go of the interpreter."""
    parts = max(1, min(torch.get_num_threads(), tiles))
    edges = [tiles * i // parts for i in range(parts + 1)]
    return list(pairwise(edges))


def _share_out(work: Callable[[int, int, int], None], tiles: int) -> int:
    """Call work(part, begin, end) for every share, side by side; gives the number of parts."""
    shares = _shares(tiles)
    if len(shares) == 1:
        work(0, *shares[0])
    else:
        jobs = [_threads(len(shares)).submit(work, i, *share) for i, share in enumerate(shares)]
        for job in jobs:
            job.result()
    return len(shares)


class _Layer(torch.autograd.Function):
    """x (B, H, W, 16) to y of the same shape, given the folded matrices and taps of `folding.fold`."""

    @staticmethod
    def forward(ctx, x, m, p, k1, k2, kd):  # type: ignore[override]
        library = _library()
        assert library is not None
        inputs = [tensor.contiguous() for tensor in (x, m, p, k1, k2, kd)]
        y = torch.empty_like(inputs[0])
        tiles, height, width = x.shape[:3]
        first, *rest = (tensor.data_ptr() for tensor in inputs)

        def work(part: int, begin: int, end: int) -> None:
            library.forward(first, y.data_ptr(), *rest, begin, end, height, width)

        _share_out(work, tiles)
        ctx.save_for_backward(*inputs, y)
        return y

    @staticmethod
    def backward(ctx, gy):  # type: ignore[override]
        library = _library()
        assert library is not None
        x, m, p, k1, k2, kd, y = ctx.saved_tensors
        gy = gy.contiguous()
        gx, gm = torch.empty_like(x), torch.empty_like(m)
        tiles, height, width = x.shape[:3]
        parts = len(_shares(tiles))
        sums = [torch.zeros(parts, *tensor.shape) for tensor in (p, k1, k2, kd)]  # one of each for every thread
        given = [tensor.data_ptr() for tensor in (x, y, gy, gx, m, p, k1, k2, kd, gm)]

        def work(part: int, begin: int, end: int) -> None:
            library.backward(*given, *(total[part].data_ptr() for total in sums), begin, end, height, width)

        _share_out(work, tiles)
        return gx, gm, *(total.sum(0) for total in sums)


def layer(x: Tensor, prepared: tuple[Tensor, ...], weights: Tensor) -> Tensor:
    """The operation layer on (B, H, W, 16), x >= 0, with `fold` and attention weights (B, 8); differentiable in all."""
    matrices, *rest = prepared
    return _Layer.apply(x, matrices * weights[:, :, None, None], *rest)


def _group(group: Group, x: Tensor, prepared: Sequence[tuple[Tensor, ...]]) -> Tensor:
    weights = group.attention(x)  # (B, layers, ops); x is (B, 16, H, W) in channels-last memory
    x = torch.relu(group.preprocess(x)).permute(0, 2, 3, 1)  # (B, H, W, 16)
    for i, numbers in enumerate(prepared):
        x = layer(x, numbers, weights[:, i])
    return x.permute(0, 3, 1, 2)


def prepare(network: Owan) -> list[list[tuple[Tensor, ...]]]:
    """`fold` of every layer of every group."""
    return [[fold(module) for module in group.layers] for group in network.groups]  # type: ignore[union-attr, arg-type]


def forward(network: Owan, image: Tensor, prepared: list[list[tuple[Tensor, ...]]] | None = None) -> Tensor:
    """What `network(image)` gives, (B, 3, H, W) float32 on the CPU, through the compiled layers."""
    x = network.head(network.enter(image).contiguous(memory_format=torch.channels_last))
    for group, numbers in zip(network.groups, prepared or prepare(network), strict=True):
        x = _group(group, x, numbers)  # type: ignore[arg-type]
    return network.leave(image, x)


class NativeOwan(nn.Module):
    """An `Owan` run through the compiled layers, for training; its parameters are the network's own."""

    def __init__(self, network: Owan):
        super().__init__()
        if not available():
            raise ValueError("the compiled layer needs a C++ compiler (g++ or clang++); use another engine")
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float32 on the CPU to the same shape, not clipped."""
        return forward(self.network, image)


class FrozenOwan(NativeOwan):
    """The same for inference: folded weights are computed once, and each thread restores its own tiles from end to end."""

    engine = "native"

    def __init__(self, network: Owan):
        super().__init__(network)
        with torch.no_grad():
            self.prepared = prepare(network)
        # One PyTorch thread in each: nothing is shared out twice.
        self.threads = torch.get_num_threads()
        self.pool = ThreadPoolExecutor(self.threads, "owan", torch.set_num_threads, (1,))

    @torch.inference_mode()
    def _restore(self, tiles: Tensor) -> Tensor:
        return forward(self.network, tiles, self.prepared)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float32 on any device to the same shape on the same device, not clipped."""
        return torch.cat(list(self.pool.map(self._restore, image.cpu().split(TOGETHER)))).to(image.device)
