"""Pictures on which a faster form of a network is compared with the network itself before it is used.

Noise alone does not suffice: half precision that is off by 0.004 there was off by 0.55 on a sky's gradient and by 0.31 on a
ramp of colours. So there are flat, smooth and drawn ones too, a photo, and the photo degraded.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate
from vocbench.restorer.engines.placement import full_precision

WHOLE = 256  # pixels a side, where photos are restored whole


def _photo(size: int) -> Tensor:
    """Return scikit-image's portrait of an astronaut, (3, size, size)."""
    from skimage.data import astronaut

    whole = torch.from_numpy(astronaut()).permute(2, 0, 1)[None].float() / 255
    return interpolate(whole, (size, size), mode="bicubic", align_corners=False, antialias=True)[0].clamp(0, 1)


def _colour(red: float, green: float, blue: float) -> Tensor:
    return torch.tensor([red, green, blue])[:, None, None]


def probes(size: int | None) -> Tensor:
    """Return probes (8, 3, size, size) in [0, 1], the same every time; for whole photos of 256 pixels a side."""
    size = size or WHOLE
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    photo = _photo(size)
    blurred = avg_pool2d(photo[None], 5, stride=1, padding=2, count_include_pad=False)[0]
    drawn = _colour(0.95, 0.95, 0.9).repeat(1, size, size)
    drawn[:, size // 4 : size // 2, size // 5 : 3 * size // 4] = _colour(0.8, 0.1, 0.2)
    drawn[:, :: max(size // 8, 1)] = 0
    return torch.stack(
        [
            torch.rand(3, size, size, generator=generator),
            torch.full((3, size, size), 0.5),
            torch.ones(3, size, size),
            _colour(0.25, 0.5, 0.9) + (1 - y) * _colour(0.3, 0.25, 0.1),  # a sky
            torch.stack([x, y, 1 - x]),  # a ramp of colours
            drawn,
            photo,
            (blurred + 45 / 255 * torch.randn(3, size, size, generator=generator)).clamp(0, 1),
        ]
    ).clamp(0, 1)


@torch.inference_mode()
def error_on(pictures: Tensor, made: Callable[[Tensor], Tensor], network: torch.nn.Module) -> float:
    """Return the largest difference between `made` and `network` on pictures (B, 3, H, W), both clipped to [0, 1].

    NaN if one returns NaN. Raises ValueError where `made` gives a picture of another shape.
    """
    own = next(network.parameters())
    errors = []
    for picture in pictures.split(1):
        with full_precision():
            wanted = network(picture.to(own)).cpu().clamp(0, 1)
        found = made(picture).float().cpu().clamp(0, 1)
        if found.shape != wanted.shape:
            raise ValueError(f"pictures of {tuple(found.shape[2:])} in place of {tuple(wanted.shape[2:])}")
        errors.append((found - wanted).abs().max())
    return float(torch.stack(errors).max())  # NaN is the largest


def largest_error(made: torch.nn.Module, network: torch.nn.Module, size: int | None) -> float:
    """Return the largest difference between `made` and `network` on all probes of a size, as `error_on`."""
    return error_on(probes(size), made, network)
