"""OWAN at a half or a quarter of the resolution: the operation-wise attention network on `pixel_unshuffle(image, n)`.

Everything between head and tail is `owan.Owan`'s, at 1/n of the sides and so 1/n² of the work; its receptive field is n times
as wide. The subpixels of a block are the head's input channels (Shi et al., CVPR 2016, arXiv:1609.05158, section 3, inverted).

Block artefacts of `pixel_shuffle`, and detail that the photo already has, are handled separately:

    output = (1 - g) * enlarge(tail) + g * enlarge(block means)  +  (1 - d) * subpixels + d * (image - enlarge(block means))

`enlarge` is bicubic, `subpixels` are learnt on top of it, and the gates g (for the block means) and d (for what is finer) are
in [0, 1] for each block, from the network's features and from how much the image varies within and among blocks. Noise differs
between the colours and detail hardly does, so they include the variances of R - G and G - B. A clean photo opens both gates and
comes back unchanged; noise shuts them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pad, pixel_shuffle
from vocbench.restorer.networks.owan import CHANNELS, Owan

STATISTICS = 10  # channels of `statistics`
HIDDEN = 16  # of the gates
SHUT = -2.0  # the gates' logit at the beginning: 12 % open
LAST = 4.0  # ceiling of the last group's features where none were measured, as the gates read them


def enlarge(image: Tensor, factor: int) -> Tensor:
    """Return (B, C, h, w) enlarged bicubically to (B, C, h * factor, w * factor)."""
    size = [factor * side for side in image.shape[2:]]
    return interpolate(image, size, mode="bicubic", align_corners=False)


def _held(x: Tensor, low: float, high: float) -> Tensor:
    """Return x clamped, with gradients as if it were not, so that values outside the range can still be trained."""
    held = x.clamp(low, high)
    return x + (held - x).detach() if torch.is_grad_enabled() and x.requires_grad else held


def _differences(image: Tensor) -> Tensor:
    """Return red, green, blue, R - G and G - B of (B, 3, H, W): (B, 5, H, W)."""
    return torch.cat([image, image[:, :2] - image[:, 1:]], 1)


def _level(variance: Tensor) -> Tensor:
    """Return the logarithm of a variance of [0, 1], about -1 without variation and 1 for heavy noise."""
    return torch.log10(variance.clamp(min=0) + 1e-6) / 3 + 1


def _local(x: Tensor) -> Tensor:
    return avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def statistics(image: Tensor, factor: int) -> Tensor:
    """Return how much an image (B, 3, H, W) varies within each block and around it: (B, 10, H / factor, W / factor)."""
    colours = _differences(image)
    means = avg_pool2d(colours, factor)  # (B, 5, h, w)
    within = avg_pool2d(colours.square(), factor) - means.square()
    around = _local(means.square()) - _local(means).square()
    return torch.cat([_level(_local(within)), _level(around)], 1)


class Gates(nn.Module):
    """How far the block means and the finer detail of the image itself pass: (B, 2, h, w) in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(CHANNELS + STATISTICS, HIDDEN, 3, padding=1)
        self.open = nn.Conv2d(HIDDEN, 2, 3, padding=1)
        nn.init.zeros_(self.open.weight)
        nn.init.constant_(self.open.bias, SHUT)  # type: ignore[arg-type]

    def forward(self, features: Tensor, levels: Tensor) -> Tensor:
        return torch.sigmoid(self.open(torch.relu(self.mix(torch.cat([features, levels], 1)))))


