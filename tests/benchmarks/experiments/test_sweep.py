import json
import os
from collections import defaultdict
from dataclasses import replace
from statistics import mean

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from vocbench.benchmarks.cli.main import cli
from vocbench.benchmarks.experiments.run import run
from vocbench.benchmarks.experiments.sweep import OWN_CORRUPTIONS, Degraded, parse_degradations, summary, sweep
from vocbench.benchmarks.results.schema import VariantResults
from vocbench.benchmarks.running import decoded, driver, local_workers, unit
from vocbench.benchmarks.settings import RunSettings
from vocbench.restorer.degradations import corruptions
from vocbench.restorer.degradations.recipes import level_degrade
from vocbench.restorer.images import read_image

from tests.support.browser import CHROMIUM, browser
from tests.support.calls import noting
from tests.support.commands import timeless
from tests.support.results import results_of
from tests.support.voc_folders import make_voc_folder

FAKES = ["--restorer", "bright=tests.support.fakes:Brighten", "--detector", "blob=tests.support.fakes:BlobDetector"]


def invoke(*arguments):
    return CliRunner().invoke(cli, [*map(str, arguments)])


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    base = tmp_path_factory.mktemp("sweep")
    folder = make_voc_folder(base)
    arguments = [
        "sweep",
        "--data",
        folder,
        "--split",
        "val",
        *FAKES,
        "--degradation",
        "noise=10,50",
        "--degradation",
        "jpeg=30",
    ]
    done = invoke(*arguments, "--out", base / "out")
    assert done.exit_code == 0, done.output
    return base / "out", done, arguments


def test_a_sweep_holds_a_run_for_each_level(swept):
    out, done, _ = swept
    content = json.loads((out / "sweep.json").read_text())
    assert content["degradations"]["noise"]["levels"] == [10, 50]
    for step, level in (("noise-10", {"noise": 10.0}), ("noise-50", {"noise": 50.0}), ("jpeg-30", {"jpeg": 30.0})):
        run = json.loads((out / step / "results.json").read_text())
        assert run["recipe"] == level
        assert content["clean"] == run["variants"]["clean"]["map"]
    shown = json.loads((out / "noise-50" / "results.json").read_text())["variants"]["bright"]["map"]
    assert content["degradations"]["noise"]["map"]["bright"][1] == shown
    assert f"| noise | 50 | {100 * content['degradations']['noise']['map']['distorted'][1]:.1f} |" in done.output


def test_what_clean_photos_give_is_computed_once_and_changes_no_number(tmp_path, monkeypatch):
    folder = make_voc_folder(tmp_path, 3)
    models: list[tuple[object, ...]] = []
    seen = defaultdict[str, list[tuple[object, ...]]](list)
    settings = RunSettings(data=str(folder), split="val", recipe="clean", restorers=("bright=tests.support.fakes:Brighten",),
                           detectors=("blob=tests.support.fakes:BlobDetector",), unit=2, do_no_harm=True)  # fmt: skip
    levels = {"noise": [10.0, 50.0], "jpeg": [30.0]}
    run(replace(settings, levels='{"jpeg": 30.0}'), tmp_path / "alone")
    for module, name in ((decoded, "read_image"), (driver, "check_image"), (unit, "detect_photos"), (unit, "restore_photos")):
        monkeypatch.setattr(module, name, noting(seen[name], getattr(module, name)))
    monkeypatch.setattr(decoded.DECODED, "photos", {})
    monkeypatch.setattr(local_workers, "build_models", noting(models, local_workers.build_models))
    sweep(settings, levels, tmp_path / "out")
    assert timeless(tmp_path / "out" / "jpeg-30" / "results.json") == timeless(tmp_path / "alone" / "results.json")
    assert len(models) == 1
    assert {name: len(calls) for name, calls in seen.items()} == {
        "check_image": 3,
        "read_image": 3,
        "detect_photos": 2 * (2 + 2 * 3),  # by unit: clean and clean restored once, the two others at each level
        "restore_photos": 2 * (1 + 1 * 3),
    }


