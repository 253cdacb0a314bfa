"""Runs on Ray: the numbers of one process, whatever workers, machines and faults there are."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest
from vocbench.benchmarks.reporting.examples import Examples
from vocbench.benchmarks.running import clock, ray_workers
from vocbench.benchmarks.running.ray_workers import OnRay, Unit, Worker, _RayCrew, _share
from vocbench.benchmarks.running.unit import Equipment
from vocbench.benchmarks.settings import RunSettings, file_digest
from vocbench.benchmarks.storage.run_folder import RunFolder
from vocbench.benchmarks.storage.store import Store
from vocbench.detection.detections import VOC_CLASSES

from tests.support.commands import COMMAND, FAKES, PYTHONPATH, ROOT, complaints, timeless, vocbench
from tests.support.voc_folders import make_voc_folder

ray = pytest.importorskip("ray")
QUIET = {"RAY_DISABLE_IMPORT_WARNING": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
KEEN = [
    "--detector",
    "keen=tests.support.fakes:KeenDetector",
    "--restorer",
    "flat=tests.support.fakes:Flatten",
]  # something is lost
FOUR = ["--runner", "ray", "--workers", 4]


def command(folder, out, *more):
    return ["run", "--data", folder, "--split", "val", "--unit", 1, *KEEN, *FAKES, "--out", out, *more]


def run(folder, out, *more, **environment):
    return vocbench(*command(folder, out, *more), environment=QUIET | environment)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A data folder and what one process makes of it."""
    base = tmp_path_factory.mktemp("alone")
    folder = make_voc_folder(base, photos=12)
    done = run(folder, base / "out", "--do-no-harm")
    assert done.returncode == 0, done.stderr
    return folder, base / "out"


