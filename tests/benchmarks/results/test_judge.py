"""A finished run is read and evaluated no more often than it has variants."""

from collections import Counter
from typing import Any

import pytest
from vocbench.benchmarks.experiments.run import run
from vocbench.benchmarks.reporting import figures
from vocbench.benchmarks.reporting.outputs import write_outputs
from vocbench.benchmarks.results import judge
from vocbench.benchmarks.settings import RunSettings
from vocbench.benchmarks.storage import run_folder
from vocbench.benchmarks.storage.store import Store

from tests.support.calls import noting
from tests.support.voc_folders import make_voc_folder

NAMES = ("clean", "distorted", "bright")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A run of three variants."""
    base = tmp_path_factory.mktemp("judge")
    settings = RunSettings(data=str(make_voc_folder(base)), split="val", recipe="voc", examples=0,
                           restorers=("bright=tests.support.fakes:Brighten",),
                           detectors=("blob=tests.support.fakes:BlobDetector",))  # fmt: skip
    return run(settings, base / "out")


def counted(monkeypatch, module, name):
    """Count the calls of a module's function, and keep what each was called with."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(module, name, noting(calls, getattr(module, name)))
    return calls


def test_each_variant_is_read_once_for_results_tables_and_page(out, monkeypatch):
    reads, real = Counter[str](), Store.tables

    def tables(self, columns=None, parts=None, where=None):
        reads[(where or {}).get("variant", "names of all")] += 1
        return real(self, columns, parts, where)

    monkeypatch.setattr(Store, "tables", tables)
    records = counted(monkeypatch, run_folder, "read_record")
    write_outputs(out)
    assert reads == dict.fromkeys([*NAMES, "names of all"], 1)
    assert len(records) == 1


def test_each_variant_is_evaluated_once_on_all_photos(out, monkeypatch):
    whole = counted(monkeypatch, judge, "evaluate")
    parts = counted(monkeypatch, figures, "evaluate")  # of the photos in one range of a level
    write_outputs(out)
    assert len(whole) == len(NAMES)
    assert parts
    assert all(len(found) < 5 for found, *_ in parts)
