"""Every snippet of docs/embedding.md runs, in order, and gives what its comments say."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from vocbench.detection.detections import Detections
from vocbench.pipeline.integrations import restore_array, restore_video, ultralytics_predictor, ultralytics_validator
from vocbench.restorer.images import read_image, write_image

from tests.support.commands import ROOT
from tests.support.fakes import Brighten
from tests.support.voc_folders import make_voc_folder

DOCUMENT = ROOT / "docs" / "embedding.md"


def test_every_snippet_runs(tmp_path, monkeypatch):
    pytest.importorskip("ultralytics")
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(snippets) == 9
    scope: dict = {}
    for snippet in snippets:
        exec(compile(snippet, str(DOCUMENT), "exec"), scope)
    assert [set(result) for result in scope["results"]] == [{"boxes", "scores", "labels"}] * 2
    assert set(scope["same_form"][0]) == {"boxes", "scores", "labels"}
    for part in (scope["joint"], scope["trained"]):
        assert any(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in part.parameters())
    assert scope["restored"].shape == (80, 100, 3)
    assert scope["restored"].dtype == np.uint8
    assert [frame.picture.shape for frame in scope["frames"]] == [(48, 64, 3)] * 3
    assert scope["predictions"][0].orig_shape == (80, 100)
    assert scope["metrics"].nt_per_class.tolist() == [2 if label == 16 else 0 for label in range(80)]
    assert 0 <= scope["metrics"].box.map <= 1
    assert scope["verdicts"] == ["passed", "restored"]
    assert torch.equal(scope["untouched"].image, torch.full((3, 96, 128), 0.5))


def test_an_array_is_restored_in_its_own_form():
    picture = np.full((5, 6, 3), 100, np.uint8)
    assert (restore_array(Brighten(), picture) == round(100 * 0.5 + 0.3 * 255)).all()
    with pytest.raises(ValueError, match=r"must be \(H, W, 3\) uint8, got \(5, 6\)"):
        restore_array(Brighten(), picture[:, :, 0])


def test_a_video_that_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "note.avi").write_text("no video")
    for name, message in (
        ("note.avi", r"note\.avi: OpenCV cannot open this file"),
        ("nota.avi", r"nota\.avi: no such video; did you mean '.*note\.avi'"),
        (".", r"is a folder; give one video, or number its pictures and give a pattern such as .*%03d\.png"),
    ):
        with pytest.raises(OSError, match=message):
            next(restore_video(Brighten(), tmp_path / name))


def test_a_video_without_one_frame_is_told(tmp_path):
    """A program's loop would otherwise end as if it had seen the whole."""
    video(tmp_path / "none.avi", 0)
    with pytest.raises(OSError, match=r"none\.avi: no frame could be decoded; is it a complete video\?"):
        list(restore_video(Brighten(), tmp_path / "none.avi"))


