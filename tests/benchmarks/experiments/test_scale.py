import numpy as np
import pytest
from click.testing import CliRunner
from vocbench.benchmarks.experiments import scale as scales
from vocbench.benchmarks.experiments.scale import DETECTOR, STEPS, Scale, load, main, write
from vocbench.benchmarks.results.finished import predictions
from vocbench.detection.average_precision import evaluate


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    scale = Scale(6000, 1, tmp_path_factory.mktemp("scale"))
    write(scale)
    return scale


def test_the_synthetic_store_is_that_of_a_finished_run(small):
    assert len(small.store.files.names()) == 3  # 8,192 rows are 2,728 photos of three variants
    run = load(small)
    assert len(run.truth) == 6000
    assert run.variants == ["clean", "distorted", "restorer0"]
    found, truth, images = predictions(run, "distorted", DETECTOR)
    assert images == list(run.truth)
    assert len(truth.boxes) == len(run.truth.boxes)
    assert 2.5 < len(found.scores) / 6000 < 3.5


def test_average_precision_from_the_store_is_that_of_single_images(small):
    found, truth, _ = predictions(load(small), "distorted", DETECTOR)
    assert evaluate(dict(found), dict(truth), "voc07").ap == evaluate(found, truth, "voc07").ap


def test_objects_are_the_same_every_time():
    names = [str(i) for i in range(50)]
    assert np.array_equal(scales.objects(3, names).boxes, scales.objects(3, names).boxes)


@pytest.mark.parametrize("step", [name for name in STEPS if name != "write"])
def test_every_step_tells_its_seconds_and_memory(small, step):
    given = ["--images", 6000, "--out", small.folder, "--step", step]
    done = CliRunner().invoke(main, [str(one) for one in given], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.output.startswith(f"{step}: ")
    assert "MiB; " in done.output


def test_steps_are_measured_in_processes_of_their_own():
    done = CliRunner().invoke(main, ["--images", "100", "--steps", "names"], catch_exceptions=False)
    assert "0 names" in done.output
