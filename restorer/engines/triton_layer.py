"""OWAN's operation layer as Triton kernels for CUDA, in float16, bfloat16 or float32 with float32 accumulation.

A layer runs as two kernels over blocks of pixels of a tile, all 16 channels at once. `_middle` computes the inputs of the
second depthwise convolutions: ReLU(pointwise(depthwise(x))) for k = 3, 5, 7, 48 channels. `_finish` does everything else
without writing anything but the layer's output: the second depthwise convolutions, the dilated ones, the pooling, each
operation's matrix with its attention weight folded in (see `folding.fold`), both ReLUs and the sum.

Bounds for one 500x375 photo in 128-pixel tiles of stride 96 (20 tiles, 327,680 pixels) and 40 layers:

- Device memory, half precision: a pixel's 32 bytes are read twice and written once, its 96 middle bytes written and read once:
  288 bytes, 3.8 GB in all, 0.8 ms at an H200's 4.8 TB/s. One kernel without middle maps in memory would move 0.8 GB (0.2 ms)
  but compute the middle maps' margins again.
- Multiply-adds: 3 x 83 taps x 16 channels = 3,984 a pixel outside the tensor cores, 52 G in all, 1.6 ms at 67 TFLOP/s. The
  twelve 16x16 matrices, 3,072 a pixel, go to the tensor cores and take little.
- First-level cache: 190 shifted reads of 32 bytes a pixel, 80 GB in all, about 2.6 ms at 30 TB/s. This is the highest floor.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from vocbench.restorer.engines.folding import Folded, fold
from vocbench.restorer.engines.native import asks_for_gradients, check_batch, plain, refuse_tracing
from vocbench.restorer.engines.placement import full_precision
from vocbench.restorer.networks.owan import CHANNELS, OPERATIONS, Owan

MIDDLE = 3 * CHANNELS
PIXELS = 64  # of one program
GRAPHS = 4  # input shapes whose CUDA graph is kept


def interpreted() -> bool:
    """Return whether Triton's interpreter is on: the kernels then run on the CPU, slowly."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def available(device: str) -> bool:
    """Return whether the kernels run on `device`."""
    return find_spec("triton") is not None and (device.startswith("cuda") or interpreted())


