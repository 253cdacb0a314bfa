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


def test_a_detector_trained_on_a_degraded_copy_stands_beside_restoring(yard, tmp_path):
    """The commands of docs/data.md, from the degraded copy to the leaderboard."""
    data = yard / "yard/data.yaml"
    for split in ("train", "val"):
        degrade = ["data", "degrade", "--data", data, "--recipe", "voc", "--seed", 1, "--split", split]
        assert invoke(*degrade, "--out", tmp_path / "degraded").exit_code == 0
    hard = [f"model={yard / 'cones.pt'}", f"data={tmp_path}/degraded/data.yaml", f"project={tmp_path}/made", "name=hard"]
    yolo("detect", "train", *hard)
    detectors = [f"plain=ultralytics:{yard / 'cones.pt'}", f"hardened=ultralytics:{tmp_path / 'made/hard/weights/last.pt'}"]
    run = ["run", "--data", data, "--split", "val", "--restorer", "median", "--trust-weights", "--out", tmp_path / "run"]
    assert invoke(*run, "--detector", detectors[0], "--detector", detectors[1]).exit_code == 0
    told = invoke("leaderboard", tmp_path / "run", "--out", tmp_path / "board.html", "--json")
    rows = {(row["detector"], row["variant"]): row for row in json.loads(told.stdout)["standings"]}
    variants = ("clean", "distorted", "median")
    assert sorted(rows) == [(name, variant) for name in ("hardened", "plain") for variant in variants]
    weights = json.loads((tmp_path / "run/run.json").read_text())["weights_sha256"]
    assert weights["hardened"] != weights["plain"]
