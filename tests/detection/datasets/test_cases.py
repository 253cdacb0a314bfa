"""Data sets and detections as people have them, each with the figure that is right."""

import hashlib
import json
import runpy
import shutil
import subprocess
import sys
from argparse import Namespace

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from vocbench.benchmarks.cli.main import cli
from vocbench.benchmarks.cli.messages import in_options
from vocbench.benchmarks.sample import open_data
from vocbench.benchmarks.voc_folder import check_size
from vocbench.detection.detections import VOC_CLASSES
from vocbench.detection.detectors.ssd300_voc import _unwrapped, load_ssd300_voc, rename
from vocbench.restorer.images import check_image

HUNDRED = [
    "size_zero",
    "xmin_zero",
    "difficult_unspecified",
    "difficult_False",
    "split_bom",
    "utf16",
    "coco_bom",
    "namespace",
    "split_spaces",
    "dict_int",
    "capital_name",
    "dict_unknown_label_extra",
    "no_main",
]


@pytest.fixture
def case(shared, tmp_path):
    """A function that copies a case and gives its folder."""

    def copied(name):
        return shutil.copytree(shared / "cases/voc" / name, tmp_path / name)

    return copied


def evaluated(folder, data="VOC2099", detections="dets.json", *arguments):
    split = ["--split", "val"] if data == "VOC2099" else []
    given = ["evaluate", "--data", str(folder / data), *split, "--detections", str(folder / detections), *arguments]
    return CliRunner().invoke(cli, given, catch_exceptions=False)


def figure(folder, *given):
    return json.loads(evaluated(folder, *(given or ("VOC2099", "dets.json")), "--json").stdout)["map"]


@pytest.mark.parametrize("name", HUNDRED)
def test_files_that_people_have_are_read_to_the_right_figure(case, name):
    assert figure(case(name), "VOC2099", "dets.json") == 1.0


@pytest.mark.parametrize(
    ("name", "data", "detections"),
    [
        ("coco_gt_wild", "instances.json", "dets.json"),
        ("roboflow_flat", "valid", "dets.json"),
        ("split_7_007", "VOC2099", "coco.json"),
    ],
)
def test_other_forms_are_read_to_the_right_figure(case, name, data, detections):
    assert figure(case(name), data, detections) == 1.0


def test_a_line_of_a_split_that_is_an_id_is_that_photo(case):
    folder = case("split_space_mix")
    assert open_data(str(folder / "VOC2099"), "val").ids == ["dog", "cat 2"]
    assert figure(folder) == 1.0


def test_a_line_of_a_split_may_have_its_suffix(case):
    folder = case("split_with_suffix")
    assert open_data(str(folder / "VOC2099"), "val").ids == ["p1", "p2"]
    assert figure(folder) == 1.0


def test_predictions_that_were_exported_are_read_back_alike(case):
    folder = case("coco_gt")
    figures = [figure(folder, "exp/annotations.json", name) for name in ("exp/detections.json", "exp_json", "exp_voc")]
    assert figures == [0.0, 0.0, 0.0]  # none of the 16 boxes is of the class of the two objects


def test_classes_that_count_from_zero_are_told_and_read_with_the_remedy(case):
    folder = case("coco_cat0")
    done = evaluated(folder)
    assert "boxes fit 2 of 2 objects, but only 0 with the right class" in done.stderr
    assert "--categories" in done.stderr
    (folder / "names.json").write_text(json.dumps(dict(enumerate(VOC_CLASSES))))
    assert figure(folder, "VOC2099", "dets.json", "--categories", str(folder / "names.json")) == 1.0


def test_photos_are_read_or_refused_by_kind(case):
    assert open_data(str(case("suffix_JPEG") / "VOC2099"), "val").photo("p2").name == "p2.JPEG"
    with pytest.raises(ValueError, match="is a BMP picture"):
        open_data(str(case("suffix_bmp") / "VOC2099"), "val").photo("p2")


def test_a_set_annotated_upright_is_named_and_read_so(case):
    place = str(case("exif_upright") / "VOC2099")

    def check(upright):
        data = open_data(place, "val", upright)
        for image in data.ids:
            check_size(data.photo(image), check_image(data.photo(image)), data.size(image), upright)

    with pytest.raises(ValueError, match=r"rotated by EXIF.*annotated after the rotation; give `upright=True`"):
        check(False)
    check(True)


def test_a_polygon_without_a_box_is_told(case):
    with pytest.raises(ValueError, match="has no <bndbox>, but a <polygon>"):
        evaluated(case("polygon_only"))


def test_own_classes_are_evaluated(case):
    folder = case("extra_class")
    assert figure(folder) == 0.5  # the dog is found, the traffic light is not
    assert figure(folder, "VOC2099", "dets.json", "--classes", "dog") == 1.0


def test_photos_of_any_suffix_are_run_on(case):
    done = ran(case("suffix_JPEG"), "tests.support.fakes:BlobDetector")
    assert done.exit_code == 0
    with pytest.raises(ValueError, match=r"p2\.bmp: is a BMP picture; photos are JPEG or PNG: convert it to p2\.png"):
        ran(case("suffix_bmp"), "tests.support.fakes:BlobDetector")


def ran(folder, detector, *arguments):
    """`vocbench run` with the options that the cases name."""
    given = ["run", "--data", str(folder / "VOC2099"), "--split", "val", "--recipe", "clean", "--restorer", "identity"]
    return CliRunner().invoke(
        cli, [*given, "--detector", detector, "--out", str(folder / "out"), *arguments], catch_exceptions=False
    )


