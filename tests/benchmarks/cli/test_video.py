"""`vocbench video`: as many frames as the source has, whatever happens to them."""

import json
import signal
from typing import ClassVar

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn
from vocbench.benchmarks.cli.main import cli
from vocbench.detection.detections import Detections
from vocbench.pipeline import gate

from tests.support.clips import damage, make_clip, make_turned_clip, read_clip
from tests.support.commands import vocbench

FAKES = ["--restorer", "tests.support.fakes:Brighten", "--detector", "tests.support.fakes:BlobDetector"]


def invoke(*arguments):
    return CliRunner().invoke(cli, ["video", *map(str, arguments)], catch_exceptions=False)


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_a_clip_gives_a_playable_file_with_as_many_frames(tmp_path, suffix):
    clip, out = make_clip(tmp_path / "clip.avi", 12), tmp_path / f"out{suffix}"
    done = invoke(clip, *FAKES, "--no-gate", "--score", 1, "--out", out)  # no box is drawn
    assert done.exit_code == 0
    assert done.stdout.startswith(f"{clip}: 12 frames, 12 restored (100 %), ")
    assert done.stdout.endswith(f" frames/s -> {out} (10 frames/s)\n")
    rate, frames = read_clip(out)
    assert (rate, len(frames)) == (10, 12)
    means = [frame.mean() for frame in frames]
    np.testing.assert_allclose(means, [i * 8 * 0.5 + 0.3 * 255 for i in range(12)], atol=6)


def test_the_gate_leaves_frames_alone_and_says_of_which(tmp_path):
    clip = make_clip(tmp_path / "clip.avi", 4)  # frames of one grey need no restoring
    done = invoke(clip, *FAKES, "--out", tmp_path / "out.mp4", "--json")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["frame"], one["seconds"], one["restored"]) for one in told] == [(i, i / 10, False) for i in range(4)]
    assert all(set(row) == {"class", "score", "box"} for one in told for row in one["objects"])
    assert "4 frames, 0 restored (0 %)" in done.stderr


def test_damaged_frames_are_counted_and_the_file_is_as_long(tmp_path):
    clip = make_clip(tmp_path / "clip.avi")
    damage(clip, 12, 13)
    done = invoke(clip, *FAKES, "--no-gate", "--score", 1, "--out", tmp_path / "out.mp4")
    assert "28 frames, 28 restored (100 %), 2 damaged" in done.stdout
    _, frames = read_clip(tmp_path / "out.mp4")
    assert len(frames) == 30
    assert frames[-1].mean() == pytest.approx(29 * 8 * 0.5 + 0.3 * 255, abs=6)


def test_a_phones_turned_video_comes_upright(tmp_path):
    clip = make_turned_clip(tmp_path / "clip.mp4")
    invoke(clip, *FAKES, "--score", 1, "--out", tmp_path / "out.mp4")
    _, frames = read_clip(tmp_path / "out.mp4")
    assert len(frames) == 3
    assert frames[0].shape == (64, 48, 3)
    assert frames[0][:24].mean() - frames[0][40:].mean() > 100  # what was left is above


def test_the_first_seconds_alone_side_by_side(tmp_path):
    clip = make_clip(tmp_path / "clip.avi")
    invoke(clip, *FAKES, "--no-gate", "--compare", "--seconds", 0.5, "--out", tmp_path / "out.avi")
    _, frames = read_clip(tmp_path / "out.avi")
    assert len(frames) == 5
    assert frames[0].shape == (48, 64 + 8 + 64, 3)


class Seen(nn.Module):
    """Notes the sizes of the images that it restores, and brightens them."""

    sizes: ClassVar[list] = []

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append(tuple(images.shape[2:]))
        return images * 0.5 + 0.3


class Small(nn.Module):
    """A detector that sees 30 rows and 40 columns, and finds one object in all of it."""

    sizes: ClassVar[list] = []

    def input_size(self, height, width):
        return 30, 40

    def forward(self, images):
        self.sizes.extend(tuple(image.shape[1:]) for image in images)
        return [
            Detections(torch.tensor([[0.0, 0, image.shape[2], image.shape[1]]]), torch.tensor([0.9]), torch.tensor([11]))
            for image in images
        ]


