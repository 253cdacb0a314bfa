"""Detectors of other libraries behind the one interface."""

import urllib.request
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from vocbench.detection.datasets.classes import VOC_INDEX
from vocbench.detection.detections import VOC_CLASSES
from vocbench.detection.detectors.torchvision_ssd import TorchvisionDetector
from vocbench.restorer.images import read_image


def test_cocos_names_are_mapped_to_vocs():
    couch, dog, *others = VOC_INDEX.labels(["couch", "dog", "zebra", "__background__"])
    assert [VOC_CLASSES[couch], VOC_CLASSES[dog]] == ["sofa", "dog"]
    assert others == [-1, -1]


def test_all_of_vocs_classes_are_among_torchvisions():
    from torchvision.models.detection import SSD300_VGG16_Weights

    names = SSD300_VGG16_Weights.COCO_V1.meta["categories"]
    assert set(VOC_INDEX.labels(names)) - {-1} == set(range(20))


class Fixed(nn.Module):
    def forward(self, images):
        boxes = torch.tensor([[0.0, 0, 5, 5], [1.0, 1, 6, 6]])
        return [{"boxes": boxes, "scores": torch.tensor([0.9, 0.8]), "labels": torch.tensor([1, 2])} for _ in images]


def test_what_has_no_voc_name_is_dropped():
    found = TorchvisionDetector(Fixed(), ["__background__", "zebra", "tv"])([torch.rand(3, 9, 9)])[0]
    assert found.scores.tolist() == pytest.approx([0.8])
    assert found.labels.tolist() == [VOC_CLASSES.index("tvmonitor")]


def test_torchvisions_own_network_runs_behind_the_interface():
    from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights, ssdlite320_mobilenet_v3_large

    names = SSDLite320_MobileNet_V3_Large_Weights.COCO_V1.meta["categories"]
    network = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=len(names))
    found = TorchvisionDetector(network, names)([torch.rand(3, 60, 80), torch.rand(3, 50, 40)])
    assert len(found) == 2


def test_weights_that_cannot_be_downloaded_are_told(monkeypatch, tmp_path):
    from vocbench.detection.detectors.torchvision_ssd import load_torchvision

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr(urllib.request, "_opener", None)  # the first opener made, with its proxies, stays for the process
    with pytest.raises(OSError, match=r"the weights of ssdlite could not be downloaded .*; put https://"):
        load_torchvision("ssdlite")


def test_damaged_weights_of_torchvision_are_named(monkeypatch, tmp_path):
    from vocbench.detection.detectors.torchvision_ssd import load_torchvision

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub/checkpoints/ssdlite320_mobilenet_v3_large_coco-a79551df.pth"
    file.parent.mkdir(parents=True)
    file.write_text("a page that says no")
    with pytest.raises(ValueError, match=rf"{file}: damaged, or not the weights of ssdlite; delete it"):
        load_torchvision("ssdlite")


@pytest.mark.parametrize("name", ["yolov8n.pt", "yolo26n.pt"])
def test_ultralytics_gives_the_boxes_of_its_own_call(shared, name):
    pytest.importorskip("ultralytics")
    from ultralytics import YOLO
    from vocbench.detection.detectors.ultralytics_adapter import load_ultralytics

    path = shared / "weights/ultralytics" / name
    photo = shared / "data/VOCdevkit/VOC2007/JPEGImages/000004.jpg"
    found = load_ultralytics(path, trust=True)([read_image(photo)])[0]
    own: Any = next(iter(YOLO(str(path)).predict(str(photo), conf=0.01, max_det=300, verbose=False, device="cpu")))
    labels = np.array(VOC_INDEX.labels([own.names[int(c)] for c in own.boxes.cls]))
    kept = labels >= 0
    assert len(found.scores) == kept.sum() > 0
    np.testing.assert_allclose(found.boxes.numpy(), own.boxes.xyxy.numpy()[kept], atol=1e-3)
    np.testing.assert_allclose(found.scores.numpy(), own.boxes.conf.numpy()[kept], atol=1e-5)
    assert found.labels.tolist() == labels[kept].tolist()


@pytest.mark.parametrize("name", ["yolo.pt", "yolo.PT", "yolo.yaml", "yolo.torchscript"])
def test_ultralytics_files_that_may_run_code_are_opened_on_the_users_word_only(tmp_path, monkeypatch, name):
    from vocbench.detection.detectors.ultralytics_adapter import load_ultralytics

    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(b"anything")
    for path in (tmp_path / name, name):
        with pytest.raises(
            ValueError, match=rf"{name}: a \.\w+ file of ultralytics may run code .*; allow it by `trust_weights"
        ):
            load_ultralytics(path)
    assert (tmp_path / name).read_bytes() == b"anything"


def test_a_model_is_not_fetched_from_an_address():
    from vocbench.detection.detectors.ultralytics_adapter import load_ultralytics

    with pytest.raises(ValueError, match="may run code"):
        load_ultralytics("https://127.0.0.1:9/yolov8n.yaml")


def test_an_onnx_model_without_its_runtime_says_what_brings_it(tmp_path, monkeypatch):
    from vocbench.detection.detectors import ultralytics_adapter

    (tmp_path / "yolo.onnx").write_bytes(b"anything")
    monkeypatch.setattr(ultralytics_adapter, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'an ONNX model needs onnxruntime; `pip install "\.\[export\]"`'):
        ultralytics_adapter.load_ultralytics(tmp_path / "yolo.onnx")


