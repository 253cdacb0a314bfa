"""`vocbench video`: a video, a camera or a stream, restored and detected frame by frame."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import click
from vocbench.benchmarks.cli.before_after import FoundObject, rows
from vocbench.benchmarks.cli.options import (
    DETECTOR,
    RESTORER,
    Command,
    did_you_mean,
    model_options,
    restore_at_option,
    score_option,
)
from vocbench.benchmarks.cli.progress import Progress
from vocbench.benchmarks.words import counted
from vocbench.pipeline.names import DEFAULT_RESTORER
from vocbench.pipeline.specs import Options, choose_device
from vocbench.restorer.files import PHOTOS, closest_name, make_folder

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn
    from vocbench.detection.detections import Detections
    from vocbench.pipeline.gate import Limits
    from vocbench.pipeline.videos import Video

SCHEMES = ("rtsp", "rtsps", "rtmp", "http", "https", "udp", "tcp", "srt")  # of streams, for FFmpeg


@click.command(
    cls=Command,
    examples=[
        "vocbench video street.mp4",
        "vocbench video street.mp4 --compare --out before-after.mp4",
        "vocbench video 0 --seconds 60 --out camera.mp4",
        "vocbench video rtsp://192.168.1.20/stream --detector yolo11n.pt --trust-weights",
    ],
)
@click.argument("source", metavar="FILE|CAMERA|URL")
@click.option("--restorer", default=DEFAULT_RESTORER, show_default=True, type=RESTORER, help="What restores.")
@click.option("--gate/--no-gate", default=True, show_default=True, help="Pass frames that need no restoring unchanged.")
@click.option("--detector", default="mobilenet-ssd", show_default=True, type=DETECTOR, help="What detects.")
@score_option
@click.option(
    "--compare", is_flag=True, help="Show each frame before restoring, with its boxes, to the left of the restored one."
)
@click.option("--seconds", type=click.FloatRange(0, min_open=True), metavar="N", help="Only the first N of the source.")
@click.option("--out", type=click.Path(path_type=Path), help="The file: .mp4, .avi or .mkv; default below runs/.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per frame.")
@restore_at_option
@model_options
def video(source, restorer, gate, detector, score, compare, seconds, out, as_json, restore_at, device, **given) -> None:
    """Restore a video, detect in it, and save it with the boxes drawn.

    The source is a file, a camera's number from 0, or a URL such as rtsp://… The saved file has the source's frame rate and no
    audio; damaged frames are replaced by the one before. From a camera, the newest frame is read each time. The gate decides on
    frames at their own size, also with --restore-at detector. Ctrl-C stops and leaves a complete file.
    """
    out = out or Path("runs") / time.strftime("%Y%m%d-%H%M%S-video") / f"{_stem(source)}.mp4"
    camera = int(source) if source.isdecimal() else None
    if out.exists():
        raise ValueError(f"{out}: already there; choose another --out")
    if camera is None:
        _check(source)
    from vocbench.pipeline.videos import Video, VideoWriter

    frames = Video(source if camera is None else camera)
    writer, total = VideoWriter(out, frames.rate), frames.total
    options = Options(device=choose_device(device), **given)
    stage, counts = _stage(restorer, detector, gate, restore_at == "detector", options, score), Counts()
    if total and seconds:
        total = min(total, round(seconds * frames.rate))
    wanted = takewhile(lambda frame: seconds is None or frame.seconds < seconds, frames)
    with _stopping() as stopped, writer, Progress(total, unit="frames") as shown:
        for frame in wanted:
            if not counts.done:
                make_folder(out.parent)
            picture, entry = stage.show(frame.picture, f"{source}, frame {frame.number}", compare)
            writer.write(frame.number, picture)
            counts.add(entry["restored"])
            shown.advance(note=f"{counts.share} restored")
            if as_json:
                click.echo(json.dumps({"frame": frame.number, "seconds": round(frame.seconds, 3), **entry}))
            if stopped:
                break
        else:
            writer.fill(total or 0)  # where the last frames are damaged
    frames.close()
    _report(source, frames, counts, out, as_json)
    if stopped:
        raise KeyboardInterrupt


def _check(source: str) -> None:
    """Raise ValueError or FileNotFoundError unless the source may be a video file, a camera or a stream."""
    scheme, address, _ = source.partition("://")
    path = Path(source)
    if address and scheme.lower() not in SCHEMES:
        question = did_you_mean(scheme, SCHEMES)
        raise ValueError(
            f"{source}: addresses of videos begin with {'://, '.join(SCHEMES)}://" + f"; {question}" * bool(question)
        )
    if address:
        return
    if path.is_dir():
        raise ValueError(f"{source}: is a folder; give one video, a camera's number or a URL such as rtsp://…")
    if path.suffix.lower() in PHOTOS:
        raise ValueError(f"{source}: is a photo by its name; `vocbench detect` and `vocbench restore` take photos")
    if not path.is_file():
        question = closest_name(path)
        raise FileNotFoundError(
            f"{source}: no such video; expected a file, a camera's number or a URL such as rtsp://…{question}"
        )


def _stem(source: str) -> str:
    """Return a name for the file of a source."""
    return f"camera{source}" if source.isdecimal() else Path(source.rpartition("://")[2]).stem or "stream"


@dataclass
class Counts:
    """How many frames were processed and restored so far."""

    done: int = 0
    restored: int = 0
    begun: float = field(default_factory=time.perf_counter)

    def add(self, restored: bool) -> None:
        self.done += 1
        self.restored += restored

    @property
    def share(self) -> str:
        """Return the share of frames that were restored, as text."""
        return f"{100 * self.restored / max(self.done, 1):.0f} %"

    @property
    def rate(self) -> float:
        """Return the frames per second."""
        return self.done / max(time.perf_counter() - self.begun, 1e-9)


def _report(source: str, frames: Video, counts: Counts, out: Path, quiet: bool) -> None:
    """Print a summary; ValueError if no frame could be decoded."""
    if not counts.done:
        raise ValueError(f"{source}: no frame could be decoded; is it a video?")
    lost = f", {frames.lost} {'damaged' if frames.total else 'missed'}" if frames.lost else ""
    summary = f"{counted(counts.done, 'frame')}, {counts.restored} restored ({counts.share}){lost}"
    click.echo(f"{source}: {summary}, {counts.rate:.2f} frames/s -> {out} ({frames.rate:g} frames/s)", err=quiet)


@contextmanager
def _stopping() -> Iterator[list[int]]:
    """Yield a list that Ctrl-C or SIGTERM adds to, so that the current frame is finished; a second one ends at once."""
    stopped: list[int] = []

    def stop(number: int, stack: object) -> None:
        if stopped:
            raise KeyboardInterrupt
        stopped.append(number)

    kept = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


class Frame(TypedDict):
    """The JSON entry of a frame."""

    restored: bool
    objects: list[FoundObject]


@dataclass(frozen=True)
class _Stage:
    """A restorer and a detector, the size at which frames are restored, and how results are drawn.

    The limits of a gate are for frames at their own size, so it decides on the original frame, whatever size is restored.
    """

    names: tuple[str, str]
    restorer: nn.Module
    detector: Callable
    score: float
    limits: Limits | None = None  # of the gate, None: every frame is restored
    at_detector: bool = False  # whether frames are restored at the size that the detector sees

    def show(self, picture: np.ndarray, name: str, compare: bool) -> tuple[np.ndarray, Frame]:
        """Restore and detect a frame (H, W, 3) uint8 BGR; return it with boxes drawn, and its JSON entry."""
        import numpy as np
        from vocbench.detection.detections import classes_of
        from vocbench.detection.drawing import side_by_side
        from vocbench.pipeline.gate import needs_restoring
        from vocbench.restorer.images import from_uint8

        image = from_uint8(picture[:, :, ::-1])
        wanted = self.limits is None or needs_restoring(image, self.limits)
        drawn, detections = self._drawn(self._restored(image, name) if wanted else image, image, name)
        entry: Frame = {"restored": wanted, "objects": rows(detections, self.score, classes_of(self.detector))}
        if compare:
            drawn = side_by_side([self._drawn(image, image, name)[0], drawn])
        return np.ascontiguousarray(drawn[:, :, ::-1]), entry

    def _restored(self, image: Tensor, name: str) -> Tensor:
        """Return a frame restored, at its own size or smaller; raises `RestorerError`."""
        from vocbench.pipeline.chain import restore_photo
        from vocbench.pipeline.scale import shrunk
        from vocbench.restorer.images import grey_as

        seen = shrunk(image, self.detector) if self.at_detector else image
        return grey_as(image, restore_photo(self.names[0], self.restorer, name, seen))

    def _drawn(self, seen: Tensor, image: Tensor, name: str) -> tuple[np.ndarray, Detections]:
        """Return `seen` at the frame's size with its boxes drawn, and its detections in the frame's pixels."""
        from vocbench.detection.detections import classes_of
        from vocbench.detection.drawing import draw_boxes
        from vocbench.pipeline.chain import detect_photos
        from vocbench.pipeline.scale import enlarged, grown
        from vocbench.restorer.images import to_uint8

        detections = enlarged(detect_photos(self.names[1], self.detector, [name], [seen])[0], seen, image)
        return draw_boxes(to_uint8(grown(seen, image)), detections, self.score, classes=classes_of(self.detector)), detections


def _stage(restorer: str, detector: str, gate: bool, at_detector: bool, options: Options, score: float) -> _Stage:
    from vocbench.pipeline.gate import LIMITS, Gated
    from vocbench.pipeline.models import build_detector, build_restorer, parse_detector, parse_restorer

    specs = parse_restorer(restorer), parse_detector(detector)
    model = build_restorer(specs[0], options)
    limits = LIMITS if gate else None
    if isinstance(model, Gated):  # which would look at the frame shrunk
        limits, model = model.limits, model.restorer
    return _Stage((specs[0].label, specs[1].label), model, build_detector(specs[1], options), score, limits, at_detector)
