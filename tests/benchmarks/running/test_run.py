"""The run as its users meet it: from the command line, killed and resumed; bad input is in `test_bad_input`."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from PIL import Image
from vocbench.benchmarks.experiments.run import run as run_benchmark
from vocbench.benchmarks.settings import RunSettings
from vocbench.benchmarks.storage.store import Store
from vocbench.detection.datasets.voc import read_voc

from tests.support.commands import COMMAND, FAKES, PYTHONPATH, ROOT, run, timeless, vocbench
from tests.support.voc_folders import make_voc_folder, write_annotation


def fake_settings(folder):
    """The settings of a run within this process, of fakes."""
    return RunSettings(data=str(folder), split="val", recipe="voc", restorers=("tests.support.fakes:Brighten",),
                       detectors=("tests.support.fakes:BlobDetector",), unit=2)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One finished run that several tests look at."""
    base = tmp_path_factory.mktemp("finished")
    folder = make_voc_folder(base)
    done = run(folder, base / "out", "--do-no-harm", "--restorer", "identity", "--draws", 2)
    assert done.returncode == 0, done.stderr
    return folder, base / "out", done


def test_a_run_writes_everything(finished):
    _, out, done = finished
    for name in ("run.json", "results.json", "table.csv", "table.md", "inventory.json", "timing.json"):
        assert (out / name).is_file()
    assert len(list((out / "examples").glob("*.png"))) == 5
    assert len(list((out / "store").glob("part-*.parquet"))) == 3
    assert "| clean |" in done.stdout


def test_results_have_the_promised_form(finished):
    content = json.loads((finished[1] / "results.json").read_text())
    assert content["protocol"] == "voc07"
    assert content["iou"] == 0.5
    assert content["dataset"] == {"name": "VOC2099", "split": "val", "images": 5, "objects": 5, "skip": 0}
    assert content["recipe"] == "voc"
    assert content["detector"] == {"name": "blob", "weights_sha256": None}
    assert list(content["variants"]) == ["clean", "distorted", "bright", "identity", "clean+bright", "clean+identity"]
    assert content["classes"] == {"counted": ["dog"], "all": 1, "least_photos": 5}
    assert [(one["first"], one["second"]) for one in content["comparisons"]] == [("bright", "identity")]
    assert content["variants"]["clean+identity"]["psnr"] == 100  # untouched photos count
    for name, variant in content["variants"].items():
        assert variant["recovered"] is None or "clean" not in name
        assert set(variant) == {"map", "map_ci95", "map_all", "ap", "delta_map", "delta_map_ci95", "delta_clean",
                                "delta_clean_ci95", "recovered", "recovered_ci95", "psnr", "ssim", "seconds"}  # fmt: skip
        assert variant["ap"]["cat"] is None
        assert set(variant["seconds"]) == {"degrade", "restore", "detect"}


def test_a_run_on_a_range_of_the_split_is_on_those_photos(voc_folder, tmp_path):
    done = run(voc_folder, tmp_path / "out", "--skip", 1, "--limit", 3)
    assert done.returncode == 0, done.stderr
    assert list(json.loads((tmp_path / "out" / "inventory.json").read_text())) == [f"2099_00000{n}" for n in (1, 2, 3)]
    assert "VOC2099 val, 3 photos after the first 1, " in done.stdout
    assert "skip: 1 before, 2 now" in run(voc_folder, tmp_path / "out", "--skip", 2, "--limit", 3, "--resume").stderr


def test_a_run_begun_before_a_setting_was_there_goes_on_with_its_default(voc_folder, tmp_path):

    run_benchmark(fake_settings(voc_folder), tmp_path / "out")
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    del record["settings"]["skip"]
    (tmp_path / "out" / "run.json").write_text(json.dumps(record))
    results = timeless(tmp_path / "out" / "results.json")
    (tmp_path / "out" / "results.json").unlink()
    run_benchmark(fake_settings(voc_folder), tmp_path / "out", resume=True)
    assert timeless(tmp_path / "out" / "results.json") == results


def test_identity_equals_distorted_exactly(finished):
    variants = json.loads((finished[1] / "results.json").read_text())["variants"]
    for key in ("map", "map_ci95", "ap", "psnr", "ssim"):
        assert variants["identity"][key] == variants["distorted"][key]
    assert variants["identity"]["delta_map_ci95"] == [0, 0]
    assert variants["identity"]["delta_map"] == 0


