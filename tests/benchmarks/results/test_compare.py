import json

import pytest
from click.testing import CliRunner
from vocbench.benchmarks.cli.main import cli
from vocbench.benchmarks.experiments.run import run
from vocbench.benchmarks.results.compare import Difference
from vocbench.benchmarks.settings import RunSettings
from vocbench.detection.average_precision import evaluate
from vocbench.detection.datasets.voc import read_voc
from vocbench.detection.exchange import Target, read_detections

from tests.support.voc_folders import make_voc_folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    base = tmp_path_factory.mktemp("compare")
    folder = make_voc_folder(base)
    for seed in (0, 1):
        settings = RunSettings(data=str(folder), split="val", recipe="voc", restorers=("bright=tests.support.fakes:Brighten",),
                               detectors=("blob=tests.support.fakes:BlobDetector",), seed=seed)  # fmt: skip
        run(settings, base / f"seed{seed}")
    return folder, base


def invoke(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)


def test_a_run_against_itself_is_exactly_zero(finished):
    base = finished[1]
    told = json.loads(invoke("compare", base / "seed0", base / "seed0", "--json").output)
    assert told["variant_a"] == told["variant_b"] == "bright"
    of_map, of_class = told["difference"]["map"], told["difference"]["dog"]
    assert of_map == {"value": 0, "low": 0, "high": 0, "photos": 5, "distinguishable": False}
    assert of_class == {"value": 0, "low": None, "high": None, "photos": 5, "distinguishable": False}
    told = invoke("compare", base / "seed0", base / "seed0").output
    assert "dog            +0.0                    too few photos to tell (5)" in told


