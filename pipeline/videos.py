"""Videos and cameras, frame by frame: read through OpenCV despite damaged frames, and written with the source's frame rate.

Pictures are (H, W, 3) uint8 in OpenCV's order, BGR.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from vocbench.restorer.files import closest_name

logger = logging.getLogger(__name__)
RATE = 25.0  # frames a second of a source that does not say
PATIENCE = 10.0  # seconds without a frame after which a camera or stream is given up
CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}  # suffix: what OpenCV's own build can write


class Frame(NamedTuple):
    """A frame: its number from 0, its time in seconds from the beginning, and its picture (H, W, 3) uint8 BGR."""

    number: int
    seconds: float
    picture: np.ndarray


def _open(source: str | Path | int) -> Any:
    with _quiet_opencv():
        capture = _capture(source)
        if not capture.isOpened():
            capture.release()
            raise OSError(_unopened(source))
    return capture


def _capture(source: str | Path | int) -> Any:
    """Return OpenCV's reader; one of a stream waits `PATIENCE` seconds for an answer and for each frame."""
    import cv2

    if isinstance(source, int) or "://" not in str(source):
        return cv2.VideoCapture(source if isinstance(source, int) else str(source))
    patience = round(1000 * PATIENCE)
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, patience, cv2.CAP_PROP_READ_TIMEOUT_MSEC, patience]
    return cv2.VideoCapture(str(source), cv2.CAP_FFMPEG, limits)


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Suppress what OpenCV writes to standard error for each backend that it tries to open a source with."""
    from cv2.utils import logging as opencv

    kept = opencv.getLogLevel()
    opencv.setLogLevel(opencv.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        opencv.setLogLevel(kept)


def _unopened(source: str | Path | int) -> str:
    """Return the message, with the remedy, for a source that cannot be opened."""
    if isinstance(source, int):
        return f"camera {source}: cannot be opened; is it connected, counted from 0, and free of other programs?{_cameras()}"
    if "://" in str(source):
        return f"{source}: no video within {PATIENCE:g} s; check address, user and password, and the network"
    path = Path(source)
    if path.is_dir():
        return f"{source}: is a folder; give one video, or number its pictures and give a pattern such as {path / '%03d.png'}"
    if not path.exists():
        return f"{source}: no such video{closest_name(path)}"
    return f"{source}: OpenCV cannot open this file; is it a complete video? ffmpeg -i FILE out.mp4 converts other formats"


def _cameras() -> str:
    """Return which cameras Linux has, as a sentence; empty elsewhere."""
    if not sys.platform.startswith("linux"):
        return ""
    names = sorted(path.name.removeprefix("video") for path in Path("/dev").glob("video[0-9]*"))
    return f" There {'are' if len(names) > 1 else 'is'} {' '.join(names)}" if names else " There is none here"


class Video:
    """An iterator over the frames of a video file, a camera's number or a stream's URL.

    `total` is the number of frames that a file's header tells, None for a camera or a stream; `rate` frames a second. `lost`
    counts the frames that could not be decoded so far, or for a camera or a stream those that came while its reader was busy.
    Raises OSError where the source cannot be opened.
    """

    def __init__(self, source: str | Path | int):
        import cv2

        self.source, self.lost = source, 0
        self._capture = _open(source)
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.rate = rate if 0 < rate <= 1000 else RATE
        counted = 0 if isinstance(source, int) else int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.total = counted if counted > 0 else None
        self._frames = self._of_file(self.total) if self.total else self._of_camera()

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        return next(self._frames)

    def close(self) -> None:
        """Release the source."""
        self._frames.close()
        self._capture.release()

    def _of_file(self, total: int) -> Generator[Frame, None, None]:
        import cv2

        number, missing, decoded = -1, 0, 0  # of the last frame, how often reading failed since, and how often it did not
        while True:
            read, picture = self._capture.read()
            if not read:
                missing += 1
                if number + missing >= total:  # damaged frames do not end a video before its header's count
                    break
                continue
            seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            now = max(number + 1, round(seconds * self.rate))  # lost frames leave their time out
            self.lost += now - number - 1
            number, missing, decoded = now, 0, decoded + 1
            yield Frame(number, seconds, picture)
        self.lost = max(total - decoded, 0)  # unevenly spaced frames leave gaps in time that were no frames

    def _of_camera(self) -> Generator[Frame, None, None]:
        """Yield the newest frame each time: a slow reader loses frames but does not fall behind."""
        newest = _Newest(self._capture)
        begun: float | None = None
        try:
            while (taken := newest.take()) is not None:
                at, picture, missed = taken
                begun = at if begun is None else begun
                self.lost += missed
                yield Frame(round((at - begun) * self.rate), at - begun, picture)
            if not newest.ended:
                logger.warning("%s: no frame came for %g s; the stream is taken to have ended", self.source, PATIENCE)
        finally:
            newest.stop()


class _Newest:
    """Reads a capture in a thread and keeps its newest picture."""

    def __init__(self, capture: Any):
        self._capture, self._ready = capture, threading.Condition()
        self._kept: tuple[float, np.ndarray] | None = None
        self._missed, self.ended = 0, False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self.ended:
            read, picture = self._capture.read()
            with self._ready:
                if not read:
                    self.ended = True
                else:
                    self._missed += self._kept is not None
                    self._kept = time.monotonic(), picture
                self._ready.notify_all()

    def take(self) -> tuple[float, np.ndarray, int] | None:
        """Return when the newest picture came, the picture, and how many were missed before it; None at the end."""
        with self._ready:
            self._ready.wait_for(lambda: self._kept is not None or self.ended, PATIENCE)
            if self._kept is None:
                return None
            (at, picture), missed = self._kept, self._missed
            self._kept, self._missed = None, 0
            return at, picture, missed

    def stop(self) -> None:
        """End the thread, which may be waiting for a picture."""
        self.ended = True
        self._thread.join(2 * PATIENCE)  # a capture must not be released while it reads


class VideoWriter:
    """Writes frames into a new video file of a suffix in `CODECS`; a context, at whose end the file is whole.

    A frame whose number leaves some out is preceded by as many copies of the one before it, so that the time stays right.
    `written` counts the frames of the file. Sound is not written. Raises ValueError for another suffix and OSError where the
    file cannot be written.
    """

    def __init__(self, path: Path, rate: float):
        if path.suffix.lower() not in CODECS:
            raise ValueError(f"{path}: videos are written as {', '.join(CODECS)}")
        self.path, self.rate, self.written = path, rate, 0
        self._writer: Any = None
        self._last: np.ndarray | None = None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.release()

    def write(self, number: int, picture: np.ndarray) -> None:
        """Write frame `number`, a picture (H, W, 3) uint8 BGR of the first one's size; odd sides lose their last pixels."""
        picture = np.ascontiguousarray(picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2])
        if self._writer is None:
            self._writer = self._begin(picture)
        self.fill(number)
        self._put(picture)
        self._last = picture

    def fill(self, number: int) -> None:
        """Repeat the last frame until the file has that many."""
        while self._last is not None and self.written < number:
            self._put(self._last)

    def _put(self, picture: np.ndarray) -> None:
        self._writer.write(picture)
        self.written += 1

    def _begin(self, picture: np.ndarray) -> Any:
        import cv2

        code = cv2.VideoWriter_fourcc(*CODECS[self.path.suffix.lower()])  # type: ignore[attr-defined]
        writer = cv2.VideoWriter(str(self.path), code, self.rate, (picture.shape[1], picture.shape[0]))
        if not writer.isOpened():
            raise OSError(f"{self.path}: OpenCV cannot write this video; choose another folder or suffix")
        return writer