def assert_same(one, two):
    """Two finished runs tell the same, byte for byte, show the same pictures, and have one part for each unit."""
    assert timeless(one / "results.json") == timeless(two / "results.json")
    for folder in ("examples", "gallery"):
        a, b = ({p.relative_to(base): p.read_bytes() for p in (base / folder).rglob("*.*")} for base in (one, two))
        assert a == b, folder
        assert a, folder
    assert len(list((one / "store").iterdir())) == len(list((two / "store").iterdir())) == 12


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster of two nodes with one core each on this machine."""
    from ray.cluster_utils import Cluster

    os.environ.update(QUIET | {"PYTHONPATH": PYTHONPATH, "OMP_NUM_THREADS": "1"})
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made
    made.shutdown()


def test_four_workers_give_what_one_process_gives(alone, tmp_path):
    folder, out = alone
    done = run(folder, tmp_path / "four", "--do-no-harm", *FOUR)
    assert done.returncode == 0, done.stderr
    assert_same(tmp_path / "four", out)
    assert json.loads((tmp_path / "four" / "run.json").read_text())["hardware"].startswith("4 workers on Ray")


def test_two_nodes_give_what_one_process_gives(alone, cluster, tmp_path):
    folder, out = alone
    done = run(folder, tmp_path / "two", "--do-no-harm", "--runner", "ray", "--ray-address", cluster.address)
    assert done.returncode == 0, done.stderr
    assert_same(tmp_path / "two", out)
    assert json.loads((tmp_path / "two" / "run.json").read_text())["hardware"].startswith("2 workers on Ray")


def test_a_sweep_on_two_workers_gives_what_one_process_gives(alone, tmp_path):
    for name, more in (("one", []), ("two", ["--runner", "ray", "--workers", 2])):
        chosen = ["--split", "val", "--unit", 4, "--degradation", "noise=20,60", *FAKES]
        done = vocbench("sweep", "--data", alone[0], *chosen, *more, "--out", tmp_path / name, environment=QUIET)
        assert done.returncode == 0, done.stderr
    sweeps = [json.loads((tmp_path / name / "sweep.json").read_text()) for name in ("one", "two")]
    assert sweeps[0]["degradations"] == sweeps[1]["degradations"]
    for level in ("noise-20", "noise-60"):
        assert timeless(tmp_path / "two" / level / "results.json") == timeless(tmp_path / "one" / level / "results.json")
        assert json.loads((tmp_path / "two" / level / "run.json").read_text())["hardware"].startswith("2 workers on Ray")


def slowly(folder, out, *more, seconds="0.5"):
    """A run that takes its time, in the background."""
    slow = command(folder, out, "--restorer", "slow=tests.support.fakes:Slow", *more)
    variables = os.environ | QUIET | {"PYTHONPATH": PYTHONPATH, "OMP_NUM_THREADS": "1", "FAKE_SECONDS": seconds}
    return subprocess.Popen([*COMMAND, *map(str, slow)], env=variables, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def wait_for_parts(out, count):
    for _ in range(1200):
        if (out / "store").is_dir() and len(list((out / "store").glob("part-*"))) >= count:
            return
        time.sleep(0.1)
    raise AssertionError("no parts came")


@pytest.fixture(scope="module")
def alone_slow(alone, tmp_path_factory):
    """What one process makes of it with the slow restorer."""
    out = tmp_path_factory.mktemp("slow") / "out"
    done = run(alone[0], out, "--restorer", "slow=tests.support.fakes:Slow", FAKE_SECONDS="0")
    assert done.returncode == 0, done.stderr
    return out


def test_a_lost_node_loses_nothing(alone, alone_slow, cluster, tmp_path):
    third = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    process = slowly(alone[0], tmp_path / "out", "--runner", "ray", "--ray-address", cluster.address)
    wait_for_parts(tmp_path / "out", 3)
    cluster.remove_node(third, allow_graceful=False)
    _, told = process.communicate(timeout=180)
    assert process.returncode == 0, told
    assert_same(tmp_path / "out", alone_slow)


def test_a_killed_driver_goes_on_to_the_same_bytes(alone, alone_slow, tmp_path):
    process = slowly(alone[0], tmp_path / "out", *FOUR)
    wait_for_parts(tmp_path / "out", 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out" / "results.json").exists()
    resumed = run(alone[0], tmp_path / "out", "--restorer", "slow=tests.support.fakes:Slow", "--resume", FAKE_SECONDS="0")
    assert resumed.returncode == 0, resumed.stderr
    assert timeless(tmp_path / "out" / "results.json") == timeless(alone_slow / "results.json")
    assert len(list((tmp_path / "out" / "store").iterdir())) == 12


def test_a_killed_worker_loses_nothing(alone, tmp_path):
    folder, out = alone
    deadly = ["--restorer", "bright=tests.support.fakes:Deadly", "--detector", "blob=tests.support.fakes:BlobDetector"]
    arguments = ["run", "--data", folder, "--split", "val", "--unit", 1, *KEEN, *deadly, "--do-no-harm", "--runner", "ray"]
    mark = tmp_path / "mark"
    done = vocbench(*arguments, "--workers", 2, "--out", tmp_path / "out", environment=QUIET | {"FAKE_MARK": str(mark)})
    assert done.returncode == 0, done.stderr
    assert mark.exists()
    assert_same(tmp_path / "out", out)


def test_photos_that_kill_every_worker_are_named(alone, tmp_path):
    done = run(
        alone[0], tmp_path / "out", "--restorer", "deadly=tests.support.fakes:AlwaysDeadly", "--runner", "ray", "--workers", 1
    )
    assert done.returncode == 2
    assert "workers on Ray died at the photos 2099_00000" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_restorer_that_fails_on_a_worker_is_told_in_one_line(alone, tmp_path):
    done = run(
        alone[0], tmp_path / "out", "--restorer", "picky=tests.support.fakes:PickyNaN", "--runner", "ray", "--workers", 1
    )
    assert done.returncode == 2
    assert "the restorer 'picky' failed on 2099_" in done.stderr
    assert len(complaints(done)) == 1


def test_a_worker_refuses_a_photo_that_differs_from_the_drivers(alone, tmp_path, monkeypatch):
    settings = RunSettings(str(alone[0]), "val", "voc", ("tests.support.fakes:Flatten",), ("tests.support.fakes:EasyDetector",))
    worker = Worker(settings, 1)
    worker.begin()
    photo = worker.data.photo("2099_000003")
    artist = Examples(RunFolder(tmp_path), {}, VOC_CLASSES)
    unit = Unit(0, ["2099_000003"], [file_digest(photo)], str(tmp_path / "store"), artist, VOC_CLASSES)
    ticks = count()
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    pictures, told = worker.compute(unit)
    assert [shot.made.image for shot in pictures.shots] == ["2099_000003"]
    spent = {stage: told.spent[stage] for stage in ("prepare", "restore", "detect", "measure")}
    assert spent == {"prepare": 0, "restore": 1, "detect": 3, "measure": 1}  # calls that this clock ticked for
    assert told.peaks["peak_memory_bytes"] > 5e7
    with pytest.raises(ValueError, match=r"2099_000003.jpg: differs from the photo on the driver's machine"):
        worker.compute(replace(unit, digests=["0" * 64]))


class FakeRay:
    """Ray with one worker, which answers where `started`, and builds its models for longer than any limit."""

    exceptions = ray.exceptions

    def __init__(self, started):
        self.started = started
        self.begin, self.answer = (SimpleNamespace(remote=lambda name=name: name) for name in ("begin", "answer"))

    def remote(self, *given):
        return self

    def options(self, **given):
        return self

    def wait(self, references, timeout=None):
        done = [one for one in references if (self.started and one == "answer") or timeout is None]
        return done, [one for one in references if one not in done]

    def get(self, reference):
        return Equipment({}, {}, "a GPU")


@pytest.mark.parametrize("error", [Exception, ConnectionError, ValueError, RuntimeError])
@pytest.mark.parametrize(
    ("address", "message"),
    [
        (None, r"Ray did not start on this machine \(The node timed out\); try again when it is less busy, or start Ray with"),
        ("far:1", r"`address=far:1`: no Ray there \(The node timed out\); start it with `ray start`"),
    ],
)
def test_a_ray_that_does_not_start_is_told_and_let_go(monkeypatch, address, message, error):
    """Where it takes more than 30 s to start, Ray raises a bare Exception."""
    told = []

    def init(**given):
        raise error("The node\ntimed out")

    fake = SimpleNamespace(is_initialized=lambda: False, init=init, shutdown=lambda: told.append("shut down"))
    monkeypatch.setattr(ray_workers, "_import_ray", lambda: fake)
    settings = RunSettings("sample", "all", "voc", (), ())
    with pytest.raises(OSError, match=message), OnRay(address).open(settings):
        pass
    assert told == ["shut down"]


def test_the_limit_of_starting_is_without_the_time_that_building_models_takes():
    settings = RunSettings("sample", "all", "voc", (), ())
    crew = _RayCrew(FakeRay(started=True), settings, OnRay(workers=1, cpus=1.0, gpus=0.0))
    crew.start()
    assert crew.equipment.hardware == "1 workers on Ray, a GPU"
    with pytest.raises(OSError, match="no worker started on Ray within 300 s"):
        _RayCrew(FakeRay(started=False), settings, OnRay(workers=1, cpus=1.0, gpus=0.0)).start()


def node(cpus, gpus=0.0):
    return {"Resources": {"CPU": float(cpus), "GPU": float(gpus)}}


@pytest.mark.parametrize(
    ("asked", "device", "nodes", "shape"),
    [
        (OnRay(), "cpu", [node(2)], (1, 2, 0)),
        (OnRay(), "cpu", [node(16), node(8)], (6, 4, 0)),
        (OnRay(workers=4), "cpu", [node(2)], (4, 0.5, 0)),
        (OnRay(workers=2), "cpu", [node(16)], (2, 8, 0)),
        (OnRay(), "cuda", [node(16, 4), node(8, 2)], (6, 1, 1)),
        (OnRay(gpus=0.5), "cuda", [node(16, 4)], (8, 1, 0.5)),
    ],
)
def test_workers_divide_the_machines(asked, device, nodes, shape):
    made = _share(asked, RunSettings("sample", "all", "voc", (), (), device=device), nodes)
    assert (made.workers, made.cpus, made.gpus) == shape


def test_a_worker_that_fits_nowhere_is_refused():
    settings = RunSettings("sample", "all", "voc", (), (), device="cuda")
    with pytest.raises(ValueError, match="no node of the Ray cluster has the 1 GPUs and 1 cores"):
        _share(OnRay(), settings, [node(8)])


def test_options_of_ray_need_ray(alone, tmp_path):
    done = run(alone[0], tmp_path / "out", "--gpus-per-worker", 1)
    assert done.returncode == 2
    assert "--gpus-per-worker needs --runner ray" in done.stderr


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """An S3-compatible server on this machine with one bucket; the address of a folder in it."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("bench")
    yield "s3://bench/run"
    server.stop()


