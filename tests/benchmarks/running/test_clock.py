import pytest
from vocbench.benchmarks.running import clock as module
from vocbench.benchmarks.running.clock import Clock


def test_seconds_add_up_by_stage(monkeypatch):
    ticks = iter([0.0, 2.0, 10.0, 10.5])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(ticks))
    clock = Clock()
    assert clock.time("restore", lambda: "image") == ("image", 2.0)
    assert clock.time("restore", lambda: "image") == ("image", 0.5)
    assert clock.spent == {"prepare": 0.0, "restore": 2.5, "detect": 0.0, "measure": 0.0}


def test_of_several_processes_the_largest_peak_and_the_smallest_batch_count():
    clock = Clock()
    for peak, batch in ((5, 8), (9, 4), (7, 16)):
        clock.note({"peak_memory_bytes": peak})
        clock.note_batches({"owan": batch})
    assert clock.peaks == {"peak_memory_bytes": 9}
    assert clock.batches == {"owan": 4}


def test_what_workers_spent_is_summed_by_known_names_alone():
    clock = Clock()
    clock.note_work(workers_read=1.0, workers_measure=0.5)
    clock.note_work(workers_read=2.0)
    assert clock.worked == {"workers_read": 3.0, "workers_degrade": 0.0, "workers_measure": 0.5}
    with pytest.raises(KeyError, match="workers_rest"):
        clock.note_work(workers_rest=1.0)
