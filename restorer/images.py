"""Files to images and back: the one place where a photo is decoded or written.

An image is a float32 RGB tensor (3, H, W) in [0, 1]. Only the JPEG and PNG decoders are used, and a picture above
`MAX_MEGAPIXELS` is refused before it is decoded.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, JpegImagePlugin, PngImagePlugin
from torch import Tensor
from vocbench.restorer.files import write_whole

MAX_MEGAPIXELS = 50  # a 12-megapixel phone photo four times over; larger ones are refused by name
# Pillow's readers, chosen by the first bytes. `Image.open` is not used: other packages replace it with their own.
READERS = {b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile, b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile}


def to_uint8(image: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] to (H, W, 3) uint8, rounded to the nearest level; values outside are clipped."""
    levels = image.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return levels.permute(1, 2, 0).cpu().contiguous().numpy()


def from_uint8(array: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 RGB to (3, H, W) float32 in [0, 1]."""
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"an image array must be (H, W, 3) uint8, got {array.shape} {array.dtype}")
    return torch.from_numpy(array.copy()).permute(2, 0, 1).float().div(255).contiguous()


def _rgb_array(file: Image.Image) -> np.ndarray:
    if file.mode.startswith("I;16") or file.mode == "I":  # 16-bit grey: Pillow's convert would clip it at 255
        grey = np.asarray(file).astype(np.float64) / 65535
        return np.repeat(np.rint(grey * 255).clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    if file.mode in ("RGBA", "LA", "PA") or "transparency" in file.info:
        file = file.convert("RGBA")  # the colours stay, the alpha channel is dropped
    return np.asarray(file.convert("RGB"))


def read_image(path: str | Path, upright: bool = False) -> Tensor:
    """A JPEG or PNG file as (3, H, W) float32 RGB in [0, 1]; grey is repeated, alpha dropped.

    EXIF rotation is applied where `upright`: a photo is then as people see it; annotations count pixels as stored. Raises
    FileNotFoundError for a missing file and ValueError, naming the file, for one that is truncated, not a JPEG or PNG, or above
    `MAX_MEGAPIXELS`.
    """
    with _opened(Path(path)) as file:
        file.load()
        return from_uint8(_rgb_array(ImageOps.exif_transpose(file) if upright else file))


def check_image(path: str | Path) -> tuple[int, int]:
    """Width and height of a picture as stored; raises what `read_image` would, as the picture is decoded."""
    with _opened(Path(path)) as file:
        file.load()
        return file.size


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The picture with its header read; what goes wrong in the block names the file too."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such photo")
    with open(path, "rb") as stream:
        start = stream.read(16)
        reader = next((READERS[magic] for magic in READERS if start.startswith(magic)), None)
        if reader is None:
            raise ValueError(f"{path}: not a JPEG or PNG picture; convert it or remove it from the list")
        stream.seek(0)
        try:
            file = reader(stream)
            _check_size(path, *file.size)
            yield file
        except _TooLarge as error:
            raise ValueError(str(error)) from None
        except (OSError, SyntaxError, ValueError, struct.error) as error:
            raise ValueError(f"{path}: damaged or truncated picture ({error}); replace the file") from None


class _TooLarge(Exception):
    """A picture above `MAX_MEGAPIXELS`."""


def _check_size(path: Path, width: int, height: int) -> None:
    megapixels = width * height / 1e6
    if megapixels > MAX_MEGAPIXELS:
        raise _TooLarge(
            f"{path}: {width}x{height} is {megapixels:.0f} megapixels, above the limit of {MAX_MEGAPIXELS}; scale it down first"
        )


def encode_image(image: Tensor, suffix: str) -> bytes:
    """(3, H, W) in [0, 1] as the bytes of a PNG, or of a JPEG of quality 95 where `suffix` is .jpg or .jpeg."""
    formats = {".png": ("PNG", {}), ".jpg": ("JPEG", {"quality": 95}), ".jpeg": ("JPEG", {"quality": 95})}
    if suffix.lower() not in formats:
        raise ValueError(f"pictures are written as .png, .jpg or .jpeg, not {suffix!r}")
    name, options = formats[suffix.lower()]
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(image)).save(buffer, name, **options)
    return buffer.getvalue()


def write_image(path: str | Path, image: Tensor) -> None:
    """Write (3, H, W) in [0, 1] to a .png, .jpg or .jpeg file, whole or not at all; OSError names it."""
    path = Path(path)
    try:
        data = encode_image(image, path.suffix)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    write_whole(path, data)
