"""Runs on data sets of every form, with classes of their own."""

import json
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from PIL import Image, ImageFilter
from vocbench.benchmarks.cli.main import cli
from vocbench.benchmarks.experiments.run import run
from vocbench.benchmarks.results.schema import CountedPhotos, DetectorIdentity, Interval, Results, VariantResults
from vocbench.benchmarks.results.sentences import verdict
from vocbench.benchmarks.settings import RunSettings
from vocbench.detection.detections import Detections

from tests.support.commands import timeless
from tests.support.forms import as_coco, as_voc, as_yolo, draw_objects, draw_photos
from tests.support.voc_folders import make_voc_folder

COLOURS = {"traffic cone": (240, 20, 20), "duck": (20, 20, 240), "crate": (30, 160, 30)}
PATCHES = "tests.support.fakes:PatchDetector"


def settings(data, **given):
    plain: dict[str, Any] = {"recipe": "voc", "restorers": ("tests.support.fakes:Stretch",), "examples": 1}
    return RunSettings(**{"data": str(data), "split": "val", "detectors": (f"patch={PATCHES}",)} | plain | given)


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    """Twenty photos of cones and ducks as VOC, COCO and YOLO; folders of one name."""
    base = tmp_path_factory.mktemp("forms")
    photos = draw_objects(20, ["traffic cone", "duck"])
    draw_photos(base / "pictures", photos, COLOURS)
    makers = {"voc": as_voc, "coco": as_coco, "yolo": as_yolo}
    return {name: make(base / name / "yard", photos, base / "pictures") for name, make in makers.items()}


def test_voc_coco_and_yolo_give_the_same_results_with_own_classes(forms, tmp_path):
    told = {}
    for name, folder in forms.items():
        run(settings(folder), tmp_path / name)
        told[name] = json.loads(timeless(tmp_path / name / "results.json"))
    assert told["voc"] == told["coco"] == told["yolo"]
    variants = told["voc"]["variants"]
    assert list(variants["clean"]["ap"]) == ["duck", "traffic cone"]
    assert variants["clean"]["map"] > variants["distorted"]["map"] > 0
    assert told["voc"]["dataset"]["name"] == "yard"
    page = (tmp_path / "yolo/report.html").read_text()
    assert "traffic cone" in page


def test_own_classes_go_through_every_command_on_a_finished_run(forms, tmp_path):
    for name in ("one", "two"):
        run(settings(forms["yolo"], seed=len(name)), tmp_path / name)

    def said(*arguments):
        return CliRunner().invoke(cli, [str(one) for one in arguments], catch_exceptions=False).output

    assert "traffic cone" in said("compare", tmp_path / "one", tmp_path / "two", "--variant", "distorted")
    said("report", tmp_path / "one")
    for form in ("coco", "voc", "json"):
        said("export-predictions", tmp_path / "one", "--format", form, "--variant", "clean", "--out", tmp_path / form)
        told = said("evaluate", "--data", forms["coco"], "--detections", tmp_path / form, "--json")
        assert json.loads(told)["map"] == json.loads((tmp_path / "one/results.json").read_text())["variants"]["clean"]["map"]


def test_classes_are_chosen_and_renamed_and_others_counted(forms, tmp_path, caplog):
    run(settings(forms["coco"], classes='["duck"]'), tmp_path / "chosen")
    assert "objects of other classes left out: traffic cone" in caplog.text
    assert list(json.loads((tmp_path / "chosen/results.json").read_text())["variants"]["clean"]["ap"]) == ["duck"]
    run(settings(forms["coco"], classes='{"duck": "bench"}', detectors=(PATCHES,)), tmp_path / "renamed")
    renamed = json.loads((tmp_path / "renamed/results.json").read_text())
    assert renamed["variants"]["clean"]["ap"] == {"bench": 0.0}  # no bench is found where ducks are
    with pytest.raises(ValueError, match=r"no detector knows the class dragon of yard; patch knows Duck, traffic_cone, bench"):
        run(settings(forms["coco"], classes='{"duck": "dragon"}'), tmp_path / "none")
    with pytest.raises(ValueError, match="has no class 'cat'; it has duck, traffic cone"):
        run(settings(forms["coco"], classes='["cat"]'), tmp_path / "none")


def test_each_detector_is_judged_by_the_classes_that_it_knows(tmp_path, caplog):
    photos = draw_objects(6, ["duck", "dog"])
    draw_photos(tmp_path / "pictures", photos, COLOURS | {"dog": (5, 5, 5)})
    detectors = (f"patch={PATCHES}", "blob=tests.support.fakes:BlobDetector")
    data = as_yolo(tmp_path / "yard", photos, tmp_path / "pictures")
    run(settings(data, detectors=detectors), tmp_path / "run")
    assert "patch does not know dog; its tables leave them out" in caplog.text
    assert "blob does not know duck" in caplog.text
    patch, blob = (json.loads((tmp_path / f"run/{name}.json").read_text()) for name in ("results", "results-blob"))
    assert patch["variants"]["clean"]["ap"]["dog"] is None
    assert patch["variants"]["clean"]["map"] == patch["variants"]["clean"]["ap"]["duck"]
    assert blob["variants"]["clean"]["ap"]["duck"] is None
    assert patch["dataset"]["objects"] == sum(name == "duck" for objects in photos.values() for name, _ in objects)


