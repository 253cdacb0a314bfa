import pytest
import torch
from vocbench.detection.detections import Detections, Objects
from vocbench.detection.exchange import Target, read_detections
from vocbench.detection.exports import to_fiftyone, to_yolo, yolo_files

FOUND = Detections(
    torch.tensor([[10.0, 20.0, 40.0, 60.0], [0.0, 0.0, 100.0, 50.0]]), torch.tensor([0.9, 0.25]), torch.tensor([1, 0])
)
SIZES = {"a": (100, 50), "b": (30, 40)}


def test_yolos_rows_are_centres_and_sides_in_parts_of_the_picture():
    assert to_yolo({"a": FOUND}, SIZES)["a.txt"].splitlines()[0].split()[:5] == ["1", "0.25", "0.8", "0.3", "0.8"]  # by hand


def test_yolos_files_are_read_back_the_same(tmp_path):
    files = yolo_files({"a": FOUND, "b": Detections.empty()}, SIZES, ["cat", "dog"])
    assert files["classes.txt"] == "cat\ndog\n"
    (tmp_path / "labels").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    again = read_detections(tmp_path / "labels", Target(["a", "b"], ("cat", "dog"), None, None, SIZES))
    for mine, theirs in zip(FOUND, again["a"], strict=True):
        torch.testing.assert_close(mine, theirs, check_dtype=False)
    assert len(again["b"].scores) == 0


def test_fiftyones_boxes_are_corner_and_sides_in_parts_of_the_picture():
    made = to_fiftyone({"a": FOUND}, SIZES, ["cat", "dog"])
    first, second = made["labels"]["a"]
    assert first["label"] == "dog"
    assert first["bounding_box"] == pytest.approx([0.1, 0.4, 0.3, 0.8])
    assert second["confidence"] == 0.25
    objects = Objects.of([[10, 20, 40, 60]], [0], [True])
    (entry,) = to_fiftyone({"a": objects}, SIZES, ["cat", "dog"])["labels"]["a"]
    assert (entry["label"], entry["attributes"]) == ("cat", {"difficult": True})
    assert entry["bounding_box"] == pytest.approx([0.1, 0.4, 0.3, 0.8])
