"""OWAN as an equal network of ordinary layers with fewer multiplications: folded matrices join the operations (see `folding`).

The attention weight stays a factor per image.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from vocbench.restorer.engines.folding import fold
from vocbench.restorer.networks.owan import CHANNELS, OPERATIONS, Group, OperationLayer, Owan


def _pointwise(matrix: Tensor) -> nn.Conv2d:
    conv = nn.Conv2d(matrix.shape[1], matrix.shape[0], 1, bias=False)
    conv.weight = nn.Parameter(matrix.detach()[:, :, None, None].clone(), requires_grad=False)
    return conv


class FusedLayer(nn.Module):
    def __init__(self, layer: OperationLayer):
        super().__init__()
        folded = fold(layer)
        ops = list(layer.operations)
        self.before = nn.ModuleList(op[0] for op in ops[1:4])  # type: ignore[index]
        self.middle = nn.ModuleList(_pointwise(matrix) for matrix in folded.first)
        self.after = nn.ModuleList(op[3] for op in ops[1:4])  # type: ignore[index]
        self.wide = nn.ModuleList(op[0] for op in ops[4:7])  # type: ignore[index]
        self.pool = ops[7]
        self.join = _pointwise(torch.cat(list(folded.last), 1))

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        outputs = [torch.relu(self.middle[0](x))]
        for before, middle, after in zip(self.before, list(self.middle)[1:], self.after, strict=True):
            outputs.append(after(torch.relu(middle(before(x)))))
        outputs += [wide(x) for wide in self.wide]
        outputs.append(self.pool(x))
        factors = weights.repeat_interleave(CHANNELS, 1)[:, :, None, None]  # (B, 128, 1, 1)
        return torch.relu(x + torch.relu(self.join(torch.cat(outputs, 1) * factors)))


class FusedGroup(nn.Module):
    def __init__(self, group: Group):
        super().__init__()
        self.attention, self.preprocess = group.attention, group.preprocess
        self.layers = nn.ModuleList(FusedLayer(layer) for layer in group.layers)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        weights = self.attention(x)  # (B, layers, ops)
        x = torch.relu(self.preprocess(x))
        for i, layer in enumerate(self.layers):
            x = layer(x, weights[:, i])
        return x


class FusedOwan(nn.Module):
    """The same function as the `Owan` it was made from, for inference: (B, 3, H, W) to the same shape, not clipped."""

    def __init__(self, network: Owan):
        super().__init__()
        self.ends = copy.copy(network)  # head, tail and gates, whose parameters stay the network's own
        self.ends._modules = {name: part for name, part in network._modules.items() if name != "groups"}
        self.groups = nn.ModuleList(FusedGroup(group) for group in network.groups)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        x = self.ends.head(self.ends.enter(image))
        for number, group in enumerate(self.groups):
            x = self.ends.hold(number, group(x))
        return self.ends.leave(image, x)


def fuse(network: Owan) -> FusedOwan:
    """Return the fused form of a trained network, in evaluation mode; its operations are `OPERATIONS`, in their order."""
    assert len(OPERATIONS) == 8
    return FusedOwan(network).eval()
