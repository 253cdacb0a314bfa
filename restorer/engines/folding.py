"""OWAN's operation layers with fewer multiplications: linear parts are multiplied out once, for every engine.

Everything between an operation's last non-linearity and the 1x1 convolution that joins a layer's operations is linear: its
last pointwise convolution and its slice of the 1x1 convolution are one 16x16 matrix, and its attention weight is a factor of
that matrix. The depthwise convolutions of the 1x1 operation are scales of single channels and go into their neighbours.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from vocbench.restorer.networks.owan import CHANNELS, OPERATIONS, OperationLayer


class Folded(NamedTuple):
    """A layer's weights but for the attention; taps are those of the kernels 3, 5 and 7 one after the other."""

    last: Tensor  # (8, 16, 16) [operation][out][in], after each operation's last depthwise convolution
    first: Tensor  # (4, 16, 16), before the ReLU of each separable operation
    taps1: Tensor  # (83, 16), first depthwise convolutions of the separable operations 3, 5, 7
    taps2: Tensor  # (83, 16), their second ones
    dilated: Tensor  # (83, 16), of the dilated operations


def _taps(weights: list[Tensor]) -> Tensor:
    """Return depthwise weights (16, 1, k, k) of k = 3, 5, 7 as (83, 16)."""
    return torch.cat([weight.flatten(1) for weight in weights], 1).t()


def fold(layer: OperationLayer) -> Folded:
    """Return a layer's folded weights, differentiable in its parameters."""
    assert len(OPERATIONS) == 8
    ops: Any = layer.operations  # its sequences of convolutions
    lone, separable, wide = ops[0], [ops[i] for i in (1, 2, 3)], [ops[i] for i in (4, 5, 6)]
    join = layer.join.weight.reshape(CHANNELS, len(OPERATIONS), CHANNELS).permute(1, 0, 2)  # (8, out, in)
    last = [
        lone[4].weight.flatten(1) * lone[3].weight.flatten(),
        *(op[4].weight.flatten(1) for op in separable),
        *(op[1].weight.flatten(1) for op in wide),
        torch.eye(CHANNELS, dtype=join.dtype, device=join.device),  # the pooling has no weights
    ]
    first = [lone[1].weight.flatten(1) * lone[0].weight.flatten(), *(op[1].weight.flatten(1) for op in separable)]
    folded = Folded(
        join @ torch.stack(last),
        torch.stack(first),
        _taps([op[0].weight for op in separable]),
        _taps([op[3].weight for op in separable]),
        _taps([op[0].weight for op in wide]),
    )
    return Folded(*(tensor.contiguous() for tensor in folded))
