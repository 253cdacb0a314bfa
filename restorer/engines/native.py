"""OWAN's layers compiled for this machine's CPU, forward and backward: the same function, several times faster.

`NativeOwan` is an ordinary module around the ordinary network. Where the compiled code does not apply (parameters on a GPU, or
in another precision with gradients, or no compiler where it was unpickled), it runs the network itself.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn
from vocbench.restorer.engines import library
from vocbench.restorer.engines.folding import fold
from vocbench.restorer.engines.library import SOURCE, available
from vocbench.restorer.engines.packing import describe
from vocbench.restorer.networks.owan import Group, Owan

__all__ = ["SOURCE", "NativeOwan", "available", "forward"]
logger = logging.getLogger(__name__)


def _group(group: Group, x: Tensor) -> Tensor:
    weights = group.attention(x)  # (B, layers, ops); x is (B, 16, H, W) in channels-last memory
    x = torch.relu(group.preprocess(x)).permute(0, 2, 3, 1)  # (B, H, W, 16)
    for i, module in enumerate(group.layers):
        matrices, *rest = fold(module)  # type: ignore[arg-type]
        x = library.layer(x, matrices * weights[:, i, :, None, None], *rest)
    return x.permute(0, 3, 1, 2)


def forward(network: Owan, image: Tensor) -> Tensor:
    """Compute `network(image)`, (B, 3, H, W) float32 on the CPU, layer by layer and differentiably."""
    with torch.autocast("cpu", enabled=False):
        x = network.head(network.enter(image).contiguous(memory_format=torch.channels_last))
        for number, group in enumerate(network.groups):
            x = network.hold(number, _group(group, x))  # type: ignore[arg-type]
        return network.leave(image, x)


def refuse_tracing(engine: str) -> None:
    """Raise RuntimeError under `torch.jit.trace`, which would record one constant picture."""
    if torch.jit.is_tracing():
        raise RuntimeError(
            f"the engine {engine!r} runs compiled code, which torch.jit.trace cannot record; use engine='torch', or "
            "`vocbench export`"
        )


def check_batch(image: Tensor) -> None:
    """Raise ValueError for anything but a batch of images."""
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"expected images (B, 3, H, W), got {tuple(image.shape)}")
    if not image.is_floating_point():
        raise ValueError(f"expected floats in [0, 1], got {image.dtype}; use image.float() / 255 for 0 to 255")


def plain(network: nn.Module, image: Tensor) -> Tensor:
    """Run the network itself on images of any precision and device, and return the result in theirs."""
    own = next(network.parameters())
    if own.is_meta:
        raise ValueError("the network's parameters are on the device 'meta', where tensors hold nothing; load weights first")
    return network(image.to(own)).to(image)


def asks_for_gradients(image: Tensor, parameters: list[nn.Parameter]) -> bool:
    """Return whether autograd must record the computation."""
    return torch.is_grad_enabled() and (image.requires_grad or any(one.requires_grad for one in parameters))


class NativeOwan(nn.Module):
    """An `Owan` run by compiled code, for inference and training; its parameters are the network's own.

    Without gradients, other precisions are computed in float32; with gradients, in their own by the network itself.
    """

    engine = "native"
    any_number = True  # of tiles at a time: none depends on another

    def __init__(self, network: Owan):
        super().__init__()
        if not available():
            raise ValueError("the compiled layer needs a C++ compiler (g++ or clang++); use another engine")
        self.network = network
        self.kind = describe(network)

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) floats on any device to the same shape, type and device, not clipped."""
        refuse_tracing("native")
        check_batch(image)
        parameters = list(self.network.parameters())
        compiling = torch.compiler.is_compiling()
        if parameters[0].device.type != "cpu" or not (compiling or available()):
            return plain(self.network, image)
        if asks_for_gradients(image, parameters):
            usual = {one.dtype for one in (image, *parameters)} == {torch.float32}
            return forward(self.network, image.cpu()).to(image.device) if usual else plain(self.network, image)
        run = library.owan if compiling else library.restore
        return run(image.to("cpu", torch.float32), [*parameters, *self.network.buffers()], *self.kind).to(image)