class Colours(nn.Module):
    """Swaps red and blue, which shows whether colours reach the restorer as RGB."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        self.seen.append(images.clone())
        return images.flip(1)


def test_frames_reach_the_restorer_as_rgb_and_come_back_as_bgr(tmp_path):
    import cv2

    writer = cv2.VideoWriter(str(tmp_path / "red.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))  # type: ignore[attr-defined]
    writer.write(np.full((48, 64, 3), (0, 0, 255), np.uint8))  # pure red in BGR
    writer.release()
    restorer = Colours()
    ((number, seconds, frame),) = restore_video(restorer, tmp_path / "red.avi")
    assert (number, seconds) == (0, 0.0)
    torch.testing.assert_close(restorer.seen[0][0, :, 20, 30], torch.tensor([1.0, 0, 0]), atol=0.03, rtol=0)
    np.testing.assert_allclose(frame[20, 30], (255, 0, 0), atol=8)  # the restorer made it blue


def video(path, frames=30):
    """A video of 10 frames a second whose frames brighten by 8 levels each; its bytes."""
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))  # type: ignore[attr-defined]
    for i in range(frames):
        writer.write(np.full((48, 64, 3), i * 8, np.uint8))
    writer.release()
    return path.read_bytes()


def test_a_grey_video_stays_grey(tmp_path):
    """As of a camera at night; in colours, the fall of blue that `Warm` makes would show."""

    class Warm(nn.Module):
        def forward(self, images):
            return images * torch.tensor([1, 1, 0.5])[:, None, None]

    for i in range(3):  # numbered pictures, of which no codec changes a level
        write_image(tmp_path / f"{i}.png", torch.full((3, 4, 6), (60 + i) / 255))
    frames = [frame for _, _, frame in restore_video(Warm(), tmp_path / "%d.png")]
    assert [set(frame.flatten().tolist()) for frame in frames] == [{50}, {51}, {52}]  # 5/6 of the level
    assert (restore_array(Warm(), np.full((4, 5, 3), (90, 90, 92), np.uint8)) == (90, 90, 46)).all()


def test_frames_come_with_their_number_and_time(tmp_path):
    video(tmp_path / "whole.avi")
    frames = restore_video(nn.Identity(), tmp_path / "whole.avi")
    told = [(number, round(seconds, 6), int(picture.mean().round())) for number, seconds, picture in frames]
    assert [(number, seconds) for number, seconds, _ in told] == [(i, i / 10) for i in range(30)]
    assert frames.lost == 0


def test_a_video_goes_on_after_a_damaged_stretch_and_counts_it(tmp_path):
    data = bytearray(video(tmp_path / "hole.avi"))
    starts = [i for i in range(len(data)) if data[i : i + 4] == b"00dc"][:30]  # chunks of the frames
    begin, end = starts[12] + 8, starts[14] + 8
    data[begin : end - 16] = bytes(end - 16 - begin)
    (tmp_path / "hole.avi").write_bytes(data)
    frames = restore_video(nn.Identity(), tmp_path / "hole.avi")
    with pytest.warns(UserWarning, match=r"hole\.avi: \d of 30 frames could not be decoded and were left out") as told:
        numbers = [frame.number for frame in frames]
    assert told[0].filename == __file__  # where the frames are asked for
    assert numbers[:11] == list(range(11))
    assert numbers[-1] >= 28
    assert len(numbers) + frames.lost == 30
    assert 1 <= frames.lost <= 4


def test_a_video_that_was_cut_off_says_how_much_is_missing(tmp_path):
    data = video(tmp_path / "cut.avi")
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])
    frames = restore_video(nn.Identity(), tmp_path / "cut.avi")
    with pytest.warns(UserWarning, match="frames could not be decoded and were left out"):
        numbers = [frame.number for frame in frames]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) + frames.lost == 30


RED, BLUE = torch.tensor([1.0, 0, 0]), torch.tensor([0, 0, 1.0])


@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_ultralytics_predictor_restores_rgb_and_detects_on_it(tmp_path, monkeypatch, kind):
    ultralytics = pytest.importorskip("ultralytics")
    monkeypatch.chdir(tmp_path)
    restorer, picture = Colours(), np.full((64, 64, 3), (0, 0, 255), np.uint8)  # pure red in BGR
    source = picture if kind == "array" else RED[:, None, None].expand(1, 3, 64, 64)
    model = ultralytics.YOLO("yolov8n.yaml")
    predictor: Any = ultralytics_predictor(restorer)
    given, network = [], predictor.inference

    def inference(self, image, *arguments, **options):
        given.append(image)
        return network(self, image, *arguments, **options)

    monkeypatch.setattr(predictor, "inference", inference)
    for _ in range(2):
        model.predict(source, predictor=predictor, verbose=False, imgsz=64)
    assert [seen.shape for seen in restorer.seen] == [(1, 3, 64, 64)] * 2
    assert torch.equal(restorer.seen[0][0, :, 5, 5], RED)
    assert torch.equal(given[0][0, :, 5, 5].cpu(), BLUE)  # the restorer swaps red and blue


def test_ultralytics_predictor_replaces_a_models_own_when_that_is_taken_away(tmp_path, monkeypatch):
    ultralytics = pytest.importorskip("ultralytics")
    monkeypatch.chdir(tmp_path)
    restorer, picture = Colours(), np.zeros((64, 64, 3), np.uint8)
    model = ultralytics.YOLO("yolov8n.yaml")
    model.predict(picture, verbose=False, imgsz=64)
    model.predictor = None
    model.predict(picture, predictor=ultralytics_predictor(restorer), verbose=False, imgsz=64)
    assert len(restorer.seen) == 1


def test_ultralytics_validator_sees_restored_images():
    pytest.importorskip("ultralytics")
    validator = ultralytics_validator(Brighten())()
    validator.device = torch.device("cpu")
    batch = {"img": torch.full((2, 3, 8, 8), 51, dtype=torch.uint8), "batch_idx": torch.zeros(0), "cls": torch.zeros(0, 1),
             "bboxes": torch.zeros(0, 4)}  # fmt: skip
    seen = validator.preprocess(batch)["img"]
    torch.testing.assert_close(seen.float(), torch.full((2, 3, 8, 8), 0.2 * 0.5 + 0.3), atol=1e-3, rtol=0)


def test_ultralytics_validates_restored_images_from_beginning_to_end(tmp_path, monkeypatch):
    ultralytics = pytest.importorskip("ultralytics")
    monkeypatch.chdir(tmp_path)
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for name in ("a", "b"):
        write_image(tmp_path / "images" / f"{name}.png", torch.tensor([1.0, 0, 0])[:, None, None].expand(3, 40, 40))
        (tmp_path / "labels" / f"{name}.txt").write_text("16 0.5 0.5 0.4 0.6\n")
    (tmp_path / "data.yaml").write_text(f"path: {tmp_path}\ntrain: images\nval: images\nnc: 80\n")
    restorer = Colours()
    ultralytics.YOLO("yolov8n.yaml").val(data="data.yaml", validator=ultralytics_validator(restorer), imgsz=64, workers=0,
                                         plots=False, verbose=False)  # fmt: skip
    assert len(restorer.seen) == 2
    middles = [seen[0, :, seen.shape[2] // 2, seen.shape[3] // 2] for seen in restorer.seen]
    assert all(torch.equal(middle, torch.tensor([1.0, 0.0, 0.0])) for middle in middles)


def test_the_readmes_python_runs(tmp_path, monkeypatch, photo, mobilenet_weights):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text()
    write_image(tmp_path / "photo.jpg", photo)
    folder = make_voc_folder(tmp_path / "made")
    Path("VOCdevkit").mkdir()
    folder.rename("VOCdevkit/VOC2012")
    scope: dict = {"predictions": {}}
    snippets = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(snippets) == 4
    for snippet in snippets:
        small = snippet.replace("(3, 375, 500)", "(3, 60, 80)").replace("yolov8n.pt", "yolov8n.yaml")
        exec(compile(small, "README.md", "exec"), scope)
    assert read_image(tmp_path / "restored.png").shape == photo.shape
    assert isinstance(scope["detections"], Detections)
    assert set(scope["results"][0]) == {"boxes", "scores", "labels"}
    assert scope["result"].map == 0
    assert os.getcwd() == str(tmp_path)