def test_a_run_on_photos_turned_by_exif_names_the_turn_and_goes_on_upright(case):
    folder = case("exif_upright")
    with pytest.raises(ValueError, match=r"p1\.jpg: is stored as 120x90 pixels and rotated by EXIF") as refusal:
        ran(folder, "tests.support.fakes:BlobDetector")
    remedy = "give --upright if all photos were, else write a repaired copy with `vocbench data check` and --fix-into"
    assert in_options(str(refusal.value)).endswith(remedy)
    assert ran(folder, "tests.support.fakes:BlobDetector", "--upright").exit_code == 0


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("turned", r"own-turned' failed on 000007: the box \[60\.0, 60\.0, 10\.0, 10\.0\] ends before it begins"),
        ("float_labels", r"own-float_labels' failed on 000007: labels must be whole numbers, got 11\.7"),
        ("nan", r"own-nan' failed on 000007: detections must be finite, got NaN or infinite boxes"),
        ("tv", r"labels must lie in 0\.\.19, got 20\.\.20; if they count the background as 0, subtract 1"),
    ],
)
def test_an_own_detectors_wrong_boxes_and_labels_are_refused_by_name(case, monkeypatch, name, told):
    folder = case("torchvision_labels")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "own", raising=False)
    with pytest.raises(ValueError, match=told):
        ran(folder, f"own:{name}")


def test_an_own_detectors_labels_that_count_the_background_are_told(case, monkeypatch):
    folder = case("torchvision_labels")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "own", raising=False)
    done = ran(folder, "own:dog")
    assert done.exit_code == 0
    assert "its labels seem to count the background as 0; subtract 1 from them" in done.stderr


def executed(folder, monkeypatch, *arguments):
    """Run a case's own program in its folder and return its names."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["make.py", *map(str, arguments)])
    return runpy.run_path(str(folder / "make.py"))


def test_a_models_class_names_are_mapped_however_they_are_written(case, shared, monkeypatch):
    pytest.importorskip("ultralytics")
    from vocbench.detection.detectors.ultralytics_adapter import load_ultralytics

    folder, weights = case("ultralytics_names"), shared / "weights/ultralytics/yolov8n.pt"
    executed(folder, monkeypatch, weights)
    renamed, plain = load_ultralytics(folder / "person.pt", trust=True), load_ultralytics(weights, trust=True)
    assert {"Person", "potted_plant"} <= set(renamed.known)
    assert renamed.labels.tolist() == plain.labels.tolist()
    assert renamed.labels[0] == VOC_CLASSES.index("person")


def test_models_without_upright_boxes_are_refused_when_loaded(case, monkeypatch):
    pytest.importorskip("ultralytics")
    folder = case("ultralytics_obb")
    executed(folder, monkeypatch)
    Image.new("RGB", (90, 70)).save(folder / "photo.png")
    for name, task in (("obb", "obb"), ("cls", "classify")):
        with pytest.raises(ValueError, match=f"{name}\\.pt: a model of the task '{task}'"):
            CliRunner().invoke(
                cli,
                ["detect", str(folder / "photo.png"), "--detector", f"{name}.pt", "--trust-weights"],
                catch_exceptions=False,
            )


@pytest.mark.parametrize("name", ["yolov5s.pt", "yolov3-tiny.pt"])
def test_the_file_of_a_model_that_was_given_is_opened_or_refused(case, shared, monkeypatch, name):
    pytest.importorskip("ultralytics")
    folder = case("ultralytics_yolov5_swap")
    weights = str(shared / "weights/ultralytics/yolov8n.pt")
    subprocess.run(["sh", "make.sh", weights], cwd=folder, check=True)
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    with pytest.raises(ValueError, match=rf"{name}: ultralytics could not load it"):
        ran(folder, name, "--trust-weights")
    assert sorted(path for path in folder.iterdir() if path.name != "out") == before
    shutil.copy(weights, folder / name)
    assert ran(folder, name, "--trust-weights", "--limit", "1").exit_code == 0
    record = json.loads((folder / "out/run.json").read_text())
    assert hashlib.sha256((folder / name).read_bytes()).hexdigest() in json.dumps(record)


def test_every_checkpoint_of_plain_tensors_is_that_network(case, monkeypatch):
    """The program's own cases, unwrapped as the loader does; what is no plain tensor is refused from the disk."""
    folder = case("ssd_wrappers")
    text = (folder / "make_and_load.py").read_text().replace("detection.ssd300_voc", "detection.detectors.ssd300_voc")
    (folder / "make.py").write_text(text[: text.index('p = pathlib.Path("tmp.pth")')])
    made = executed(folder, monkeypatch)
    network, cases = made["S"], made["cases"]
    assert len(cases) == 17
    for name, content in cases.items():
        state = rename(_unwrapped(folder / name, content))
        for key, tensor in network.items():
            expected = tensor.half() if name == "half precision" else tensor
            expected = tensor * float("nan") if (name, key) == ("with NaN weights", "scores.0.weight") else expected
            assert torch.equal(state[key].nan_to_num(), expected.nan_to_num()), (name, key)
    torch.save(cases["amd plain"], folder / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(load_ssd300_voc(folder / "old.pth").state_dict()["vgg.0.weight"], network["vgg.0.weight"])
    torch.save(cases["with NaN weights"], folder / "nan.pth")
    with pytest.warns(UserWarning, match=r"nan\.pth: 'scores\.0\.weight' holds NaN"):
        load_ssd300_voc(folder / "nan.pth")
    torch.save({"model": cases["amd plain"], "args": Namespace(batch=1)}, folder / "code.pth")
    with pytest.raises(ValueError, match=r"code\.pth: not a PyTorch state dict of plain tensors .* could run code"):
        load_ssd300_voc(folder / "code.pth")
