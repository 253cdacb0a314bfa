import contextlib
import io
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from vocbench.benchmarks.cli.main import cli
from vocbench.benchmarks.experiments.run import run
from vocbench.benchmarks.settings import RunSettings
from vocbench.detection.average_precision import evaluate
from vocbench.detection.coco import to_coco_ground_truth, to_coco_results
from vocbench.detection.detections import Detections, Objects
from vocbench.detection.exchange import Target, devkit_file, read_detections, to_devkit, to_json

from tests.support.voc_folders import make_voc_folder, write_annotation


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A run under `coco`, two draws a photo; every cat is difficult, and one dog in two."""
    base = tmp_path_factory.mktemp("exported")
    folder = make_voc_folder(base, 8)
    for i, path in enumerate(sorted((folder / "Annotations").glob("*.xml"))):
        objects = [("dog", (10, 10, 40 + i, 40), 0), ("dog", (50, 20, 80, 60), i % 2), ("cat", (55, 25, 85, 65), 1)]
        write_annotation(path, objects=objects)
    settings = RunSettings(
        data=str(folder),
        split="val",
        recipe="voc",
        draws=2,
        protocol="coco",
        examples=0,
        restorers=("flat=tests.support.fakes:Flatten",),
        detectors=("blob=tests.support.fakes:BlobDetector",),
    )
    return run(settings, base / "out")


FOUND = Detections(torch.tensor([[9.0, 9.0, 40.0, 40.0]]), torch.tensor([0.5]), torch.tensor([11]))


def test_detections_come_back_from_their_json(tmp_path):
    (tmp_path / "d.json").write_text(json.dumps(to_json({"a": FOUND})))
    found = read_detections(tmp_path / "d.json", ["a"])["a"]
    assert found.boxes.tolist() == FOUND.boxes.tolist()
    assert found.labels.tolist() == [11]


def test_coco_results_that_name_the_file_are_read_by_it(tmp_path):
    row = {"image_id": 1, "file_name": "000007.jpg", "category_id": 12, "bbox": [9, 9, 31, 31], "score": 0.5}
    (tmp_path / "d.json").write_text(json.dumps([row]))
    assert list(read_detections(tmp_path / "d.json", ["000001", "000007"])) == ["000007"]


def test_coco_results_are_read_with_numbers_for_ids(tmp_path):
    row = {"image_id": 7, "category_id": 12, "bbox": [9, 9, 31, 31], "score": 0.5}
    (tmp_path / "d.json").write_text(json.dumps([row]))
    found = read_detections(tmp_path / "d.json", ["000007"])["000007"]
    assert found.boxes.tolist() == [[9, 9, 40, 40]]
    assert found.labels.tolist() == [11]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": {"boxes": [], "scores": []}}, "no 'labels'"),
        ({"a": {"boxes": [[1, 2, 3, 4]], "scores": [1], "labels": [12]}}, r"labels must be a list of class names, got \[12\]"),
        ({"a": {"boxes": [[1, 2, 3]], "scores": [1], "labels": ["dog"]}}, "image 'a'"),
        ({"a": {"boxes": [[1, 2, 3, 4]], "scores": [1, 2], "labels": ["dog"]}}, "1 boxes, 2 scores and 1 labels"),
        ({"a": {"boxes": [1, 2, 3, 4], "scores": [1], "labels": ["dog"]}}, r"'a': boxes must be a list of \[x1, .* \(4,\)"),
        (
            {"a": {"boxes": [[1, 2, 3, 4]], "scores": ["1"], "labels": ["dog"]}},
            "'a': scores must be a list of numbers, got <U1",
        ),
        ({"a": {"boxes": [["1", 2, 3, 4]], "scores": [1], "labels": ["dog"]}}, "'a': boxes must be a list of"),
        (
            {"a": {"boxes": [[9, 2, 3, 4]], "scores": [1], "labels": ["dog"]}},
            r"'a': the box \[9.0, 2.0, 3.0, 4.0\] ends before",
        ),
        ({"a": {"boxes": 3, "scores": [1], "labels": ["dog"]}}, "image 'a'"),
        ([{"image_id": 1}], "result 0 is malformed"),
        (
            [{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": "1"}],
            "result 0 is malformed .*bbox and score must be a list of num",
        ),
        ([{"image_id": 1, "category_id": 2, "bbox": [1, 2, -3, 4], "score": 1}], r"'1': the box \[1.0, 2.0, -2.0, 6.0\] ends"),
        ([{"image_id": 1, "category_id": 21, "bbox": [1, 2, 3, 4], "score": 1}], "category_id must be 1 to 20, got 21"),
        (3, "expected an object of image ids"),
    ],
)
def test_malformed_detections_are_named(tmp_path, content, message):
    (tmp_path / "d.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as caught:
        read_detections(tmp_path / "d.json", ["a"])
    assert "d.json" in str(caught.value)


def test_an_image_without_detections_is_read(tmp_path):
    (tmp_path / "d.json").write_text(json.dumps({"a": {"boxes": [], "scores": [], "labels": []}}))
    assert read_detections(tmp_path / "d.json", ["a"])["a"].boxes.shape == (0, 4)


def test_the_devkits_file_counts_from_one():
    assert to_devkit({"a": FOUND})["dog"] == "a 0.5 10.0 10.0 40.0 40.0\n"


def official_map(annotations, detections):
    """What pycocotools makes of two files."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(str(detections)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[0]


