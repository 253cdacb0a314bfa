"""What a resumed run must have in common with the one that was begun."""

import json
import logging

import pytest
from msgspec.structs import replace
from vocbench.benchmarks.experiments.run import run as run_benchmark
from vocbench.benchmarks.running.clock import Clock
from vocbench.benchmarks.running.record import changes, note_batches
from vocbench.benchmarks.running.unit import Models
from vocbench.benchmarks.settings import RunSettings, json_bytes
from vocbench.benchmarks.storage.records import Execution, Photos, RunRecord
from vocbench.pipeline.models import Built
from vocbench.restorer.tiling import Tiled, Tiling

from tests.support.commands import timeless
from tests.support.voc_folders import make_voc_folder

NOW = RunRecord(
    settings=RunSettings("sample", "all", "voc", ("identity",), ("d",)),
    dataset=Photos(name="sample", images=8, sha256="a" * 64),
    weights_sha256={},
    execution={},
    started="2026-01-01T00:00:00+0000",
    versions={"torch": "2.7", "python": "3.11"},
    code_sha256="a",
    git_commit="c",
    sources_sha256={},
    hardware="Xeon, 4 cores",
)


def settings(folder, restorer="tests.support.fakes:Brighten"):
    return RunSettings(data=str(folder), split="val", recipe="voc", restorers=(f"bright={restorer}",), unit=2, examples=0,
                       detectors=("tests.support.fakes:BlobDetector",))  # fmt: skip


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run to be resumed."""
    base = tmp_path_factory.mktemp("begun")
    folder = make_voc_folder(base, 2)
    return folder, run_benchmark(settings(folder), base / "out")


def rewrite(out, **given):
    path = out / "run.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | given))
    return record


def test_a_resume_with_other_versions_needs_to_be_accepted(begun):
    folder, out = begun
    versions = json.loads((out / "run.json").read_text())["versions"]
    rewrite(out, versions=versions | {"torch": "0.1"})
    with pytest.raises(ValueError, match=r"torch: '0.1' before, '.*' now; resume anyway with `accept_changes=True`"):
        run_benchmark(settings(folder), out, resume=True)
    run_benchmark(settings(folder), out, resume=True, accept_changes=True)
    record = json.loads((out / "run.json").read_text())
    assert record["versions"] == versions
    assert record["accepted"][0]["changes"] == [f"torch: '0.1' before, {versions['torch']!r} now"]
    run_benchmark(settings(folder), out, resume=True)  # which is now as it was


def test_a_resume_with_another_python_is_told(begun, caplog):
    folder, out = begun
    versions = json.loads((out / "run.json").read_text())["versions"]
    rewrite(out, versions=versions | {"python": "3.1"})
    with caplog.at_level(logging.WARNING):
        run_benchmark(settings(folder), out, resume=True)
    assert "changed since the run was begun: python: '3.1' before" in caplog.text
    rewrite(out, versions=versions)


def test_a_record_of_an_earlier_version_tells_less_and_is_resumed(begun):
    folder, out = begun
    path = out / "run.json"
    before = path.read_text()
    record = json.loads(before)
    for name in ("versions", "code_sha256", "sources_sha256", "hardware", "git_commit"):
        del record[name]
    path.write_text(json.dumps(record))
    results = timeless(out / "results.json")
    (out / "results.json").unlink()
    run_benchmark(settings(folder), out, resume=True)
    assert timeless(out / "results.json") == results
    path.write_text(before)


def test_a_resume_with_a_changed_model_of_ones_own_is_refused(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    source = tmp_path / "a_model_of_ones_own.py"
    source.write_text("from tests.support.fakes import Brighten\n")
    folder, mine = make_voc_folder(tmp_path, 2), "a_model_of_ones_own:Brighten"
    out = run_benchmark(settings(folder, mine), tmp_path / "out")
    run_benchmark(settings(folder, mine), out, resume=True)
    source.write_text("from tests.support.fakes import Brighten  # brighter\n")
    with pytest.raises(
        ValueError, match="changes since the run was begun may affect its results: the source of bright; resume"
    ):
        run_benchmark(settings(folder, mine), out, resume=True)


@pytest.mark.parametrize(
    ("then", "harmful", "harmless"),
    [
        ({}, [], []),
        ({"hardware": "Xeon, 8 cores"}, [], ["hardware: 'Xeon, 8 cores' before, 'Xeon, 4 cores' now"]),
        ({"hardware": "2 workers on Ray, Xeon, 8 cores"}, [],
         ["hardware: '2 workers on Ray, Xeon, 8 cores' before, 'Xeon, 4 cores' now"]),
        ({"hardware": "EPYC, 4 cores"}, ["hardware: 'EPYC, 4 cores' before, 'Xeon, 4 cores' now"], []),
        ({"code_sha256": "b"}, ["vocbench's code"], []),
        ({"code_sha256": "b", "git_commit": "d"}, ["vocbench's code (git_commit: 'd' before, 'c' now)"], []),
        ({"git_commit": "d"}, [], []),
        ({"git_commit": "d", "code_sha256": None}, ["vocbench's code (git_commit: 'd' before, 'c' now)"], []),
        ({"git_commit": None, "code_sha256": None}, [], []),
        ({"versions": {"torch": "2.7"}}, [], []),
        ({"versions": {"openvino": "1"}}, ["openvino: '1' before, None now"], []),
    ],
)  # fmt: skip
def test_what_may_change_a_number_is_told_from_what_may_not(then, harmful, harmless):
    assert changes(NOW, replace(NOW, **then)) == (harmful, harmless)


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_a_run_killed_while_it_wrote_its_inventory_goes_on(begun, tmp_path, share):
    folder, finished = begun
    written = json_bytes(json.loads((finished / "inventory.json").read_text()))
    out = tmp_path / "out"
    out.mkdir()
    (out / "inventory.json").write_bytes(written[: int(share * len(written))])
    (out / ".inventory.json.0123456789abcdef").write_bytes(written[:20])
    (out / ".run.json.0123456789abcdef").write_bytes(b"{")
    run_benchmark(settings(folder), out, resume=True)
    assert json.loads((out / "inventory.json").read_text()) == json.loads(written)
    assert not [path.name for path in out.iterdir() if path.name.startswith(".") and path.name != ".lock"]


def test_a_halved_batch_is_recorded(tmp_path):
    tiled = Tiled(lambda tiles: tiles, Tiling(32, 32), 8)
    models = Models({}, {}, {"owan": Built(tiled, None, tiled)})
    record = replace(NOW, execution={"owan": Execution(engine="torch", tile="32:32", batch=8)})
    clock = Clock()
    clock.note_batches(models.batches())
    note_batches(tmp_path, record, clock.batches)
    assert not (tmp_path / "run.json").exists()
    tiled.batch = 2  # as it is set where memory runs out
    clock.note_batches(models.batches())
    note_batches(tmp_path, record, clock.batches)
    written = json.loads((tmp_path / "run.json").read_text())
    assert written["execution"]["owan"] == {"engine": "torch", "tile": "32:32", "batch": 8, "halved_to": 2}