def test_a_decoded_photo_is_the_same_and_the_oldest_is_let_go(tmp_path):
    for i in range(3):
        Image.new("RGB", (8, 8), (40 * i, 7, 250)).save(tmp_path / f"{i}.png")
    kept = decoded.Decoded(2 * 8 * 8 * 3)
    for i in (0, 1, 0, 2, 0):
        assert torch.equal(kept.read(tmp_path / f"{i}.png"), read_image(tmp_path / f"{i}.png"))
    assert [key[0][-5:] for key in kept.photos] == ["2.png", "0.png"]
    assert kept.size == 2 * 8 * 8 * 3
    Image.new("RGB", (9, 9)).save(tmp_path / "0.png")  # changed since
    assert kept.read(tmp_path / "0.png").shape == (3, 9, 9)


def test_means_are_those_of_the_robustness_benchmarks():
    found = {
        "a": Degraded(unit="px", levels=[1, 2], map={"x": [0.2, 0.4]}),
        "b": Degraded(unit="px", levels=[1], map={"x": [0.6]}),
    }
    made = summary(found, results_of({"clean": VariantResults(map=0.9), "distorted": VariantResults(map=0.5)}))
    assert made.mpc["x"] == pytest.approx(mean([0.3, 0.6]))
    assert made.rpc["x"] == pytest.approx(0.5)


def test_a_sweep_is_not_overwritten_and_goes_on(swept):
    out, _, arguments = swept
    before = (out / "sweep.json").read_bytes()
    refused = invoke(*arguments, "--out", out)
    assert isinstance(refused.exception, ValueError)
    assert "continue the sweep with `resume=True`" in str(refused.exception)
    (out / "sweep.json").unlink()
    assert invoke(*arguments, "--out", out, "--resume", "--quiet").exit_code == 0
    assert (out / "sweep.json").read_bytes() == before


def test_a_sweep_that_is_not_there_is_not_gone_on_with(tmp_path):
    given = "--degradation", "noise=10", "--data", make_voc_folder(tmp_path), "--split", "val", *FAKES
    with pytest.raises(FileNotFoundError, match="swpet: no such folder, so there is nothing to resume"):
        raise invoke("sweep", *given, "--out", tmp_path / "swpet", "--resume").exception
    assert not (tmp_path / "swpet").exists()


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_loads_in_a_browser(swept, tmp_path):
    with browser(tmp_path / "profile") as page:
        page.show(swept[0] / "sweep.html")
        assert page.run("document.querySelectorAll('svg.plot').length") == 2
        assert page.told == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "nothing to sweep"),
        (["fog=1"], "'fog' is none of motion, blur"),
        (["noise"], "expected NAME=LEVEL"),
        (["noise=1,x"], "expected NAME=LEVEL"),
        (["noise=1", "noise=2"], "given twice"),
        (["noise=1,1"], "given twice"),
        (["blur=-1"], "a level is a number of at least 0"),
        (["noise=10,nan"], "a level is a number of at least 0"),
    ],
)
def test_levels_that_make_no_sense_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        parse_degradations(given)


def test_without_the_library_the_projects_own_corruptions_are_swept(monkeypatch, caplog):
    monkeypatch.setattr(corruptions, "usable", lambda: ((), ()))
    assert parse_degradations(["corruptions"]) == OWN_CORRUPTIONS
    assert "imagecorruptions cannot be imported" in caplog.text


def test_common_corruptions_are_drawn_from_the_image_alone():
    pytest.importorskip("pkg_resources", reason="imagecorruptions needs it")
    pytest.importorskip("imagecorruptions")
    works, fails = corruptions.usable()
    assert set(parse_degradations(["corruptions"])) == {f"corruption:{name}" for name in works}
    assert "gaussian_noise" in works
    assert not set(works) & set(fails)
    image = torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(0))
    state = str(np.random.get_state())
    for name in works:
        levels = {f"corruption:{name}": 3.0}
        once = level_degrade(image, levels, 0, "a")
        assert once.shape == image.shape
        assert not torch.equal(once, image)
        assert torch.equal(once, level_degrade(image, levels, 0, "a"))
    assert not torch.equal(*(level_degrade(image, {"corruption:gaussian_noise": 3.0}, 0, name) for name in "ab"))
    assert str(np.random.get_state()) == state
    with pytest.raises(ValueError, match="unknown corruption 'rain'"):
        level_degrade(image, {"corruption:rain": 1.0}, 0, "a")
    with pytest.raises(ValueError, match="must be 1 to 5"):
        level_degrade(image, {"corruption:snow": 6.0}, 0, "a")