def test_the_record_tells_what_is_needed_to_repeat(finished):
    record = json.loads((finished[1] / "run.json").read_text())
    assert record["settings"]["seed"] == 0
    assert record["settings"]["draws"] == 2
    assert set(record) >= {"versions", "git_commit", "weights_sha256", "dataset", "hardware"}
    assert len(record["dataset"]["sha256"]) == 64
    assert record["execution"] == {}


def test_the_seconds_of_a_variant_are_those_it_took(finished):
    variants = json.loads((finished[1] / "results.json").read_text())["variants"]
    assert variants["clean"]["seconds"] == {"degrade": 0, "restore": 0, "detect": variants["clean"]["seconds"]["detect"]}
    assert variants["clean+bright"]["seconds"]["degrade"] == 0 < variants["bright"]["seconds"]["degrade"]


def test_levels_are_recorded_for_every_draw(finished):
    table = Store(finished[1] / "store").read()
    rows = table[table["variant"] == "distorted"]
    assert len(rows) == 10
    levels = [json.loads(text) for text in rows["levels"]]
    assert all(set(level) == {"blur", "noise", "jpeg"} for level in levels)
    assert len({level["blur"] for level in levels}) == 10


def test_workers_and_resuming_change_no_number(finished, tmp_path):
    folder, out, _ = finished
    more = ["--do-no-harm", "--restorer", "identity", "--draws", 2]
    assert run(folder, tmp_path / "w", "--workers", 2, *more).returncode == 0
    assert timeless(tmp_path / "w" / "results.json") == timeless(out / "results.json")
    part = sorted((tmp_path / "w" / "store").glob("part-*"))[1]
    part.write_bytes(part.read_bytes()[:-7])  # a damaged part is computed again
    done = run(folder, tmp_path / "w", "--resume", *more)
    assert done.returncode == 0, done.stderr
    assert timeless(tmp_path / "w" / "results.json") == timeless(out / "results.json")
    assert len(list((tmp_path / "w" / "store").iterdir())) == 3


