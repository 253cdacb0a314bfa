"""OWAN's weights as one float array in the order in which the compiled library reads them (`cpp/network.h`, `cpp/ends.h`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from vocbench.restorer.engines.folding import fold
from vocbench.restorer.networks.owan import ATTENTION, CHANNELS, Owan
from vocbench.restorer.networks.owan_subpixel import SubpixelOwan


def describe(network: Owan) -> tuple[int, str]:
    """Return the factor by which a network divides the resolution, and its kind of attention."""
    groups: Any = network.groups
    kind = next(name for name, made in ATTENTION.items() if isinstance(groups[0].attention, made))
    return network.factor, kind


def skeleton(factor: int, attention: str) -> Owan:
    """Return a network with uninitialised parameters."""
    with torch.device("meta"):
        network = Owan(attention) if factor == 1 else SubpixelOwan(factor, attention)
    return network.requires_grad_(False)  # so that it accepts tensors of inference mode too


def pack(parameters: Sequence[Tensor], factor: int, attention: str) -> Tensor:
    """Return all weights of the network with these parameters and buffers, folded: float32 on the CPU, 64-byte aligned."""
    network = skeleton(factor, attention)
    names = [name for name, _ in (*network.named_parameters(), *network.named_buffers())]
    network.load_state_dict(dict(zip(names, parameters, strict=True)), assign=True)
    blocks = [block.detach().reshape(-1) for block in _blocks(network, attention)]
    assert all(block.numel() % CHANNELS == 0 for block in blocks)
    return torch.cat(blocks)


def _blocks(network: Any, attention: str) -> Iterator[Tensor]:
    yield network.head[0].weight.permute(1, 2, 3, 0)  # (in, 3, 3, 16)
    for block in network.head[1:]:
        yield from (_taps(block.conv1.weight), _taps(block.conv2.weight))
    for group in network.groups:
        yield from _attention(group.attention, attention)
        yield group.preprocess.weight.flatten(1).t()  # (in, out)
        for layer in group.layers:
            folded = fold(layer)
            yield from (folded.last.mT, folded.first.mT, folded.taps1, folded.taps2, folded.dilated)
    yield pad(network.ceilings, (0, CHANNELS - len(network.ceilings)))
    yield from _full(network.tail.weight)
    if isinstance(network, SubpixelOwan):
        mix, opening = network.gates.mix, network.gates.open
        yield from _full(mix.weight[:, :CHANNELS])
        yield from _full(mix.weight[:, CHANNELS:])
        yield mix.bias  # type: ignore[misc]
        yield from _full(opening.weight)
        yield pad(opening.bias, (0, CHANNELS - 2))  # type: ignore[arg-type]


def _taps(weight: Tensor) -> Tensor:
    """Return a depthwise weight (16, 1, k, k) as (k * k, 16)."""
    return weight.flatten(1).t()


def _attention(module: Any, kind: str) -> Iterator[Tensor]:
    if kind == "input":
        yield from (module.squeeze.weight, module.squeeze.bias, module.expand.weight, module.expand.bias)
    if kind == "fixed":
        yield pad(module.logits, (0, CHANNELS - len(module.logits)))


def _full(weight: Tensor) -> Iterator[Tensor]:
    """Return a 3x3 convolution (out, in <= 16, 3, 3) as (9, 16, 16) [tap][in][out] for every 16 outputs, zeros filled up."""
    outputs, inputs = weight.shape[:2]
    grown = pad(weight.flatten(2), (0, 0, 0, CHANNELS - inputs, 0, -outputs % CHANNELS))
    for block in grown.split(CHANNELS):  # (16 out, 16 in, 9)
        yield block.permute(2, 1, 0)