def test_options_come_from_a_file_and_the_command_line_overrides_them(tmp_path):
    folder = make_voc_folder(tmp_path)
    (tmp_path / "run.yaml").write_text(
        f"data: {folder}\nsplit: val\nrecipe: mild\nseed: 5\ndo-no-harm: true\n"
        "restorer: [identity, bright=tests.support.fakes:Brighten]\ndetector: blob=tests.support.fakes:BlobDetector\n"
    )
    done = invoke("run", "--config", tmp_path / "run.yaml", "--seed", 7, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    settings = json.loads((tmp_path / "out" / "run.json").read_text())["settings"]
    assert (settings["recipe"], settings["seed"], settings["do_no_harm"]) == ("mild", 7, True)
    assert settings["restorers"] == ["identity", "bright=tests.support.fakes:Brighten"]
    assert settings["detectors"] == ["blob=tests.support.fakes:BlobDetector"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recepie: voc", "unknown option 'recepie'"),
        ("- voc", "expected lines OPTION: VALUE"),
        ("a: [", "cannot be read as YAML"),
        ("seed: [1, 2]", "seed takes one value, got a list of 2; give one"),
    ],
)
def test_a_wrong_file_of_options_is_named(tmp_path, text, message):
    (tmp_path / "run.yaml").write_text(text)
    done = invoke("run", "--config", tmp_path / "run.yaml")
    assert done.exit_code == 2
    assert "run.yaml" in done.output
    assert message in done.output


def test_verbose_tells_settings_and_progress(tmp_path):
    folder = make_voc_folder(tmp_path)
    done = invoke("run", "--data", folder, "--split", "val", *FAKES, "--unit", 2, "--verbose", "--out", tmp_path / "out")
    assert "recipe: voc\n" in done.stderr
    assert "4 of 5 photos, " in done.stderr


def test_a_sweep_tells_how_far_all_its_levels_are(tmp_path):
    folder = make_voc_folder(tmp_path)
    given = ["sweep", "--data", folder, "--split", "val", *FAKES, "--unit", 3, "--verbose", "--out", tmp_path / "out"]
    done = invoke(*given, "--degradation", "noise=10,50")
    assert done.exit_code == 0, done.output
    said = [line for line in done.stderr.splitlines() if " of 10 photos, " in line]
    assert said[0].startswith("1 of 10 photos, ")  # three photos, of which one half is done: they are restored
    assert said[0].endswith("(noise-10 bright)")
    assert said[-1].startswith("10 of 10 photos, ")
    assert said[-1].endswith("(noise-50 stored)")
    assert len(said) == 4 + 4  # groups of images restored, units stored
    assert done.stderr.count("results go to") == 1
    done = invoke(*given, "--degradation", "noise=10,50", "--degradation", "blur=1", "--resume")
    said = [line for line in done.stderr.splitlines() if " of 15 photos, " in line]
    assert said[0].startswith("11 of 15 photos, ")  # those that were done before, and of three more one half


def test_results_go_to_an_mlflow_file_store(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    import mlflow

    monkeypatch.setitem(os.environ, "MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    folder = make_voc_folder(tmp_path)
    done = invoke("run", "--data", folder, "--split", "val", *FAKES, "--track", "mlflow", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    kept = mlflow.search_runs(experiment_names=["vocbench"], output_format="list")
    assert len(kept) == 1
    variants = json.loads((tmp_path / "out" / "results.json").read_text())["variants"]
    assert kept[0].data.metrics["bright/map"] == variants["bright"]["map"]
    assert kept[0].data.metrics["bright/ap/dog"] == variants["bright"]["ap"]["dog"]
    assert kept[0].data.params["recipe"] == "voc"
    names = [file.path for file in mlflow.artifacts.list_artifacts(run_id=kept[0].info.run_id)]
    assert {"results.json", "report.html"} <= set(names)


def test_results_go_to_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = make_voc_folder(tmp_path)
    done = invoke("run", "--data", folder, "--split", "val", *FAKES, "--track", "tensorboard", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard"))
    events.Reload()
    variants = json.loads((tmp_path / "out" / "results.json").read_text())["variants"]
    assert events.Scalars("bright/map")[0].value == pytest.approx(variants["bright"]["map"])


def test_a_tracker_that_is_missing_is_told_before_the_run(tmp_path, monkeypatch):
    from vocbench.benchmarks.reporting import trackers

    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    done = invoke("run", "--track", "wandb", "--out", tmp_path / "out")
    assert "pip install wandb" in str(done.exception)
    assert not (tmp_path / "out").exists()
