"""Files to images and back: the one place where a photo is decoded or written.

An image is a float32 RGB tensor (3, H, W) in [0, 1]. Only the decoders of `READERS` are used, and a picture above a limit of
megapixels is refused before it is decoded. Pixels are numbers of the file's own colour space, which nothing here converts: a
`Photo` keeps the colour profile, so that what is written shows the same colours.
"""

from __future__ import annotations

import io
import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import BmpImagePlugin, Image, ImageOps, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin
from torch import Tensor
from vocbench.restorer.files import write_whole
from vocbench.restorer.web import is_url, read_url

logger = logging.getLogger(__name__)
MAX_MEGAPIXELS = 50  # four times a 12-megapixel phone photo; larger ones are refused
# Pillow's readers, chosen by the first bytes. `Image.open` is not used: other packages replace it with their own.
READERS: dict[bytes, Any] = {
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"II*\0": TiffImagePlugin.TiffImageFile,
    b"MM\0*": TiffImagePlugin.TiffImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
}
WRITERS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
ORIENTATION, EXIF_FOLDER, GPS_FOLDER = 0x0112, 0x8769, 0x8825
# The TIFF tags that describe the photo and not its storage.
ABOUT = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298, EXIF_FOLDER, GPS_FOLDER)


@dataclass(frozen=True)
class Photo:
    """A photo, rotated upright, with its alpha channel and metadata."""

    image: Tensor  # (3, H, W) float32 in [0, 1]
    alpha: np.ndarray | None = None  # (H, W) uint8
    single: bool = False  # stored as one channel
    profile: bytes | None = None  # ICC
    exif: bytes | None = None  # without its rotation, which is applied
    resolution: tuple[float, float] | None = None  # dots per inch


def to_uint8(image: Tensor) -> np.ndarray:
    """Turn (3, H, W) in [0, 1] into (H, W, 3) uint8, rounded to the nearest level; values outside are clipped."""
    levels = image.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return levels.permute(1, 2, 0).cpu().contiguous().numpy()


def from_uint8(array: np.ndarray) -> Tensor:
    """Turn (H, W, 3) uint8 RGB into (3, H, W) float32 in [0, 1]."""
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
    """Return a picture file as (3, H, W) float32 RGB in [0, 1]; grey is repeated, alpha dropped.

    EXIF rotation is applied only if `upright`, as annotations mostly count pixels as stored. Raises
    FileNotFoundError for a missing file and ValueError, naming the file, for one that is truncated, not a JPEG, PNG, WebP, TIFF
    or BMP picture, or above `MAX_MEGAPIXELS`.
    """
    with _opened(Path(path)) as file:
        file.load()
        return from_uint8(_rgb_array(ImageOps.exif_transpose(file) if upright else file))


def read_photo(source: str | Path, max_megapixels: float = MAX_MEGAPIXELS, upright: bool = True) -> Photo:
    """Return a picture with its alpha, colour profile, EXIF and resolution; raises as `read_image`.

    The source is a file or an http or https address, whose failures are OSErrors and name it (see `web.read_url`). Without
    `upright` the EXIF rotation is not applied, but still removed from the EXIF. 16 bits a channel are read as 8, which is
    logged.
    """
    if is_url(source):
        return _photo(io.BytesIO(read_url(str(source))), str(source), max_megapixels, upright)
    with _stream(Path(source)) as stream:
        return _photo(stream, str(source), max_megapixels, upright)


def _photo(stream: BinaryIO, name: str, max_megapixels: float, upright: bool) -> Photo:
    """Return the picture of a stream, which messages call `name`, turned as EXIF says where `upright`."""
    with _decoded(stream, name, max_megapixels) as file:
        file.load()
        single = file.mode in ("1", "L", "LA", "I") or file.mode.startswith("I;16")
        if file.mode.startswith("I;16") or file.mode == "I" or _png_depth(stream) == 16:
            logger.warning("%s: its 16 bits a channel are read as 8", name)
        resolution, profile = file.info.get("dpi"), file.info.get("icc_profile")
        exif = file.getexif()
        if isinstance(file, TiffImagePlugin.TiffImageFile):
            exif = _about(exif)
        seen = ImageOps.exif_transpose(file) if upright else file
        exif.pop(ORIENTATION, None)
        alpha = None
        if seen.mode in ("RGBA", "LA", "PA") or "transparency" in seen.info:
            alpha = np.asarray(seen.convert("RGBA"))[:, :, 3].copy()
        if file.mode == "CMYK" and profile:
            logger.warning("%s: CMYK is read as RGB without its colour profile", name)
            profile = None
        return Photo(
            from_uint8(_rgb_array(seen)),
            alpha if alpha is not None and alpha.min() < 255 else None,
            single,
            profile,
            exif.tobytes() if len(exif) else None,
            (float(resolution[0]), float(resolution[1])) if resolution else None,
        )


