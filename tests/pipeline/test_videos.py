import queue
from typing import Any

import numpy as np
import pytest
from vocbench.pipeline import videos
from vocbench.pipeline.videos import RATE, Video, VideoWriter

from tests.support.calls import noting
from tests.support.clips import make_clip, read_clip
from tests.support.web import Answer, server


class FakeCamera:
    """Gives pictures as they are put into `coming`, None ends it; `coming.join()` waits until all are taken."""

    def __init__(self, *source):
        self.coming: queue.Queue[np.ndarray | None] = queue.Queue()
        self.began = False

    def isOpened(self):
        return True

    def get(self, what):
        return 0.0  # a camera that tells nothing

    def read(self):
        if self.began:
            self.coming.task_done()
        self.began = True
        picture = self.coming.get()
        return picture is not None, picture

    def release(self):
        pass


def test_a_camera_gives_its_newest_frame_and_counts_those_missed(monkeypatch):
    import cv2

    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    video = Video(0)
    assert (video.total, video.rate) == (None, RATE)
    coming = video._capture.coming
    pictures = [np.full((4, 4, 3), i, np.uint8) for i in range(4)]
    coming.put(pictures[0])
    first = next(video)
    assert (first.number, first.seconds, first.picture.max()) == (0, 0.0, 0)
    for picture in pictures[1:]:
        coming.put(picture)
    coming.join()
    assert next(video).picture.max() == 3
    assert video.lost == 2
    coming.put(None)
    assert list(video) == []


def test_frames_left_out_are_filled_by_the_one_before(tmp_path):
    with VideoWriter(tmp_path / "out.avi", 10) as writer:
        for number, level in ((0, 40), (3, 200)):
            writer.write(number, np.full((49, 65, 3), level, np.uint8))
    rate, frames = read_clip(tmp_path / "out.avi")
    assert (rate, writer.written) == (10, 4)
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 4  # codecs want even sides
    np.testing.assert_allclose([frame.mean() for frame in frames], [40, 40, 40, 200], atol=3)


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    with pytest.raises(OSError, match=r"out\.mp4: OpenCV cannot write this video"), \
            VideoWriter(tmp_path / "none" / "out.mp4", 10) as writer:  # fmt: skip
        writer.write(0, np.zeros((8, 8, 3), np.uint8))


def test_a_video_can_be_left_before_its_end(tmp_path):
    video = Video(make_clip(tmp_path / "clip.avi"))
    assert next(video).number == 0
    video.close()
    assert list(video) == []
    assert video.lost == 0


def test_a_camera_that_falls_silent_is_left_with_a_notice(monkeypatch, caplog):
    import cv2

    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    monkeypatch.setattr(videos, "PATIENCE", 0.05)
    video = Video("rtsp://a.org/stream")
    video._capture.coming.put(np.zeros((4, 4, 3), np.uint8))
    assert next(video).number == 0
    assert list(video) == []
    assert caplog.messages == ["rtsp://a.org/stream: no frame came for 0.05 s; the stream is taken to have ended"]


def test_a_stream_is_asked_for_with_limits_of_time(monkeypatch):
    import cv2

    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(cv2, "VideoCapture", noting(asked, FakeCamera))
    Video("rtsp://a.org/stream").close()
    ((source, interface, limits),) = asked
    assert (source, interface) == ("rtsp://a.org/stream", cv2.CAP_FFMPEG)
    assert dict(zip(limits[::2], limits[1::2], strict=True)) == {
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: 10000, cv2.CAP_PROP_READ_TIMEOUT_MSEC: 10000
    }  # fmt: skip


def test_a_stream_of_a_camera_on_the_net_is_read(tmp_path):
    """Pictures one after the other, as such cameras serve them: motion JPEG, without a number of frames."""
    import cv2

    pieces = []
    for level in (40, 120, 200):
        jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), level, np.uint8))[1].tobytes()
        pieces.append(b"--next\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(jpeg), jpeg))
    kind = "multipart/x-mixed-replace; boundary=next"
    with server({"/live": Answer(b"".join(pieces), kind=kind)}) as address:
        video = Video(f"{address}/live")
        assert video.total is None
        frames = list(video)
    assert frames[-1].picture.mean() == pytest.approx(200, abs=3)
    assert len(frames) + video.lost == 3


def test_what_cannot_be_opened_is_named_with_what_to_do_and_nothing_else_is_said(capfd, monkeypatch):
    with pytest.raises(
        OSError, match=r"^camera 98: cannot be opened; is it connected, counted from 0, and free of other programs\?"
    ):
        Video(98)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(OSError, match=r"^rtsp://127\.0\.0\.1:1/x: no video within 10 s; check address, user and pass"):
        Video("rtsp://127.0.0.1:1/x")
