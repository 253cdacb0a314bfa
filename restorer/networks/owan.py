"""OWAN: operation-wise attention network (Suganuma, Liu, Okatani, CVPR 2019), as its authors released it.

The network is the paper's figure 2: feature extraction, ten groups of four operation-wise attention layers, and an output
convolution. Where the released code and the paper's text differ, this follows the code, because the released weights do:
64 hidden units in the attention (text: 32), depthwise residual blocks (text: standard convolutions), separable
convolutions applied twice, and a ReLU after each 1x1 convolution and after each sum.

`attention` selects the network of the paper or one of its ablations (section 4.4): `input` computes the weights from the
layer's input, `none` sets every weight to 1, `fixed` learns weights that do not depend on the input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

CHANNELS = 16
GROUPS = 10
LAYERS = 4  # operation layers in a group
UNMEASURED = 65504.0  # ceiling of features where none was measured: the largest that float16 holds
HIDDEN = 64  # units of the attention's hidden layer
OPERATIONS = (
    "separable 1×1",
    "separable 3×3",
    "separable 5×5",
    "separable 7×7",
    "dilated 3×3",
    "dilated 5×5",
    "dilated 7×7",
    "average pooling 3×3",
)


def depthwise(channels: int, kernel: int, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(channels, channels, kernel, padding=padding, dilation=dilation, groups=channels, bias=False)


def pointwise(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 1, bias=False)


def separable(channels: int, kernel: int) -> nn.Sequential:
    """Return two depthwise-pointwise pairs with a ReLU between them."""
    return nn.Sequential(
        depthwise(channels, kernel),
        pointwise(channels, channels),
        nn.ReLU(),
        depthwise(channels, kernel),
        pointwise(channels, channels),
    )


def dilated(channels: int, kernel: int) -> nn.Sequential:
    """Return one depthwise-pointwise pair at dilation rate 2."""
    return nn.Sequential(depthwise(channels, kernel, dilation=2), pointwise(channels, channels))


def operations(channels: int) -> nn.ModuleList:
    """Return the eight parallel operations of a layer, in the order of `OPERATIONS`."""
    convolutions = [separable(channels, kernel) for kernel in (1, 3, 5, 7)]
    convolutions += [dilated(channels, kernel) for kernel in (3, 5, 7)]
    return nn.ModuleList([*convolutions, nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)])


class ResidualBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = depthwise(channels, 3)
        self.conv2 = depthwise(channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.conv2(torch.relu(self.conv1(x))))


class InputAttention(nn.Module):
    """Attention weights of a group's layers from the group's input: (B, C, H, W) to (B, layers, operations); eq. 1-3."""

    def __init__(self, channels: int = CHANNELS, hidden: int = HIDDEN, layers: int = LAYERS, ops: int = len(OPERATIONS)):
        super().__init__()
        self.layers, self.ops = layers, ops
        self.squeeze = nn.Linear(channels, hidden)
        self.expand = nn.Linear(hidden, layers * ops)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3))  # (B, C)
        logits = self.expand(torch.relu(self.squeeze(mean)))  # (B, layers * ops)
        return logits.reshape(-1, self.layers, self.ops).softmax(2)  # (B, layers, ops)


class NoAttention(nn.Module):
    """Every weight is 1: the ablation 'without attention'."""

    def __init__(self, layers: int = LAYERS, ops: int = len(OPERATIONS)):
        super().__init__()
        self.layers, self.ops = layers, ops

    def forward(self, x: Tensor) -> Tensor:
        return x.new_ones(x.shape[0], self.layers, self.ops)


class FixedAttention(nn.Module):
    """Input-independent weights, shared by the layers of a group: the ablation 'fixed attention', learnt as in DARTS."""

    def __init__(self, layers: int = LAYERS, ops: int = len(OPERATIONS)):
        super().__init__()
        self.layers = layers
        self.logits = nn.Parameter(torch.zeros(ops))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.softmax(0).to(x.dtype).expand(x.shape[0], self.layers, -1)  # (B, layers, ops)


ATTENTION = {"input": InputAttention, "none": NoAttention, "fixed": FixedAttention}


class OperationLayer(nn.Module):
    """Eight operations on the same input, each times its weight, concatenated, joined by a 1x1 convolution, plus the input."""

    def __init__(self, channels: int):
        super().__init__()
        self.operations = operations(channels)
        self.join = pointwise(channels * len(OPERATIONS), channels)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        weights = weights.to(x.dtype)[:, :, None, None, None]  # (B, ops, 1, 1, 1)
        outputs = [operation(x) * weights[:, i] for i, operation in enumerate(self.operations)]
        return torch.relu(x + torch.relu(self.join(torch.cat(outputs, 1))))


class Group(nn.Module):
    """Attention weights for four layers at once, a 1x1 convolution, and the four layers."""

    def __init__(self, channels: int, attention: str):
        super().__init__()
        self.attention = ATTENTION[attention]()
        self.preprocess = pointwise(channels, channels)
        self.layers = nn.ModuleList(OperationLayer(channels) for _ in range(LAYERS))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        weights = self.attention(x)  # (B, layers, ops)
        x = torch.relu(self.preprocess(x))
        for i, layer in enumerate(self.layers):
            x = layer(x, weights[:, i])
        return x, weights


class Owan(nn.Module):
    """The restoration network: RGB (B, 3, H, W) in [0, 1] to the same shape, not clipped; H and W at least 1 pixel.

    Attention averages over the whole input, so the tiling is part of the function: see `tiling`.

    The features of each group are limited by its ceiling, the largest value on photos: on a saturated flat colour they may
    grow a thousandfold. The ceilings are a buffer, saved with the weights; `measure_ceilings` finds them. The authors' weights
    have none.
    """

    factor = 1  # by which the resolution is divided

    def __init__(self, attention: str = "input", inputs: int = 3, outputs: int = 3):
        super().__init__()
        self.head = nn.Sequential(
            nn.Conv2d(inputs, CHANNELS, 3, padding=1, bias=False), *(ResidualBlock(CHANNELS) for _ in range(4))
        )
        self.groups = nn.ModuleList(Group(CHANNELS, attention) for _ in range(GROUPS))
        self.tail = nn.Conv2d(CHANNELS, outputs, 3, padding=1, bias=False)
        self.ceilings: Tensor
        self.register_buffer("ceilings", torch.full((GROUPS,), UNMEASURED))

    def forward(self, image: Tensor) -> Tensor:
        return self.with_attention(image)[0]

    def enter(self, image: Tensor) -> Tensor:
        """Return what the head convolution takes: the image itself."""
        return image

    def hold(self, group: int, features: Tensor) -> Tensor:
        """Return the features (B, 16, H, W) of a group, counted from 0, kept at or below its ceiling."""
        return torch.minimum(features, self.ceilings[group])

    def leave(self, image: Tensor, features: Tensor) -> Tensor:
        """Return the restored image, of the last group's features (B, 16, H, W) and the image itself."""
        return self.tail(features)

    def reached(self, image: Tensor, held: bool = True) -> Iterator[Tensor]:
        """Yield the features (B, 16, H, W) that each group gives for an image; without `held`, `hold` is left out."""
        features = self.head(self.enter(image))  # (B, 16, H, W)
        for number, group in enumerate(self.groups):
            features, _ = group(features)
            yield features
            features = self.hold(number, features) if held else features

    def with_attention(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the restored image (B, 3, H, W) and the attention weights (B, 40, 8) of every layer and operation."""
        x = self.head(self.enter(image))  # (B, 16, H, W)
        weights = []
        for number, group in enumerate(self.groups):
            x, group_weights = group(x)
            x = self.hold(number, x)
            weights.append(group_weights)
        return self.leave(image, x), torch.cat(weights, 1)


@torch.no_grad()
def measure_ceilings(network: Owan, images: Iterable[Tensor], margin: float = 1.0) -> Tensor:
    """Set a network's ceilings to `margin` times the most that each group's features reach on images (B, 3, H, W): (10,).

    Features are measured without ceilings. The images must include all kinds of photos that the network is for, clean ones too,
    as larger features on other photos are cut off.
    """
    most = torch.zeros_like(network.ceilings)
    for image in images:
        for number, features in enumerate(network.reached(image, held=False)):
            most[number] = torch.maximum(most[number], features.max())
    return network.ceilings.copy_(margin * most)
