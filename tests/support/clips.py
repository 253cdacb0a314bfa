"""Small videos, made on the spot and read back."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np


def make_clip(path: Path, frames: int = 30, size: tuple[int, int] = (64, 48)) -> Path:
    """A video of 10 frames a second whose frames brighten by 8 levels each."""
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, size)  # type: ignore[attr-defined]
    for i in range(frames):
        writer.write(np.full((size[1], size[0], 3), i * 8 % 256, np.uint8))
    writer.release()
    return path


def damage(path: Path, first: int, last: int) -> None:
    """Overwrite the data of the frames from `first` to `last`."""
    data = bytearray(path.read_bytes())
    start = data.index(b"movi")
    starts = [i for i in range(start, len(data)) if data[i : i + 4] == b"00dc"]  # chunks of the frames
    begin, end = starts[first] + 8, starts[last + 1]
    data[begin:end] = bytes(end - begin)
    path.write_bytes(data)


def make_turned_clip(path: Path, frames: int = 3) -> Path:
    """An MP4 of 64x48 pixels, its left half white, whose header says to turn it clockwise by 90 degrees, as phones do."""
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 48))  # type: ignore[attr-defined]
    for _ in range(frames):
        writer.write(np.repeat(np.arange(64)[None, :, None] < 32, 48, 0).repeat(3, 2).astype(np.uint8) * 255)
    writer.release()
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 44  # of the matrix in a track header of version 0 (ISO 14496-12, 8.3.2)
    data[start : start + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 48 << 16, 0, 1 << 30)
    path.write_bytes(data)
    return path


def read_clip(path: Path) -> tuple[float, list[np.ndarray]]:
    """Frames a second and every frame (H, W, 3) uint8 BGR of a video, decoded to its end."""
    import cv2

    capture = cv2.VideoCapture(str(path))
    assert capture.isOpened(), path
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    assert len(frames) == int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    return capture.get(cv2.CAP_PROP_FPS), frames