def test_a_killed_run_goes_on_to_the_same_bytes(voc_folder, tmp_path):
    slow = ["--restorer", "slow=tests.support.fakes:Slow", "--unit", 1]
    assert run(voc_folder, tmp_path / "whole", *slow).returncode == 0
    command = [*COMMAND, "run", "--data", voc_folder, "--split", "val", "--unit", 2, *FAKES, "--out", tmp_path / "cut", *slow]
    variables = os.environ | {"PYTHONPATH": PYTHONPATH, "OMP_NUM_THREADS": "1", "FAKE_SECONDS": "0.7"}
    process = subprocess.Popen(
        [str(a) for a in command], env=variables, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    store = tmp_path / "cut" / "store"
    for _ in range(600):
        if store.is_dir() and len(list(store.glob("part-*"))) >= 2:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(list(store.glob("part-*")))
    assert 2 <= done < 5
    assert not (tmp_path / "cut" / "results.json").exists()
    resumed = run(voc_folder, tmp_path / "cut", *slow, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert timeless(tmp_path / "cut" / "results.json") == timeless(tmp_path / "whole" / "results.json")


def test_a_resume_with_other_settings_is_refused_with_the_difference(finished):
    folder, out, _ = finished
    done = run(folder, out, "--do-no-harm", "--restorer", "identity", "--draws", 2, "--seed", 1, "--resume")
    assert done.returncode == 2
    assert "seed: 0 before, 1 now" in done.stderr
    assert "already holds a run" in run(folder, out).stderr


def test_a_photo_changed_since_is_refused_by_name(voc_folder, tmp_path):
    assert run(voc_folder, tmp_path / "out").returncode == 0
    Image.new("RGB", (90, 70)).save(voc_folder / "JPEGImages" / "2099_000003.jpg")
    done = run(voc_folder, tmp_path / "out", "--resume")
    assert done.returncode == 2
    assert "the photo or annotation of 2099_000003 changed" in done.stderr


def test_a_store_of_another_run_is_refused_and_left_alone(voc_folder, tmp_path):
    assert run(voc_folder, tmp_path / "one", "--store", tmp_path / "kept").returncode == 0
    before = {path: path.read_bytes() for path in (tmp_path / "kept").iterdir()}
    (tmp_path / "two").mkdir()
    for more in ((), ("--resume",)):
        done = run(voc_folder, tmp_path / "two", "--store", tmp_path / "kept", "--seed", 5, *more)
        assert done.returncode == 2
        assert f"{tmp_path}/kept: holds the predictions of another run" in done.stderr
    assert before == {path: path.read_bytes() for path in (tmp_path / "kept").iterdir()}


def test_a_resumed_run_remembers_its_store(voc_folder, tmp_path):
    assert run(voc_folder, tmp_path / "out", "--store", os.path.relpath(tmp_path / "kept", ROOT)).returncode == 0
    before = timeless(tmp_path / "out" / "results.json")
    next((tmp_path / "kept").glob("part-*")).unlink()
    done = run(voc_folder, tmp_path / "out", "--resume", "--store", tmp_path / "elsewhere")
    assert done.returncode == 2
    assert f"its predictions are in {tmp_path}/kept, not in {tmp_path}/elsewhere" in done.stderr
    done = run(voc_folder, tmp_path / "out", "--resume")
    assert done.returncode == 0, done.stderr
    assert timeless(tmp_path / "out" / "results.json") == before
    assert len(list((tmp_path / "kept").glob("part-*"))) == 3
    assert not (tmp_path / "out" / "store").exists()


def test_two_runs_into_one_folder_are_refused(voc_folder, tmp_path):
    import fcntl

    (tmp_path / "out").mkdir()
    with open(tmp_path / "out" / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = run(voc_folder, tmp_path / "out")
    assert done.returncode == 2
    assert "another run is writing here" in done.stderr


def test_an_interrupted_run_says_how_to_go_on(voc_folder, tmp_path):
    command = [
        *COMMAND,
        "run",
        "--data",
        voc_folder,
        "--split",
        "val",
        "--unit",
        1,
        "--restorer",
        "slow=tests.support.fakes:Slow",
        "--detector",
        "tests.support.fakes:BlobDetector",
        "--out",
        tmp_path / "out",
    ]
    variables = os.environ | {"PYTHONPATH": PYTHONPATH, "FAKE_SECONDS": "5"}
    process = subprocess.Popen(
        [str(a) for a in command], env=variables, cwd=ROOT, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job may hand on that it ignores it
    )  # fmt: skip
    for _ in range(600):
        if (tmp_path / "out" / "store").is_dir():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in told
    assert (tmp_path / "out" / "run.json").is_file()


def test_a_restorer_that_fails_stops_by_name_or_is_skipped(voc_folder, tmp_path):
    restorer = ["--restorer", "picky=tests.support.fakes:PickyNaN"]
    stopped = run(voc_folder, tmp_path / "stop", *restorer)
    assert stopped.returncode == 2
    assert "the restorer 'picky' failed on 2099_" in stopped.stderr
    skipped = run(voc_folder, tmp_path / "skip", *restorer, "--on-error", "skip")
    assert skipped.returncode == 0, skipped.stderr
    assert "more left out, as a restorer failed on them)" in skipped.stdout
    content = json.loads((tmp_path / "skip" / "results.json").read_text())
    assert 1 <= len(content["skipped"]) < 5
    assert content["dataset"]["images"] == 5 - len(content["skipped"])
    assert not {path.name for path in (tmp_path / "skip" / "gallery").glob("*")} & set(content["skipped"])
    rest = [i for i in read_voc(voc_folder, "val").ids if i not in content["skipped"]]
    (voc_folder / "ImageSets" / "Main" / "rest.txt").write_text("\n".join(rest))
    alone = run(voc_folder, tmp_path / "rest", *restorer, "--split", "rest")
    assert alone.returncode == 0, alone.stderr
    others = json.loads((tmp_path / "rest" / "results.json").read_text())["variants"]
    for name, variant in content["variants"].items():
        assert {k: v for k, v in variant.items() if k != "seconds"} == {k: v for k, v in others[name].items() if k != "seconds"}


def test_a_detector_in_torchvisions_form_gives_the_same_results(voc_folder, tmp_path):
    done = run(voc_folder, tmp_path / "out", "--detector", "mapping=tests.support.fakes:MappingDetector")
    assert done.returncode == 0, done.stderr
    tables = [json.loads((tmp_path / "out" / name).read_text()) for name in ("results.json", "results-mapping.json")]
    assert tables[0]["variants"]["bright"]["ap"] == tables[1]["variants"]["bright"]["ap"]


def test_a_full_disk_keeps_what_was_done(voc_folder, tmp_path, monkeypatch):
    """A store that runs out of space tells so, keeps its parts, and the run goes on afterwards."""

    monkeypatch.syspath_prepend(str(ROOT))
    settings = fake_settings(voc_folder)
    real, calls = os.fsync, []

    def full(handle):
        if "/store/" in os.readlink(f"/proc/self/fd/{handle}"):
            calls.append(handle)
            if len(calls) == 2:
                raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"could not be written .No space left on device.; free some space and continue"):
        run_benchmark(settings, tmp_path / "out")
    assert [path.name[:11] for path in (tmp_path / "out" / "store").iterdir()] == ["part-000000"]
    run_benchmark(settings, tmp_path / "out", resume=True)
    assert (tmp_path / "out" / "results.json").is_file()


def test_a_picture_that_does_not_fit_on_the_disk_is_not_left_half_written(voc_folder, tmp_path, monkeypatch):
    from vocbench.restorer import files

    def full(self, data):
        with open(self, "wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"p.png: could not be written .No space left on device.; free some space"):
        files.write_whole(tmp_path / "p.png", b"x" * 100)
    assert not list(tmp_path.glob("*p.png*"))


def test_a_run_killed_before_its_record_was_written_begins_again(finished, tmp_path):
    folder, out, _ = finished
    (tmp_path / "out").mkdir()
    shutil.copy(out / "inventory.json", tmp_path / "out")
    assert run(folder, tmp_path / "out", "--resume").returncode == 0


def test_an_inventory_that_is_not_this_runs_is_left_alone(voc_folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "inventory.json").write_text('{"cellar": ["wine", "cheese"]}')
    done = run(voc_folder, tmp_path / "out")
    assert "not empty (inventory.json) and holds no run" in done.stderr
    assert (tmp_path / "out" / "inventory.json").read_text() == '{"cellar": ["wine", "cheese"]}'


def test_a_folder_that_is_not_empty_is_left_alone(voc_folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    done = run(voc_folder, tmp_path / "out")
    assert "not empty (thesis.tex) and holds no run" in done.stderr
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {"thesis.tex": "years of work"}
    (tmp_path / "out" / ".lock").write_text("of an editor")
    assert run(voc_folder, tmp_path / "out").returncode == 2
    assert (tmp_path / "out" / ".lock").read_text() == "of an editor"


def test_files_of_others_in_the_stores_folder_are_left_alone(voc_folder, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "film.mkv.part").write_text("half a film")
    (tmp_path / "kept" / f".{'0' * 32}.part").write_text("of a worker that was killed")
    assert run(voc_folder, tmp_path / "out", "--store", tmp_path / "kept").returncode == 0
    assert (tmp_path / "kept" / "film.mkv.part").read_text() == "half a film"
    assert not (tmp_path / "kept" / f".{'0' * 32}.part").exists()


def test_resuming_needs_the_folder(voc_folder, tmp_path):
    done = vocbench("run", "--data", voc_folder, "--split", "val", *FAKES, "--resume")
    assert done.returncode == 2
    assert "--resume needs --out, the folder of the run to resume" in done.stderr
    (tmp_path / "first").mkdir()
    done = run(voc_folder, tmp_path / "frist", "--resume")
    assert done.returncode == 2
    assert done.stderr == (
        f"Error: {tmp_path}/frist: no such folder, so there is nothing to resume; did you mean '{tmp_path}/first'?; "
        "correct --out, or start without --resume\n"
    )
    with pytest.raises(FileNotFoundError, match="frist: no such folder"):
        run_benchmark(fake_settings(voc_folder), tmp_path / "frist", resume=True)
    assert not (tmp_path / "frist").exists()


def test_a_resume_with_another_engine_is_refused(voc_folder, tmp_path):
    assert run(voc_folder, tmp_path / "out").returncode == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    record["execution"] = {"bright": {"engine": "triton", "tile": "128:96", "batch": 16}}
    (tmp_path / "out" / "run.json").write_text(json.dumps(record))
    done = run(voc_folder, tmp_path / "out", "--resume")
    assert done.returncode == 2
    assert "was begun with another engine: bright: 'triton' before, None now" in done.stderr


def test_a_killed_worker_process_is_told_in_one_line(voc_folder, tmp_path, monkeypatch):
    from vocbench.benchmarks.running import local_workers

    from tests.support.fakes import dying_prepare

    monkeypatch.syspath_prepend(str(ROOT))
    settings = fake_settings(voc_folder)
    with monkeypatch.context() as patched:
        patched.setattr(local_workers, "prepare", dying_prepare)
        with pytest.raises(
            OSError, match=r"a worker died at the photos 2099_000000, 2099_000001 .*; continue with `resume=True`"
        ):
            run_benchmark(settings, tmp_path / "out", runner=local_workers.Here(1))
    run_benchmark(settings, tmp_path / "out", resume=True)


def test_objects_of_other_classes_are_left_out_of_a_run_and_told(voc_folder, tmp_path):
    write_annotation(voc_folder / "Annotations" / "2099_000002.xml", objects=[("dragon", (1, 1, 5, 5), 0)])
    done = run(voc_folder, tmp_path / "out")
    assert done.returncode == 0
    assert "1 object of other classes left out: dragon (1)" in done.stderr