class SubpixelOwan(Owan):
    """The network at 1/`factor` of the resolution: RGB (B, 3, H, W) in [0, 1] to the same shape, not clipped.

    Besides the features, which have ceilings, block means are limited to [0, 1] and finer detail to [-0.5, 0.5].
    H and W are any sizes of at least 1 pixel: the last rows and columns are repeated up to a multiple of the factor.
    """

    def __init__(self, factor: int = 2, attention: str = "input"):
        if factor < 2:
            raise ValueError(f"the resolution is divided by 2 or more, got {factor}; use Owan for the full one")
        super().__init__(attention, inputs=3 * factor**2, outputs=3 + 3 * factor**2)
        self.factor = factor
        self.gates = Gates()
        self.ceilings[-1] = LAST

    def _grown(self, image: Tensor) -> Tensor:
        """Return the image with its last rows and columns repeated up to whole blocks."""
        height, width = image.shape[2:]
        return pad(image, (0, -width % self.factor, 0, -height % self.factor), mode="replicate")

    def enter(self, image: Tensor) -> Tensor:
        """Return the blocks' subpixels as channels: (B, 3, H, W) to (B, 3 n², ceil(H / n), ceil(W / n))."""
        grown, n = self._grown(image), self.factor
        parts = [grown[..., i::n, j::n] for i in range(n) for j in range(n)]
        return torch.stack(parts, 2).flatten(1, 2)  # `pixel_unshuffle`, of which torch.export takes no side of one block

    def leave(self, image: Tensor, features: Tensor) -> Tensor:
        """Return the restored image (B, 3, H, W) from the features (B, 16, h, w) of the last group and the image itself."""
        height, width = image.shape[2:]
        grown = self._grown(image)
        means, subpixels = self.tail(features).split([3, 3 * self.factor**2], 1)
        means, subpixels = _held(means, 0, 1), _held(subpixels, -0.5, 0.5)  # the image stays valid for any features
        given = avg_pool2d(grown, self.factor)  # (B, 3, h, w)
        opened = self.gates(features, statistics(grown, self.factor))  # (B, 2, h, w)
        gates = interpolate(opened, grown.shape[2:], mode="bilinear", align_corners=False)
        base, kept = enlarge(torch.cat([means, given], 1), self.factor).split(3, 1)
        gate, detail_gate = gates[:, :1], gates[:, 1:]
        coarse = base + gate * (kept - base)
        learnt = pixel_shuffle(subpixels, self.factor)
        fine = learnt + detail_gate * (grown - kept - learnt)
        return (coarse + fine)[..., :height, :width]


def begin(network: SubpixelOwan, state: Mapping[str, Tensor]) -> SubpixelOwan:
    """Initialise a network with the weights of a trained one, and return it.

    `state` is of the full resolution (head 3 → 16: repeated over the subpixels and divided by n², which equals shrinking by
    averages), of `pixel_shuffle`'s form without gates (head 3 n² → 16, tail 16 → 3 n²: the tail's block means), or of this
    network itself. The learnt subpixels start at zero; ceilings are not taken over, as they belong to the features of one
    resolution. Raises ValueError for other shapes.
    """
    count = network.factor**2
    made = dict(network.state_dict())
    given = {name.removeprefix("net.") for name in state}
    missing = next((name for name in made if name not in given and not name.startswith(("gates.", "ceilings"))), None)
    if missing:
        raise ValueError(f"it lacks {missing!r}; start from OWAN with the same kind of attention")
    for name, tensor in state.items():
        name = name.removeprefix("net.")
        if name == "ceilings":
            continue
        if name not in made:
            raise ValueError(f"{name!r} is not a weight of this network; start from OWAN's")
        if name == "head.0.weight" and tensor.shape[1] == 3:
            tensor = tensor.repeat_interleave(count, 1) / count  # pixel_unshuffle's order: colour by colour
        if name == "tail.weight" and tensor.shape[0] in (3, 3 * count):
            if tensor.shape[0] == 3 * count:
                tensor = tensor.unflatten(0, (3, count)).mean(1)
            tensor = torch.cat([tensor, tensor.new_zeros(3 * count, *tensor.shape[1:])])
        if tensor.shape != made[name].shape:
            raise ValueError(f"{name!r} has the shape {tuple(tensor.shape)}, expected {tuple(made[name].shape)}")
        made[name] = tensor
    network.load_state_dict(made)
    return network
