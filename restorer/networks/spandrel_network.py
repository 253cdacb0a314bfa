"""Other people's restoration networks through the library spandrel (extra `vocbench[spandrel]`)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn


class Foreign(nn.Module):
    """A network that spandrel knows: (B, 3, H, W) in [0, 1] to the same shape; spandrel pads and crops as the network asks."""

    def __init__(self, descriptor, device: str):
        super().__init__()
        self.network, self.device = descriptor.to(torch.device(device)), device

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([self.network(image[None].to(self.device)) for image in images]).to(images)


def load_spandrel(path: str | Path, device: str = "cpu") -> Foreign:
    """Return the restorer of a file that spandrel recognises; ValueError for others, and where the size would change."""
    try:
        from spandrel import ImageModelDescriptor, ModelLoader
    except ImportError:
        raise ValueError('spandrel is not installed; `pip install ".[spandrel]"` brings it') from None
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file")
    try:
        descriptor = ModelLoader(device="cpu").load_from_file(path)  # spandrel unpickles tensors only
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ValueError(f"{path}: spandrel does not know this network ({reason})") from None
    if not isinstance(descriptor, ImageModelDescriptor):
        raise ValueError(f"{path}: {descriptor.architecture.name} needs more than an image, such as a mask; it cannot restore")
    if descriptor.scale != 1:
        raise ValueError(f"{path}: {descriptor.architecture.name} changes the image's size (x{descriptor.scale}); it must stay")
    if descriptor.input_channels != 3 or descriptor.output_channels != 3:
        raise ValueError(f"{path}: {descriptor.architecture.name} takes {descriptor.input_channels} channels; RGB is needed")
    return Foreign(descriptor, device)
