"""Other people's restoration networks through the library spandrel (extra `vocbench[spandrel]`)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


class Foreign(nn.Module):
    """A network that spandrel knows: (B, 3, H, W) in [0, 1] to the same shape, padded and cropped as the network asks."""

    def __init__(self, descriptor, device: str):
        super().__init__()
        self.network = descriptor.model.to(device).eval()
        self.multiple = max(1, descriptor.size_requirements.multiple_of or 1)
        self.least = max(1, descriptor.size_requirements.minimum or 1)
        self.square = bool(descriptor.size_requirements.square)
        self.call, self.device = descriptor, device

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        tall, wide = (-(-max(side, self.least) // self.multiple) * self.multiple for side in (height, width))
        if self.square:
            tall = wide = max(tall, wide)
        grown = pad(images.to(self.device), (0, wide - width, 0, tall - height), mode="replicate")
        return self.call(grown)[..., :height, :width].clamp(0, 1).to(images.device)


def load_spandrel(path: str | Path, device: str = "cpu") -> Foreign:
    """The restorer of a file that spandrel recognises; ValueError for unknown files and for networks that change the size."""
    try:
        from spandrel import ImageModelDescriptor, ModelLoader
    except ImportError:
        raise ValueError('spandrel is not installed; `pip install "vocbench[spandrel]"` brings it') from None
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file")
    try:
        descriptor = ModelLoader(device="cpu").load_from_file(path)  # spandrel unpickles tensors only
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ValueError(f"{path}: spandrel does not know this network ({reason})") from None
    if not isinstance(descriptor, ImageModelDescriptor) or descriptor.scale != 1:
        raise ValueError(f"{path}: {descriptor.architecture.name} changes the image's size (x{descriptor.scale}); it must stay")
    if descriptor.input_channels != 3 or descriptor.output_channels != 3:
        raise ValueError(f"{path}: {descriptor.architecture.name} takes {descriptor.input_channels} channels; RGB is needed")
    return Foreign(descriptor, device)
