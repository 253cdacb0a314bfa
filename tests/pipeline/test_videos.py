import queue

import numpy as np
import pytest
from vocbench.pipeline.videos import RATE, Video, VideoWriter

from tests.support.clips import make_clip, read_clip


class FakeCamera:
    """Gives pictures as they are put into `coming`, None ends it; `coming.join()` waits until all are taken."""

    def __init__(self, source):
        self.coming, self.began = queue.Queue(), False

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