def test_pycocotools_finds_the_same_ap_in_the_exported_files(tmp_path):
    random = np.random.default_rng(0)
    truth, found = {}, {}
    for i in range(12):
        corner = random.uniform(0, 60, (2, 2))
        boxes = np.concatenate([corner, corner + 25], 1)
        truth[f"i{i}"] = Objects.of(boxes, [11, 7])
        moved = (boxes + random.normal(0, 3, boxes.shape)).astype(np.float32)
        found[f"i{i}"] = Detections(torch.from_numpy(moved), torch.rand(2), torch.tensor([11, 7]))
    (tmp_path / "gt.json").write_text(json.dumps(to_coco_ground_truth(truth)))
    (tmp_path / "dt.json").write_text(json.dumps(to_coco_results(found, list(truth))))
    official = official_map(tmp_path / "gt.json", tmp_path / "dt.json")
    assert evaluate(found, truth, "coco").map == pytest.approx(official, abs=1e-9)


@pytest.mark.parametrize("variant", ["clean", "distorted", "flat"])
def test_pycocotools_gives_the_runs_numbers_on_the_files_exported(exported, variant, tmp_path):
    """Difficult objects and two draws of each photo among them."""
    arguments = ["export-predictions", str(exported), "--format", "coco", "--variant", variant, "--out", str(tmp_path)]
    CliRunner().invoke(cli, arguments, catch_exceptions=False)
    truth = json.loads((tmp_path / "annotations.json").read_text())
    assert {one["iscrowd"] for one in truth["annotations"]} == {0, 1}
    assert len(truth["images"]) == (8 if variant == "clean" else 16)
    official = official_map(tmp_path / "annotations.json", tmp_path / "detections.json")
    wanted = json.loads((exported / "results.json").read_text())["variants"][variant]["map"]
    assert 0 < wanted < 1
    assert official == pytest.approx(wanted, abs=1e-9)


def test_the_evaluate_command_reads_a_folder_and_prints_json(voc_folder, tmp_path):
    box = {"boxes": [[9, 9, 40, 40]], "scores": [0.9], "labels": ["dog"]}
    (tmp_path / "d.json").write_text(json.dumps({"2099_000000": box}))
    arguments = ["evaluate", "--detections", str(tmp_path / "d.json"), "--data", str(voc_folder), "--split", "val"]
    done = CliRunner().invoke(cli, [*arguments, "--protocol", "voc10", "--json"], catch_exceptions=False)
    told = json.loads(done.stdout)
    assert told["protocol"] == "voc10"
    assert told["ap"]["dog"] == pytest.approx(0.2)
    assert told["ap"]["cat"] is None
    assert told["map"] == pytest.approx(0.2)
    assert "dog" in CliRunner().invoke(cli, arguments, catch_exceptions=False).output


@pytest.mark.parametrize(
    "name", ["fork/knife", "a\\b", "_start", "end_", "two__lines", "50%", "a: b?", ".hidden", "..", "100%2F", "<b>|*", "hot x"]
)
def test_a_class_of_any_name_is_written_to_a_devkit_file_and_read_back(tmp_path, name):
    file = devkit_file(name)
    assert not set(file) & set('/\\:*?"<>|')
    (tmp_path / file).write_text(to_devkit({"a": FOUND._replace(labels=FOUND.labels * 0)}, [name])[name])
    (found,) = read_detections(tmp_path, Target(["a"], [name])).values()
    assert found.boxes.tolist() == FOUND.boxes.tolist()


def test_classes_of_unlike_names_have_files_of_their_own():
    names = ["a/b", "a%2Fb", "a_b", "_a", "a", "a_", "dog"]
    assert len({devkit_file(name) for name in names}) == len(names)
    assert devkit_file("dog") == "comp4_det_test_dog.txt"
