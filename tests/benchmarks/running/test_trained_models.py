"""Detectors that ultralytics trains on a data set's own classes, from training to the report."""

import json

import pytest
from click.testing import CliRunner
from vocbench.benchmarks.cli.main import cli

from tests.support.forms import as_yolo, draw_objects, draw_photos

pytest.importorskip("ultralytics")

COLOURS = {"traffic cone": (240, 20, 20), "duck": (20, 20, 240)}
QUICK = {"epochs": 1, "imgsz": 64, "batch": 2, "workers": 0, "plots": False, "val": False, "amp": False, "device": "cpu"}


def invoke(*arguments):
    return CliRunner().invoke(cli, [str(one) for one in arguments], catch_exceptions=False)


def yolo(*arguments):
    """Ultralytics' own command, made quick: one epoch of small pictures."""
    from ultralytics.cfg import entrypoint

    quick = [f"{name}={value}" for name, value in (QUICK | {"verbose": False}).items()]
    entrypoint(" ".join(["yolo", *map(str, arguments), *quick]))


@pytest.fixture(scope="module")
def yard(tmp_path_factory):
    """A folder with the data set `yard` and `cones.pt`, trained on it."""
    base = tmp_path_factory.mktemp("yard")
    photos = draw_objects(6, ["traffic cone", "duck"])
    draw_photos(base / "pictures", photos, COLOURS)
    data = as_yolo(base / "yard", photos, base / "pictures") / "data.yaml"
    yolo("detect", "train", "model=yolov8n.yaml", f"data={data}", f"project={base}/made", "name=plain", "seed=0")
    (base / "made/plain/weights/last.pt").rename(base / "cones.pt")
    return base


def test_a_model_trained_on_own_classes_goes_from_run_to_report(yard, tmp_path):
    data = ["--data", yard / "yard/data.yaml", "--split", "val", "--recipe", "mild", "--restorer", "identity"]
    detector = ["--detector", f"cones=ultralytics:{yard / 'cones.pt'}", "--trust-weights"]
    assert invoke("run", *data, *detector, "--out", tmp_path / "run").exit_code == 0
    told = json.loads((tmp_path / "run/results.json").read_text())
    assert list(told["variants"]["clean"]["ap"]) == ["duck", "traffic cone"]
    assert all(value is not None for value in told["variants"]["clean"]["ap"].values())
    assert "traffic cone" in (tmp_path / "run/report.html").read_text()
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["classes"] == ["duck", "traffic cone"]
    assert record["lacking"] == {}