if find_spec("triton") is not None:
    import triton
    import triton.language as tl

    @triton.jit
    def _shifted(base, row, column, inside, dy: tl.constexpr, dx: tl.constexpr, height, width, depth: tl.constexpr, channel):
        """Return (P, 16) values `dy` rows down and `dx` columns right, zero outside the tile."""
        r, c = row + dy, column + dx
        known = inside & (r >= 0) & (r < height) & (c >= 0) & (c < width)
        return tl.load(base + (r * width + c)[:, None] * depth + channel[None, :], mask=known[:, None], other=0.0).to(
            tl.float32
        )

    @triton.jit
    def _tap(taps, number: tl.constexpr, channel):
        return tl.load(taps + number * 16 + channel)[None, :]

    @triton.jit
    def _mixed(values, matrix, channel, half: tl.constexpr):
        """Return (P, 16) values times a matrix (out, in) kept row by row, on the tensor cores in half precision."""
        transposed = tl.load(matrix + channel[None, :] * 16 + channel[:, None])  # (in, out)
        if half:
            return tl.dot(values.to(transposed.dtype), transposed, out_dtype=tl.float32)
        return tl.dot(values, transposed.to(tl.float32), input_precision="ieee", out_dtype=tl.float32)

    @triton.jit
    def _place(height, width, size: tl.constexpr):
        """Return the block's pixels: which tile, number in the tile, row, column, and whether they are inside."""
        pixel = tl.program_id(0) * size + tl.arange(0, size)
        return tl.program_id(1).to(tl.int64), pixel, pixel // width, pixel % width, pixel < height * width

    @triton.jit
    def _middle(x, middle, taps, first, height, width, size: tl.constexpr, half: tl.constexpr):
        tile, pixel, row, column, inside = _place(height, width, size)
        channel = tl.arange(0, 16)
        base = x + tile * height * width * 16
        sum3 = tl.zeros((size, 16), tl.float32)
        sum5 = tl.zeros((size, 16), tl.float32)
        sum7 = tl.zeros((size, 16), tl.float32)
        for dy in tl.static_range(-3, 4):
            for dx in tl.static_range(-3, 4):
                value = _shifted(base, row, column, inside, dy, dx, height, width, 16, channel)
                sum7 += value * _tap(taps, 34 + (dy + 3) * 7 + dx + 3, channel)
                if (dy >= -2) & (dy <= 2) & (dx >= -2) & (dx <= 2):
                    sum5 += value * _tap(taps, 9 + (dy + 2) * 5 + dx + 2, channel)
                if (dy >= -1) & (dy <= 1) & (dx >= -1) & (dx <= 1):
                    sum3 += value * _tap(taps, (dy + 1) * 3 + dx + 1, channel)
        out = middle + (tile * height * width + pixel)[:, None] * 48 + channel[None, :]
        known = inside[:, None]
        tl.store(out, tl.maximum(_mixed(sum3, first + 256, channel, half), 0.0).to(middle.dtype.element_ty), mask=known)
        tl.store(out + 16, tl.maximum(_mixed(sum5, first + 512, channel, half), 0.0).to(middle.dtype.element_ty), mask=known)
        tl.store(out + 32, tl.maximum(_mixed(sum7, first + 768, channel, half), 0.0).to(middle.dtype.element_ty), mask=known)

    @triton.jit
    def _depthwise(base, taps, row, column, inside, height, width, channel, begin: tl.constexpr, reach: tl.constexpr,
                   dilation: tl.constexpr, depth: tl.constexpr, size: tl.constexpr):  # fmt: skip
        """Return (P, 16) sums over a kernel of 2 * reach + 1 pixels whose taps begin at number `begin`."""
        total = tl.zeros((size, 16), tl.float32)
        for dy in tl.static_range(-reach, reach + 1):
            for dx in tl.static_range(-reach, reach + 1):
                value = _shifted(base, row, column, inside, dy * dilation, dx * dilation, height, width, depth, channel)
                total += value * _tap(taps, begin + (dy + reach) * (2 * reach + 1) + dx + reach, channel)
        return total

    @triton.jit
    def _finish(x, middle, y, taps2, taps_dilated, first, matrices, height, width, size: tl.constexpr, half: tl.constexpr):
        tile, pixel, row, column, inside = _place(height, width, size)
        channel = tl.arange(0, 16)
        base, between = x + tile * height * width * 16, middle + tile * height * width * 48
        mine = matrices + tile * 8 * 256  # this tile's, its attention in them
        here = _shifted(base, row, column, inside, 0, 0, height, width, 16, channel)
        total = _mixed(tl.maximum(_mixed(here, first, channel, half), 0.0), mine, channel, half)
        part = _depthwise(between, taps2, row, column, inside, height, width, channel, 0, 1, 1, 48, size)
        total += _mixed(part, mine + 256, channel, half)
        part = _depthwise(between + 16, taps2, row, column, inside, height, width, channel, 9, 2, 1, 48, size)
        total += _mixed(part, mine + 512, channel, half)
        part = _depthwise(between + 32, taps2, row, column, inside, height, width, channel, 34, 3, 1, 48, size)
        total += _mixed(part, mine + 768, channel, half)
        wide3 = tl.zeros((size, 16), tl.float32)
        wide5 = tl.zeros((size, 16), tl.float32)
        wide7 = tl.zeros((size, 16), tl.float32)
        for dy in tl.static_range(-3, 4):
            for dx in tl.static_range(-3, 4):
                value = _shifted(base, row, column, inside, 2 * dy, 2 * dx, height, width, 16, channel)
                wide7 += value * _tap(taps_dilated, 34 + (dy + 3) * 7 + dx + 3, channel)
                if (dy >= -2) & (dy <= 2) & (dx >= -2) & (dx <= 2):
                    wide5 += value * _tap(taps_dilated, 9 + (dy + 2) * 5 + dx + 2, channel)
                if (dy >= -1) & (dy <= 1) & (dx >= -1) & (dx <= 1):
                    wide3 += value * _tap(taps_dilated, (dy + 1) * 3 + dx + 1, channel)
        total += _mixed(wide3, mine + 1024, channel, half)
        total += _mixed(wide5, mine + 1280, channel, half)
        total += _mixed(wide7, mine + 1536, channel, half)
        pooled = tl.zeros((size, 16), tl.float32)
        count = tl.zeros((size,), tl.float32)
        for dy in tl.static_range(-1, 2):
            for dx in tl.static_range(-1, 2):
                pooled += _shifted(base, row, column, inside, dy, dx, height, width, 16, channel)
                r, c = row + dy, column + dx
                count += ((r >= 0) & (r < height) & (c >= 0) & (c < width)).to(tl.float32)
        total += _mixed(pooled / tl.maximum(count, 1.0)[:, None], mine + 1792, channel, half)
        result = tl.maximum(here + tl.maximum(total, 0.0), 0.0)
        out = y + (tile * height * width + pixel)[:, None] * 16 + channel[None, :]
        tl.store(out, result.to(y.dtype.element_ty), mask=inside[:, None])


def layer(x: Tensor, prepared: tuple[Tensor, ...], weights: Tensor, middle: Tensor | None = None) -> Tensor:
    """Apply the operation layer to x (B, H, W, 16) >= 0 in half or single precision, by attention (B, 8) in float32.

    `prepared` is what `_moved` gives for the layer; `middle` is working space (B, H, W, 48) in x's type, made where it is not
    given.
    """
    matrices, first, taps1, taps2, taps_dilated = prepared
    tiles, height, width, channels = x.shape
    assert channels == CHANNELS and x.is_contiguous()
    middle = x.new_empty(tiles, height, width, MIDDLE) if middle is None else middle
    y = torch.empty_like(x)
    scaled = (matrices * weights[:, :, None, None]).to(x.dtype).contiguous()  # (B, 8, 16, 16)
    grid = (triton.cdiv(height * width, PIXELS), tiles)
    half = x.dtype != torch.float32 and not interpreted()  # the interpreter cannot multiply matrices of bfloat16
    _middle[grid](x, middle, taps1, first, height, width, PIXELS, half)
    _finish[grid](x, middle, y, taps2, taps_dilated, first, scaled, height, width, PIXELS, half)
    return y


