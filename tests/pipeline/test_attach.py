"""A restorer attached to models of ultralytics: it holds for every call, and changes nothing else, for every task."""

import copy
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from vocbench.pipeline import attach, detach

ultralytics = pytest.importorskip("ultralytics")
PICTURE = np.random.default_rng(0).integers(0, 255, (80, 96, 3), np.uint8)
GIVEN = {"imgsz": 64, "conf": 1e-7, "max_det": 20, "verbose": False, "save": False}
TASKS = ["yolov8n", "rtdetr-resnet50", "yolov8n-seg", "yolov8n-pose", "yolov8n-obb", "yolov8n-cls"]


class Dark(nn.Module):
    """Makes every picture black, and keeps the shapes of what came."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        self.seen.append(tuple(images.shape[2:]))
        return images * 0


def fresh(name="yolov8n"):
    torch.manual_seed(0)
    make = ultralytics.RTDETR if name.startswith("rtdetr") else ultralytics.YOLO
    return make(f"{name}.yaml")


def parts(results):
    """Everything that a model found in one picture, by name."""
    (result,) = results
    found = {name: getattr(result, name) for name in ("boxes", "masks", "keypoints", "obb", "probs")}
    return {name: part.data.clone() for name, part in found.items() if part is not None}


@pytest.mark.parametrize("name", TASKS)
def test_a_restorer_that_changes_nothing_changes_no_result_of_any_task(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    model = fresh(name)
    alone = parts(model.predict(PICTURE, **GIVEN))
    attach(model, nn.Identity())
    attached = parts(model.predict(PICTURE, **GIVEN))
    assert alone.keys() == attached.keys() != set()
    for part in alone:
        assert torch.equal(alone[part], attached[part]), part


def test_the_restorer_holds_for_every_later_call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if not find_spec("lap"):  # which ultralytics' tracker asks for, and needs from the second picture on
        matching = ModuleType("lap")
        matching.__version__ = "1"  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "lap", matching)
    model, dark = fresh(), Dark()
    model.predict(PICTURE, **GIVEN)  # a predictor made before is no longer used
    attach(model, dark)

    def counted(call):
        dark.seen.clear()
        call()
        return dark.seen

    calls = [
        lambda: model.predict(PICTURE, **GIVEN),
        lambda: model(PICTURE, **GIVEN),
        lambda: model.predict(PICTURE, **GIVEN | {"device": "cpu"}),
        lambda: model.predict(PICTURE, **GIVEN | {"imgsz": 96}),
        lambda: model.predict(PICTURE, **GIVEN | {"half": True}),
        lambda: model.predict(PICTURE, **GIVEN | {"dnn": True, "augment": True}),
        lambda: model.track(PICTURE, **GIVEN),
        lambda: list(model.predict(PICTURE, stream=True, **GIVEN)),
        lambda: model.to("cpu").predict(PICTURE, **GIVEN),
        lambda: (model.fuse(), model.predict(PICTURE, **GIVEN)),
        lambda: model.predict(PICTURE, predictor=ultralytics.models.yolo.detect.DetectionPredictor, **GIVEN),
        lambda: model.predict(torch.rand(1, 3, 64, 64), **GIVEN),
    ]
    for i, call in enumerate(calls):
        seen = counted(call)
        assert seen and set(seen) <= {(80, 96), (64, 64)}, i
    black = fresh().predict(PICTURE * 0, **GIVEN)
    for part, value in parts(model.predict(PICTURE, **GIVEN)).items():
        torch.testing.assert_close(value, parts(black)[part], atol=1e-3, rtol=1e-3)
    predictor = model.predictor
    model.predict(PICTURE, **GIVEN)
    assert model.predictor is predictor  # not made anew for each call
    assert type(model).__name__ == "YOLO"
    assert isinstance(model, ultralytics.YOLO)


def test_a_second_restorer_takes_the_firsts_place_and_detach_gives_the_model_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, first, second = fresh(), Dark(), Dark()
    attach(model, first)
    attach(model, second)
    copied = copy.deepcopy(model)
    for one in (model, copied):
        second.seen.clear()
        one.predict(PICTURE, **GIVEN)
        assert (len(first.seen), len(second.seen)) == (0, 1)
    detach(model)
    detach(model)
    model.predict(PICTURE, **GIVEN)
    assert len(second.seen) == 1
    assert type(model) is ultralytics.YOLO


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Two pictures in YOLO's form, 60 x 100, which letterboxing gives bars."""
    monkeypatch.chdir(tmp_path)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for i, name in enumerate("ab"):
        cv2.imwrite(str(tmp_path / f"images/{name}.png"), np.random.default_rng(i).integers(0, 255, (60, 100, 3), np.uint8))
        (tmp_path / f"labels/{name}.txt").write_text("16 0.5 0.5 0.4 0.6\n")
    (tmp_path / "data.yaml").write_text(f"path: {tmp_path}\ntrain: images\nval: images\nnc: 80\n")
    return {"data": "data.yaml", "imgsz": 64, "workers": 0, "plots": False, "verbose": False, "batch": 2}


@pytest.mark.parametrize("rect", [True, False])
def test_val_restores_the_picture_and_not_the_bars_of_its_letterbox(data, monkeypatch, rect):
    model, dark = fresh(), Dark()
    batches: list[torch.Tensor] = []
    base: Any = model.task_map["detect"]["validator"]

    class Watching(base):
        def update_metrics(self, preds, batch):
            batches.append(batch["img"].clone())
            super().update_metrics(preds, batch)

    attach(model, dark)
    model.val(validator=Watching, rect=rect, **data)
    assert set(dark.seen) == {(39, 64)}
    for images in batches:
        for image in images:
            assert (image == 0).sum() == 3 * 39 * 64
            bars = image[image != 0]
            torch.testing.assert_close(bars, torch.full_like(bars, 114 / 255))
            assert len(bars) == image.numel() - 3 * 39 * 64 > 0


def test_val_with_a_restorer_that_changes_nothing_gives_the_models_own_figures(data, monkeypatch):
    def metrics(model):
        seen: list[torch.Tensor] = []
        validator = model.task_map["detect"]["validator"]
        update = validator.update_metrics

        def watching(self, found, batch):
            seen.extend(one["bboxes"].clone() for one in found)
            update(self, found, batch)

        with monkeypatch.context() as patch:
            patch.setattr(validator, "update_metrics", watching)
            model.val(**data)
        return seen

    model = fresh()
    alone = metrics(model)
    attach(model, nn.Identity())
    attached = metrics(model)
    assert len(alone) == len(attached) == 2
    assert all(torch.equal(a, b) for a, b in zip(alone, attached, strict=True))
