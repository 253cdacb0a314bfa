"""DnCNN: predicts the noise and subtracts it (Zhang et al., 2017, arXiv:1608.03981).

Depth 20, as its blind colour model.

Unlike in the paper, a new network is initialised near the identity: see `start_near_identity`.

Loads weights of this project, and the `.pth` files of KAIR (github.com/cszn/KAIR), with or without batch norms.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from vocbench.restorer.weight_files import WeightsFile, check_state, open_weights

DEPTH = 20
CHANNELS = 64
KAIR_EPSILON = 1e-4  # of its batch norms, whose convolutions have biases


class DnCNN(nn.Module):
    """RGB (B, 3, H, W) in [0, 1] to the same shape, not clipped.

    `folded` has no batch norms, as for inference; `kair` has KAIR's: biases before them, and its epsilon.
    """

    def __init__(self, folded: bool = False, kair: bool = False):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, CHANNELS, 3, padding=1), nn.ReLU()]
        for _ in range(DEPTH - 2):
            layers.append(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=folded or kair))
            layers += [] if folded else [nn.BatchNorm2d(CHANNELS, eps=KAIR_EPSILON if kair else 1e-5)]
            layers.append(nn.ReLU())
        layers.append(nn.Conv2d(CHANNELS, 3, 3, padding=1))
        self.model = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        return image - self.model(image)


def start_near_identity(network: DnCNN, spread: float = 0.3) -> DnCNN:
    """Initialise the network so that training with L1 loss makes progress, and return it.

    From random weights, eighteen layers mix a pixel's noise with that of thousands of others, and the loss first pulls the
    output to zero, where hardly any gradient is left. Here every inner layer hands its input on, plus `spread` times random
    weights (He et al., 2015), its batch norm lifts most values above the ReLU's bend, and the last layer starts at zero.
    """
    for layer in network.model:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.bias)
        elif isinstance(layer, nn.Conv2d) and layer.in_channels == layer.out_channels:
            handed_on = nn.init.dirac_(torch.empty_like(layer.weight))
            nn.init.kaiming_normal_(layer.weight)
            with torch.no_grad():
                layer.weight.mul_(spread).add_(handed_on)
    last = network.model[-1]
    assert isinstance(last, nn.Conv2d) and last.bias is not None
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return network


def fold(network: DnCNN) -> DnCNN:
    """Return the same function in evaluation mode with every batch norm folded into the convolution before it."""
    network, folded = network.eval(), DnCNN(folded=True).eval()
    source = list(network.model)
    made: list[nn.Module] = []
    for layer, following in zip(source, [*source[1:], None], strict=True):
        if isinstance(layer, nn.Conv2d):
            made.append(fuse_conv_bn_eval(layer, following) if isinstance(following, nn.BatchNorm2d) else layer)
        elif isinstance(layer, nn.ReLU):
            made.append(layer)
    folded.load_state_dict(nn.Sequential(*made).state_dict(prefix="model."))
    return folded


def load_dncnn(source: str | Path | WeightsFile) -> DnCNN:
    """Return a DnCNN with or without batch norms; ValueError, naming the file, for weights of another network."""
    file = open_weights(source)
    state = file.state
    folded = not any(name.endswith("running_mean") for name in state)
    network = DnCNN(folded, kair=not folded and "model.2.bias" in state)
    check_state(file.path, "DnCNN (20 layers, colour)", network.state_dict(), state)
    network.load_state_dict(state)
    return network.eval()


class ClippedDnCNN(nn.Module):
    """The folded network as a restorer: whole photos, clipped to [0, 1]; with gradients where they are asked for."""

    def __init__(self, network: DnCNN, device: str):
        super().__init__()
        has_norms = any(isinstance(layer, nn.BatchNorm2d) for layer in network.model)
        self.network = (fold(network) if has_norms else network).to(device).to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        own = next(self.network.parameters())  # the network may have been moved since it was built
        return self.network(images.to(own.device)).clamp(0, 1).to(images.device)