def test_a_missing_model_file_says_where_to_get_one(tmp_path):
    from vocbench.detection.detectors.ultralytics_adapter import load_ultralytics

    releases = (
        r"yolo\.pt: no such model file; download it from https://github.com/ultralytics/assets/releases and give its path"
    )
    with pytest.raises(FileNotFoundError, match=releases):
        load_ultralytics(tmp_path / "yolo.pt")
    with pytest.raises(FileNotFoundError, match=r"yolo\.onnx: no such model file; make it with `yolo export"):
        load_ultralytics(tmp_path / "yolo.onnx")


def test_bare_numbers_stand_for_cocos_or_vocs_classes():
    from vocbench.detection.detectors.ultralytics_adapter import UltralyticsDetector, class_names

    def numbers(count):
        return {i: str(i) for i in range(count)}

    assert class_names(numbers(80))[16] == "dog"  # 16: dog in ultralytics' coco.yaml
    assert class_names(numbers(20)) == list(VOC_CLASSES)
    assert class_names({0: "dog", 1: "1"}) == ["dog", "1"]

    class Model:
        names = numbers(7)
        predict = None

    assert UltralyticsDetector(Model()).classes == tuple("0123456")  # none of VOC's: its own


def test_an_untrained_model_of_ultralytics_runs(tmp_path, monkeypatch):
    pytest.importorskip("ultralytics")
    from vocbench.detection.detectors.ultralytics_adapter import load_ultralytics

    monkeypatch.chdir(tmp_path)
    model = load_ultralytics("yolov8n.yaml")
    assert (model.labels >= 0).sum() == 20
    assert len(model([torch.rand(3, 40, 50)])) == 1


def save_untrained(path, task="", names=None):
    """A model of ultralytics without training, as a file; its classes are VOC's unless `names` are given."""
    from ultralytics import YOLO

    model = YOLO(f"yolov8n{task}.yaml")
    network: Any = model.model
    network.names = names or {i: VOC_CLASSES[i] if i < 20 else f"x{i}" for i in range(len(network.names))}
    model.ckpt = model.ckpt or {}
    model.save(str(path))


@pytest.mark.parametrize("task", ["obb", "cls"])
def test_a_model_without_upright_boxes_is_refused_with_its_task(tmp_path, monkeypatch, task):
    pytest.importorskip("ultralytics")
    from vocbench.detection.detectors.ultralytics_adapter import load_ultralytics

    monkeypatch.chdir(tmp_path)
    save_untrained(tmp_path / "m.pt", f"-{task}")
    told = {"obb": "obb", "cls": "classify"}[task]
    with pytest.raises(ValueError, match=rf"m\.pt: a model of the task '{told}', which gives no upright boxes; give one"):
        load_ultralytics(tmp_path / "m.pt", trust=True)


def test_the_model_file_given_is_the_one_that_is_opened(tmp_path, monkeypatch, capsys):
    """ultralytics opens yolov5su.pt, or downloads it, where yolov5s.pt is asked for."""
    pytest.importorskip("ultralytics")
    from vocbench.detection.detectors.ultralytics_adapter import load_ultralytics

    monkeypatch.chdir(tmp_path)
    save_untrained(tmp_path / "other.pt", names=dict.fromkeys(range(80), "dog"))
    save_untrained(tmp_path / "given.pt", names={i: "potted_plant" if i % 2 else "Person" for i in range(80)})
    capsys.readouterr()
    (tmp_path / "given.pt").rename(tmp_path / "yolov5s.pt")
    (tmp_path / "other.pt").rename(tmp_path / "yolov5su.pt")
    model = load_ultralytics(tmp_path / "yolov5s.pt", trust=True)
    assert set(model.labels.tolist()) == {VOC_CLASSES.index("person"), VOC_CLASSES.index("pottedplant")}
    assert len(model([torch.rand(3, 40, 50)])) == 1
    (tmp_path / "yolov5s.pt").write_text("not a model at all")
    with pytest.raises(ValueError, match=r"yolov5s\.pt: ultralytics could not load it"):
        load_ultralytics(tmp_path / "yolov5s.pt", trust=True)
    assert capsys.readouterr().out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["yolov5s.pt", "yolov5su.pt"]


def test_a_letterbox_says_what_it_sees(tmp_path, monkeypatch):
    pytest.importorskip("ultralytics")
    from vocbench.detection.detectors.ultralytics_adapter import load_ultralytics

    monkeypatch.chdir(tmp_path)
    model = load_ultralytics("yolov8n.yaml")
    assert model.input_size(1500, 2000) == (480, 640)
    assert model.input_size(320, 160) == (640, 320)


def test_an_ultralytics_model_leaves_the_number_of_threads_alone():
    """Its choice of a device sets one less than there are cores, for whatever the process computes afterwards."""
    from types import SimpleNamespace

    from vocbench.detection.detectors.ultralytics_adapter import UltralyticsDetector

    class Model:
        def __init__(self):
            self.names = {0: "cat", 1: "dog"}

        def predict(self, picture, **given):
            torch.set_num_threads(1)
            boxes = SimpleNamespace(xyxy=torch.zeros(0, 4), conf=torch.zeros(0), cls=torch.zeros(0))
            return [SimpleNamespace(boxes=boxes)]

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        UltralyticsDetector(Model())([torch.rand(3, 32, 32)])
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
