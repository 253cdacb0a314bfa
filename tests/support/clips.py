"""Small videos, made on the spot and read back."""

from __future__ import annotations

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