def test_classes_are_given_on_the_command_line_or_in_a_file(tmp_path):
    from vocbench.benchmarks.classes import parse_choice

    assert parse_choice("duck, traffic cone") == '["duck", "traffic cone"]'
    (tmp_path / "c.yaml").write_text("duck: bird\n")
    assert parse_choice(str(tmp_path / "c.yaml")) == '{"duck": "bird"}'
    (tmp_path / "c.txt").write_text("duck\nbench\n")
    assert parse_choice(str(tmp_path / "c.txt")) == '["duck", "bench"]'
    (tmp_path / "c.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"c\.json: expected class names, as a list or as a mapping"):
        parse_choice(str(tmp_path / "c.json"))


def degraded(base, count, seed=3):
    """A YOLO folder of photos that are bad already, with labels."""
    photos = draw_objects(count, ["traffic cone", "duck"], seed)
    draw_photos(base / "pictures", photos, COLOURS)
    for path in (base / "pictures").iterdir():
        with Image.open(path) as picture:
            picture.filter(ImageFilter.GaussianBlur(3.5)).save(path)
    return as_yolo(base / "yard", photos, base / "pictures")


def test_photos_are_taken_as_they_are_with_a_verdict(tmp_path):
    data = degraded(tmp_path, 16)
    same = ("vivid=tests.support.fakes:Vivid", "nothing=identity")
    run(settings(data, recipe="none", restorers=same), tmp_path / "run")
    told = json.loads((tmp_path / "run/results.json").read_text())
    as_is, vivid, nothing = (told["variants"][name] for name in ("as-is", "vivid", "nothing"))
    assert list(told["variants"]) == ["as-is", "vivid", "nothing"]
    assert as_is["psnr"] is vivid["psnr"] is None
    assert vivid["map"] > as_is["map"]
    assert vivid["delta_map_ci95"][0] > 0
    assert nothing["delta_map"] == 0
    assert told["verdict"]["answer"] == "yes"
    assert told["verdict"]["sentence"].startswith("Restore: yes, by 16 photos. With vivid mAP went from ")
    table = (tmp_path / "run/table.md").read_text()
    assert told["verdict"]["sentence"] in table
    assert "yard val, 16 photos, 26 objects, photos as they are, detector patch, " in table
    page = (tmp_path / "run/report.html").read_text()
    assert "Restore?" in page
    for absent in ("Image quality against detection", "PSNR, dB", ">regained</th>", ">degrade</th>", "first draw"):
        assert absent not in page
    done = CliRunner().invoke(cli, ["runs", "--root", str(tmp_path)], catch_exceptions=False)
    assert "Restore: yes" in done.output
    done = CliRunner().invoke(
        cli, ["leaderboard", str(tmp_path / "run"), "--out", str(tmp_path / "board.html")], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("delta", "interval", "start"),
    [
        (
            0.05,
            [0.01, 0.09],
            "Restore: yes, by 60 photos. With owan mAP went from 40.0 to 45.0 (95 % interval of the change +1.0",
        ),
        (-0.05, [-0.09, -0.01], "Restore: no, by 60 photos. With owan mAP went from 40.0 to 35.0"),
        (0.02, [-0.01, 0.05], "Restore: cannot be told from 60 photos. With owan mAP went from 40.0 to 42.0"),
        (0.02, [None, None], "Restore: cannot be told from 60 photos. With owan mAP went from 40.0 to 42.0: too few"),
    ],
)
def test_a_verdict_is_what_the_interval_allows(delta, interval, start):
    entries = {"as-is": VariantResults(map=0.4, ap={"dog": 0.4})}
    entries["owan"] = VariantResults(map=0.4 + delta, ap={"dog": 0.5}, delta_map=delta, delta_map_ci95=Interval(*interval))
    photos = CountedPhotos(name="yard", split="val", images=60, objects=90)
    detector = DetectorIdentity(name="patch")
    told = verdict(
        Results(protocol="voc07", dataset=photos, recipe="none", seed=0, draws=1, detector=detector, variants=entries)
    )
    assert told.sentence.startswith(start)
    assert told.restorer == "owan"


def test_photos_as_they_are_have_no_draws_and_nothing_clean(tmp_path):
    for odd in ({"draws": 2}, {"do_no_harm": True}):
        with pytest.raises(ValueError, match="takes photos as they are: there are no levels to draw"):
            settings(tmp_path, recipe="none", **odd)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("ShiftedDetector", "its labels seem to count the background as 0; subtract 1 from them"),
        ("OtherClassesDetector", "its labels seem to index other classes; name them in its attribute `classes`"),
    ],
)
def test_labels_that_are_numbered_otherwise_are_told_with_the_remedy(tmp_path, caplog, name, remedy):
    data = make_voc_folder(tmp_path)
    run(
        settings(data, recipe="clean", detectors=(f"own=tests.support.fakes:{name}",), restorers=("identity",)),
        tmp_path / "run",
    )
    assert f"own: boxes fit 5 of 5 objects, but only 0 with the right class: {remedy}" in caplog.text


def test_labels_beyond_the_last_class_may_count_the_background():
    with pytest.raises(ValueError, match=r"must lie in 0\.\.19, got 12\.\.20; if they count the background as 0, subtract 1"):
        Detections.of((torch.zeros(2, 4), torch.ones(2), torch.tensor([12, 20])))