class TritonOwan(nn.Module):
    """An `Owan` whose operation layers are the kernels, for inference: (B, 3, H, W) to the same, not clipped.

    Its parameters are the network's own. What surrounds the layers and the attention run in PyTorch in float32, the layers in
    `dtype`. On CUDA the whole network is captured for each of the last few input shapes as a CUDA graph, so that its launches
    cost nothing; use one shape, as tiles do. With gradients, the network itself runs.
    """

    engine = "triton"

    def __init__(self, network: Owan, device: str = "cuda", dtype: torch.dtype = torch.float16):
        super().__init__()
        if not available(device):
            raise ValueError(f"the engine 'triton' needs the package triton and a CUDA GPU, not {device}; use another engine")
        assert len(OPERATIONS) == 8
        self.network = network.to(torch.device(device)).eval()
        self.dtype = dtype
        self._forget()
        self.register_load_state_dict_post_hook(_forget_weights)

    def _forget(self) -> None:
        self._known: list[nn.Parameter] | None = None  # checking 980 parameters takes as long as a batch
        self._made: tuple[list, list, dict] | None = None  # marks of the parameters, layers folded from them, graphs by shape

    def _apply(self, fn, recurse: bool = True):
        self._forget()  # the parameters become others
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        """Return everything but the data derived from the parameters, which copies derive again."""
        return self.__dict__ | {"_known": None, "_made": None}

    def _own(self) -> list[nn.Parameter]:
        if self._known is None:
            self._known = list(self.network.parameters())
        return self._known

    def _prepared(self) -> tuple[list[list[tuple[Tensor, ...]]], dict]:
        marks = [(one.data_ptr(), 0 if one.is_inference() else one._version) for one in self._own()]
        if self._made is None or self._made[0] != marks:
            with torch.inference_mode(False), torch.no_grad():
                groups, device = self.network.groups, self._own()[0].device
                layers = [[_moved(fold(one), device, self.dtype) for one in group.layers] for group in groups]  # type: ignore[union-attr, arg-type]
            self._made = (marks, layers, {})
        return self._made[1], self._made[2]

    def _run(self, images: Tensor, prepared: list[list[tuple[Tensor, ...]]]) -> Tensor:
        network = self.network
        x = network.head(network.enter(images).contiguous(memory_format=torch.channels_last))
        middle = x.new_empty(len(x), *x.shape[2:], MIDDLE, dtype=self.dtype)
        groups: Any = network.groups
        for number, (group, layers) in enumerate(zip(groups, prepared, strict=True)):
            weights = group.attention(x)  # (B, layers, ops)
            x = torch.relu(group.preprocess(x)).permute(0, 2, 3, 1).to(self.dtype).contiguous()  # (B, H, W, 16)
            for i, folded in enumerate(layers):
                x = layer(x, folded, weights[:, i].float(), middle)
            x = network.hold(number, x.permute(0, 3, 1, 2).to(images.dtype))
        return network.leave(images, x)

    def _capture(self, images: Tensor, prepared: list[list[tuple[Tensor, ...]]]) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        given = images.clone()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # compiles the kernels and lets the libraries choose theirs
            for _ in range(2):
                self._run(given, prepared)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = self._run(given, prepared)
        return graph, given, result

    def _replay(self, images: Tensor) -> Tensor:
        prepared, graphs = self._prepared()
        if images.shape not in graphs:
            while len(graphs) >= GRAPHS:
                del graphs[next(iter(graphs))]
            graphs[images.shape] = self._capture(images, prepared)
        graph, given, result = graphs[images.shape]
        given.copy_(images)
        graph.replay()
        return result.clone()

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) on any device to the same shape on the same device."""
        refuse_tracing("triton")
        check_batch(images)
        parameters = self._own()
        place = parameters[0].device
        fits = available(str(place)) and parameters[0].dtype == torch.float32
        if not fits or asks_for_gradients(images, parameters) or torch.compiler.is_compiling():
            return plain(self.network, images)
        with torch.no_grad():
            moved = images.to(parameters[0])
            if place.type != "cuda":
                return self._run(moved, self._prepared()[0]).to(images)
            with torch.cuda.device(place), full_precision():
                return self._replay(moved).to(images)


def _forget_weights(module: TritonOwan, keys: Any) -> None:
    module._forget()


def _moved(prepared: Folded, device: torch.device | str, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return `folding.fold` on the device: matrices before the ReLU in `dtype`, those to be scaled and taps unchanged."""
    matrices, first, *taps = (tensor.detach().to(device) for tensor in prepared)
    return matrices.contiguous(), first.to(dtype).contiguous(), *(one.contiguous() for one in taps)