def test_workers_write_to_an_object_store(alone, bucket, tmp_path):
    folder, out = alone
    store = Store(bucket)
    stored = ["--do-no-harm", "--store", bucket]
    done = run(folder, tmp_path / "out", *stored, "--runner", "ray", "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert timeless(tmp_path / "out" / "results.json") == timeless(out / "results.json")
    assert len(store.parts()) == 12
    name = store.parts()[5]
    store.files.write(name, store.files.read(name)[:-9])  # a damaged part is computed again
    assert len(store.parts()) == 11
    again = run(folder, tmp_path / "out", *stored, "--resume")
    assert again.returncode == 0, again.stderr
    assert timeless(tmp_path / "out" / "results.json") == timeless(out / "results.json")
    assert len([name for name in store.files.names() if name.startswith("part-")]) == 12


def test_a_store_that_cannot_be_opened_is_named(alone, tmp_path):
    done = run(alone[0], tmp_path / "out", "--store", "nowhere://x/y")
    assert done.returncode == 2
    assert "--store nowhere://x/y: nowhere cannot be opened" in done.stderr


def test_without_ray_the_extra_is_named(alone, tmp_path):
    code = f"import sys; sys.modules['ray'] = None; sys.argv[1:] = {list(map(str, command(alone[0], tmp_path / 'o', *FOUR)))!r}"
    code += "; from vocbench.benchmarks.cli.main import main; main()"
    variables = os.environ | {"PYTHONPATH": PYTHONPATH}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert "--runner ray needs Ray; pip install '.[ray]'" in done.stderr