def _about(exif: Image.Exif) -> Image.Exif:
    kept = Image.Exif()
    for tag in ABOUT:
        if tag in (EXIF_FOLDER, GPS_FOLDER):
            if folder := exif.get_ifd(tag):
                kept[tag] = dict(folder)
        elif tag in exif:
            kept[tag] = exif[tag]
    return kept


def _png_depth(stream: BinaryIO) -> int | None:
    """Return the bits per channel of a PNG, which Pillow does not report for colour PNGs; None for other files."""
    stream.seek(0)
    start = stream.read(25)
    return start[24] if len(start) == 25 and start.startswith(b"\x89PNG") else None


def check_image(path: str | Path) -> tuple[int, int]:
    """Return the width and height of a picture as stored; raises what `read_image` would, as the picture is decoded."""
    with _opened(Path(path)) as file:
        file.load()
        return file.size


def _stream(path: Path) -> BinaryIO:
    """Return the file open for reading; FileNotFoundError where there is none."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such photo")
    return open(path, "rb")


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open the picture of a file and read its header; errors raised in the block name the file."""
    with _stream(path) as stream, _decoded(stream, str(path)) as file:
        yield file


@contextmanager
def _decoded(stream: BinaryIO, name: str, limit: float | None = None) -> Iterator[Image.Image]:
    """Open the picture of a stream and read its header; errors raised in the block get the name."""
    start = stream.read(16)
    reader = next((READERS[magic] for magic in READERS if start.startswith(magic)), None)
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        reader = WebPImagePlugin.WebPImageFile
    if reader is None:
        raise ValueError(f"{name}: not a JPEG or PNG picture, nor WebP, TIFF or BMP; convert it or remove it from the list")
    stream.seek(0)
    try:
        file = reader(stream)
        width, height = file.size
        _check_size(name, width, height, limit)
        yield file
    except _TooLarge as error:
        raise ValueError(str(error)) from None
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise ValueError(f"{name}: damaged or truncated picture ({error}); replace the file") from None


class _TooLarge(Exception):
    """A picture above the limit of megapixels."""


def _check_size(name: str, width: int, height: int, limit: float | None) -> None:
    megapixels, most = width * height / 1e6, MAX_MEGAPIXELS if limit is None else limit
    if megapixels > most:
        size = f"{megapixels:.0f}" if megapixels >= 1000 else f"{megapixels:.4g}"
        advice = "scale it down first" if limit is None else "scale it down, or raise `max_megapixels`"
        raise _TooLarge(f"{name}: {width}x{height} is {size} megapixels, above the limit of {most:g}; {advice}")


def encode_image(image: Tensor, suffix: str) -> bytes:
    """Return (3, H, W) in [0, 1] as the bytes of a PNG, JPEG or WebP by `suffix`; JPEG and WebP of quality 95."""
    return encode_photo(Photo(image), suffix)


def encode_photo(photo: Photo, suffix: str, quality: int = 95) -> bytes:
    """Return the bytes of a PNG, JPEG or WebP with the photo's profile, EXIF, resolution and, but for JPEG, its alpha."""
    form = WRITERS.get(suffix.lower())
    if form is None:
        raise ValueError(f"pictures are written as {', '.join(WRITERS)}, not {suffix!r}")
    made = Image.fromarray(to_uint8(photo.image))
    if photo.single and form != "WEBP":
        made = made.getchannel(0)
    if photo.alpha is not None and form != "JPEG":
        made.putalpha(Image.fromarray(photo.alpha))
    given: dict[str, Any] = {"exif": photo.exif, "dpi": photo.resolution}
    if not (photo.single and form == "WEBP"):  # a grey profile does not fit the colours that WebP has
        given["icc_profile"] = photo.profile
    if form != "PNG":
        given["quality"] = quality
    buffer = io.BytesIO()
    made.save(buffer, form, **{name: value for name, value in given.items() if value is not None})
    return buffer.getvalue()


def grey_as(image: Tensor, restored: Tensor) -> Tensor:
    """Return a restored image (3, h, w), made grey if every pixel of the original (3, H, W) is grey."""
    if not torch.equal(image, image[:1].expand_as(image)):
        return restored
    return restored.mean(0, keepdim=True).expand_as(restored).contiguous()


def write_image(path: str | Path, image: Tensor) -> None:
    """Write (3, H, W) in [0, 1] to a file of a suffix in `WRITERS`, whole or not at all; OSError names it."""
    write_photo(path, Photo(image))


def write_photo(path: str | Path, photo: Photo, quality: int = 95) -> None:
    """Write a photo to a file of a suffix in `WRITERS`, whole or not at all; OSError names it."""
    path = Path(path)
    if photo.alpha is not None and WRITERS.get(path.suffix.lower()) == "JPEG":
        logger.warning("%s: JPEG keeps no transparency; PNG and WebP do", path)
    try:
        data = encode_photo(photo, path.suffix, quality)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    write_whole(path, data)