SMALL = ["--restorer", f"{__name__}:Seen", "--detector", f"{__name__}:Small", "--restore-at", "detector"]


def test_frames_are_restored_at_the_detectors_size_and_boxes_are_in_the_frames_pixels(tmp_path, monkeypatch):
    monkeypatch.setattr(Seen, "sizes", [])
    clip = make_clip(tmp_path / "clip.avi", 3, (64, 48))
    done = invoke(clip, *SMALL, "--no-gate", "--out", tmp_path / "out.mp4", "--json")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["objects"][0]["box"] for one in told] == [[0.0, 0.0, 64.0, 48.0]] * 3
    assert Seen.sizes == [(30, 40)] * 3
    assert read_clip(tmp_path / "out.mp4")[1][0].shape == (48, 64, 3)


def test_the_gate_looks_at_frames_of_their_own_size_whatever_size_is_restored(tmp_path, monkeypatch):
    """A frame that passes reaches the detector as it is; shrunk, it would be judged by limits for another size."""
    monkeypatch.setattr(Seen, "sizes", [])
    monkeypatch.setattr(Small, "sizes", [])
    looked_at = []

    def passes(image, limits):
        looked_at.append(tuple(image.shape[1:]))
        return False

    monkeypatch.setattr(gate, "needs_restoring", passes)
    clip = make_clip(tmp_path / "clip.avi", 2, (64, 48))
    done = invoke(clip, *SMALL, "--out", tmp_path / "out.mp4")
    assert "2 frames, 0 restored (0 %)" in done.stdout
    assert (looked_at, Seen.sizes, Small.sizes) == ([(48, 64)] * 2, [], [(48, 64)] * 2)


class Interrupting(nn.Module):
    """Presses Ctrl-C while it restores the third frame."""

    seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += 1
        if self.seen == 3:
            signal.raise_signal(signal.SIGINT)
        return images


def test_an_interrupted_video_is_a_sound_file(tmp_path):
    clip, out = make_clip(tmp_path / "clip.avi"), tmp_path / "out.mp4"
    fakes = ["--restorer", "tests.benchmarks.cli.test_video:Interrupting", *FAKES[2:]]
    done = vocbench("video", clip, *fakes, "--no-gate", "--out", out)
    assert done.returncode == 130
    assert "3 frames, 3 restored (100 %)" in done.stdout
    assert done.stderr.endswith("Interrupted.\n")
    assert len(read_clip(out)[1]) == 3


@pytest.mark.parametrize(
    ("source", "out", "message"),
    [
        ("none.mp4", "out.mp4", r"none\.mp4: no such video; expected a file, a camera's number or a URL"),
        ("clip.av", "out.mp4", r"clip\.av: no such video; .*; did you mean 'clip\.avi'\?"),
        ("rstp://a/b", "out.mp4", r"rstp://a/b: addresses of videos begin with rtsp://, .*; did you mean 'rtsp'\?"),
        (".", "out.mp4", r"\.: is a folder; give one video"),
        ("photo.JPG", "out.mp4", r"photo\.JPG: is a photo by its name; `vocbench detect` and `vocbench restore` take photos"),
        ("clip.avi", "clip.avi", r"clip\.avi: already there; choose another --out"),
        ("clip.avi", "out.gif", r"out\.gif: videos are written as \.mp4, \.avi, \.mkv"),
        ("note.mp4", "out.mp4", r"note\.mp4: OpenCV cannot open this file; is it a complete video\?"),
    ],
)
def test_what_is_no_video_is_named_and_nothing_is_written(tmp_path, monkeypatch, source, out, message):
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "clip.avi", 2)
    (tmp_path / "note.mp4").write_text("no video")
    with pytest.raises((OSError, ValueError), match=message):
        invoke(source, *FAKES, "--out", out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.avi", "note.mp4"]