def test_variants_of_a_run_are_compared(finished):
    base = finished[1]
    told = invoke("compare", base / "seed0", base / "seed1", "--variant-a", "clean", "--variant-b", "distorted").output
    assert "B - A in points of AP" in told
    assert "dog" in told


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Runs of two seeds on 40 photos, with a detector that loses what is blurred."""
    base = tmp_path_factory.mktemp("many")
    folder = make_voc_folder(base, 40)
    for seed in (0, 1):
        settings = RunSettings(data=str(folder), split="val", recipe="voc", restorers=("identity",), examples=0,
                               detectors=("sharp=tests.support.fakes:SharpDetector",), seed=seed)  # fmt: skip
        run(settings, base / f"seed{seed}")
    return base


def test_two_seeds_are_not_distinguishable(many):
    told = json.loads(invoke("compare", many / "seed0", many / "seed1", "--json").output)["difference"]
    assert told["map"]["value"] != 0
    assert not any(one["distinguishable"] for one in told.values())


def test_distorted_against_clean_is_significant(many):
    variants = ["--variant-a", "clean", "--variant-b", "distorted"]
    told = json.loads(invoke("compare", many / "seed0", many / "seed0", *variants, "--json").output)["difference"]
    assert told["map"]["high"] < 0
    assert told["map"]["distinguishable"]
    assert told["dog"]["photos"] == 40


def test_only_what_has_an_interval_is_called_distinguishable():
    assert not Difference(-1.0, None, None, 9).distinguishable
    assert Difference(-1.0, -1.0, -1.0, 10).distinguishable


def test_a_changed_annotation_is_not_judged_by(tmp_path):
    folder = make_voc_folder(tmp_path)
    run(RunSettings(data=str(folder), split="val", recipe="voc", restorers=("identity",),
                    detectors=("blob=tests.support.fakes:BlobDetector",)), tmp_path / "out")  # fmt: skip
    path = folder / "Annotations" / "2099_000003.xml"
    path.write_text(path.read_text().replace("dog", "cat"))
    with pytest.raises(ValueError, match=r"2099_000003\.xml: changed since the run in .*out was begun"):
        invoke("report", tmp_path / "out")


def test_runs_on_other_ground_are_refused(finished, tmp_path):
    folder, base = finished
    for given, message in (({"limit": 3}, "different photos"), ({"protocol": "voc10"}, "different protocols: voc07 and voc10")):
        settings = {"data": str(folder), "split": "val", "recipe": "voc", "restorers": ("identity",),
                    "detectors": ("blob=tests.support.fakes:BlobDetector",)} | given  # fmt: skip
        run(RunSettings(**settings), tmp_path / message)
        with pytest.raises(ValueError, match=message):
            invoke("compare", base / "seed0", tmp_path / message, "--variant", "distorted")
    with pytest.raises(ValueError, match="has no variant 'x'; there are clean, distorted, bright"):
        invoke("compare", base / "seed0", base / "seed1", "--variant", "x")


def test_runs_are_listed(finished, tmp_path):
    told = json.loads(invoke("runs", "--root", finished[1], "--json").output)
    assert [one["finished"] for one in told] == [True, True]
    assert set(told[0]["map"]) == {"clean", "distorted", "bright"}
    assert "VOC2099 val, 5 photos, voc, voc07: clean" in invoke("runs", "--root", finished[1]).output
    assert "no runs below" in invoke("runs", "--root", tmp_path).output


def test_report_makes_the_same_outputs_again(finished):
    folder = finished[1] / "seed0"
    before = {name: (folder / name).read_bytes() for name in ("results.json", "table.md", "table.csv", "table.tex")}
    for name in before:
        (folder / name).unlink()
    assert invoke("report", folder).exit_code == 0
    assert before == {name: (folder / name).read_bytes() for name in before}


def test_the_latex_table_has_a_row_for_every_variant(finished):
    text = (finished[1] / "seed0" / "table.tex").read_text()
    assert text.count(r"\\") == 4
    assert r"\toprule" in text
    assert "bright & " in text


def test_exported_predictions_give_the_runs_own_ap(finished, tmp_path):
    folder, base = finished
    for form in ("json", "coco", "voc", "yolo", "fiftyone"):
        done = invoke("export-predictions", base / "seed0", "--format", form, "--variant", "bright", "--out", tmp_path / form)
        assert done.exit_code == 0
    split = read_voc(folder, "val")
    truth = {image: split.objects(image) for image in split.ids}
    found = read_detections(tmp_path / "json" / "detections.json", split.ids)
    wanted = json.loads((base / "seed0" / "results.json").read_text())["variants"]["bright"]["map"]
    assert evaluate(found, truth, "voc07").map == wanted
    assert len(list((tmp_path / "voc").glob("comp4_det_test_*.txt"))) == 20
    assert json.loads((tmp_path / "coco" / "annotations.json").read_text())["images"][0]["file_name"] == "2099_000000"
    found = read_detections(tmp_path / "coco" / "detections.json", split.ids)
    assert evaluate(found, truth, "voc07").map == pytest.approx(wanted, abs=1e-12)  # x + width need not be x2 to the last bit
    assert (tmp_path / "yolo" / "classes.txt").read_text().split()[:2] == ["aeroplane", "bicycle"]
    sizes = {image: split.size(image) for image in split.ids}
    found = read_detections(tmp_path / "yolo" / "labels", Target(split.ids, sizes=sizes))
    assert evaluate(found, truth, "voc07").map == pytest.approx(wanted, abs=1e-6)
    labels = json.loads((tmp_path / "fiftyone" / "predictions.json").read_text())["labels"]
    assert {image: len(rows) for image, rows in labels.items()} == {image: len(one.scores) for image, one in found.items()}
    photos = json.loads((tmp_path / "fiftyone" / "photos.json").read_text())
    assert photos == {image: str(split.photo(image)) for image in split.ids}


def test_predictions_are_not_exported_over_files(finished, tmp_path):
    arguments = ["export-predictions", finished[1] / "seed0", "--format", "json", "--out", tmp_path]
    (tmp_path / "detections.json").write_text("mine")
    with pytest.raises(ValueError, match=r"detections\.json: already there; choose another --out"):
        invoke(*arguments)
    assert (tmp_path / "detections.json").read_text() == "mine"
    with pytest.raises(ValueError, match="has no detector 'none'; there are"):
        invoke(*arguments, "--detector", "none")


def test_doctor_tells_what_is_there():
    told = json.loads(invoke("doctor", "--json").output)
    assert told["device"] in ("cpu", "cuda")
    assert set(told["weights"]) >= {"owan-2019", "mobilenet-ssd"}
    assert "versions:" in invoke("doctor").output
