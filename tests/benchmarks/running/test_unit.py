"""A unit's work, shared between the driver and its workers."""

import itertools
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from vocbench.benchmarks.experiments.run import run as run_benchmark
from vocbench.benchmarks.running import prepared as prepared_module
from vocbench.benchmarks.running.clock import Clock
from vocbench.benchmarks.running.local_workers import Here
from vocbench.benchmarks.running.meter import Meter
from vocbench.benchmarks.running.prepared import Compared, Prepared, measure, prepare
from vocbench.benchmarks.running.unit import Models, build_models, compute
from vocbench.benchmarks.settings import RunSettings
from vocbench.benchmarks.variants import on_clean
from vocbench.detection.datasets.voc import read_voc
from vocbench.pipeline.chain import RestorerError
from vocbench.restorer.quality import psnr, ssim

from tests.support.calls import noting
from tests.support.commands import PYTHONPATH, ROOT
from tests.support.fakes import BlobDetector, Brighten, NotANumber, OpenGate, SmallDetector


@pytest.fixture
def settings(voc_folder):
    return RunSettings(data=str(voc_folder), split="val", recipe="voc", restorers=("bright=tests.support.fakes:Brighten",),
                       detectors=("blob=tests.support.fakes:BlobDetector",), unit=2)  # fmt: skip


def prepared(settings):
    split = read_voc(settings.data, "val")
    return prepare(settings, [(image, split.photo(image)) for image in split.ids[:2]])


def test_a_photo_that_came_back_as_it_was_has_100_db():
    image = torch.rand(3, 9, 9).numpy()
    assert measure([Compared(image, [image])]).values == [[(100.0, pytest.approx(1))]]


def test_a_photo_between_processes_takes_no_shared_memory(settings):
    """A tensor would be sent as the name of its shared memory, and keep a file descriptor."""
    item = prepared(settings)[0]
    data = bytes(multiprocessing.reduction.ForkingPickler.dumps(item))
    assert len(data) > (item.clean.nbytes + item.degraded.nbytes) / 4  # as 8 bits a channel
    again = pickle.loads(data)
    assert isinstance(again, Prepared)
    assert torch.equal(again.degraded, item.degraded)


def test_restored_images_are_told_a_few_at_a_time_and_a_failure_at_once(settings):
    told = []
    items = prepared(settings) * 3
    models = Models({"bright": Brighten()}, {"blob": BlobDetector()})

    def step(variant, images):
        told.append((variant, images))

    with ThreadPoolExecutor(1) as pool:
        compute(settings, 0, items, models, Clock(), pool, step)
        assert told == [("bright", 4), ("bright", 2)]
        with pytest.raises(RestorerError, match="failed on 2099_000000"):
            compute(settings, 0, items, replace(models, restorers={"bad": NotANumber()}), Clock(), pool, step)
    assert len(told) == 2


def test_a_meter_counts_each_restored_image_and_ends_at_the_photos(settings):
    told = []
    meter = Meter(settings, [["a", "b"], ["c"]], lambda photos, variant: told.append((photos, variant)))
    meter.step(0, "bright", 1)
    meter.step(0, "bright", 1)
    meter.finish(0)
    meter.finish(1)  # on another machine, which tells nothing in between
    assert told == [(0.5, "bright"), (0.5, "bright"), (1.0, "stored"), (1.0, "stored")]


def test_nothing_is_measured_on_the_drivers_thread(settings, monkeypatch):
    where, real = [], prepared_module.qualities

    def measured_qualities(*images):
        where.append(threading.current_thread())
        return real(*images)

    monkeypatch.setattr(prepared_module, "qualities", measured_qualities)
    with ThreadPoolExecutor(1) as pool:
        items = pool.submit(prepared, settings).result()
        models = Models({"bright": Brighten()}, {"blob": BlobDetector()})
        rows = compute(settings, 0, items, models, Clock(), pool).rows.finish(Clock())
    assert len(where) == 2
    assert threading.current_thread() not in where
    measured = {row.variant: row.psnr for row in rows if row.image == items[0].image}
    assert measured["clean"] is None
    brightened = (items[0].degraded * 0.5 + 0.3).clamp(0, 1)
    for variant, image in (("distorted", items[0].degraded), ("bright", brightened)):
        assert measured[variant] == pytest.approx(psnr(image[None], items[0].clean[None]).item(), abs=1e-12)


def test_each_draw_and_restored_image_has_its_own_quality(settings):
    """Measured together, each against the photo it was made of: compared with every one measured alone."""
    settings = replace(settings, draws=2, do_no_harm=True)
    items = prepared(settings)
    with ThreadPoolExecutor(1) as pool:
        computed = compute(settings, 0, items, Models({"bright": Brighten()}, {"blob": BlobDetector()}), Clock(), pool)
        rows = computed.rows.finish(Clock())
    told = {(row.variant, row.image, row.draw): (row.psnr, row.ssim) for row in rows}
    assert len(told) == 2 + 4 + 4 + 2
    images = {"distorted": lambda item: item.degraded, "bright": lambda item: (item.degraded * 0.5 + 0.3).clamp(0, 1),
              "clean+bright": lambda item: (item.clean * 0.5 + 0.3).clamp(0, 1)}  # fmt: skip
    for (variant, image, draw), found in told.items():
        item = next(one for one in items if (one.image, one.draw) == (image, draw))
        if variant == "clean":
            assert found == (None, None)
            continue
        pair = images[variant](item)[None], item.clean[None]
        assert found == (pytest.approx(psnr(*pair).item(), abs=1e-12), pytest.approx(ssim(*pair).item(), abs=1e-12))


def test_a_driver_goes_on_to_the_next_unit_before_the_last_is_measured(settings):
    """While a measurement is held up, the rows of other units are computed."""
    held = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        items = prepared(settings)
        pool.submit(held.wait, 30)
        computed = [compute(settings, unit, items, build_models(settings), Clock(), pool).rows for unit in range(2)]
        assert not any(one.is_measured for one in computed)
        held.set()
        restored = [row for one in computed for row in one.finish(Clock()) if row.variant == "bright"]
        assert len(restored) == 2 * len(items)
        assert None not in [row.psnr for row in restored]


FORSAKEN = """
import os, signal, sys, time
from vocbench.benchmarks.running.local_workers import Here, _Local
from vocbench.benchmarks.running.unit import Equipment, Models

if __name__ == "__main__":
    pool = _Local(Models({}, {}), Equipment({}, {}, ""), 1)._executor()
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(60)
"""


def test_workers_go_when_their_driver_is_killed(tmp_path):
    (tmp_path / "driver.py").write_text(FORSAKEN)
    driver = subprocess.Popen(
        [sys.executable, str(tmp_path / "driver.py")], stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": PYTHONPATH}, cwd=ROOT,
    )  # fmt: skip
    assert driver.stdout is not None
    worker = int(driver.stdout.readline())
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    driver.stdout.close()
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlived its driver")


def test_a_run_with_workers_needs_few_file_descriptors(settings, tmp_path):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_now = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 40, limits[1]))
    try:
        run_benchmark(settings, tmp_path / "out", runner=Here(1))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert (tmp_path / "out" / "results.json").is_file()


def test_at_the_detectors_scale_each_detector_gets_what_it_sees_and_boxes_are_the_photos(settings, voc_folder):
    settings = replace(settings, restore_at="detector", do_no_harm=True)
    photos = [("2099_000000", voc_folder / "JPEGImages" / "2099_000000.jpg")]
    items = prepare(settings, photos)
    height, width = items[0].clean.shape[1:]
    models = Models({"bright": Brighten()}, {"small": SmallDetector(), "again": SmallDetector()})
    with ThreadPoolExecutor(1) as pool:
        computed = compute(settings, 0, items, models, Clock(), pool)
        rows = computed.rows.finish(Clock())
    told = {(row.variant, row.detector): row for row in rows}
    assert len(told) == 2 * 4
    for (variant, _), row in told.items():
        restored = "bright" in variant
        assert row.boxes == pytest.approx([0, 0, width / 2, height / 2])
        assert row.scores == pytest.approx([0.04 if restored else width / 1000])  # the width that the detector got
        assert bool(row.seconds_restore) == restored
    decibels = told["bright", "small"].psnr
    assert decibels is not None
    assert decibels == told["bright", "again"].psnr
    assert decibels < 100
    (shown,) = next(one for one in computed.variants if one.name == "bright").images
    assert shown.shape == items[0].clean.shape
    assert computed.variants[2].seen["small"] is computed.variants[2].seen["again"]  # equal sizes are restored once


def test_at_the_detectors_scale_a_gate_decides_on_the_photo_of_its_own_size(settings, voc_folder):
    """Shrunk to 40 x 30 pixels, of which it can tell nothing, it would restore the photo."""
    settings = replace(settings, restore_at="detector", do_no_harm=True)
    items = prepare(settings, [("2099_000000", voc_folder / "JPEGImages" / "2099_000000.jpg")])
    models = Models({"gated": OpenGate(), "bright": OpenGate().restorer}, {"small": SmallDetector()})
    with ThreadPoolExecutor(1) as pool:
        rows = compute(settings, 0, items, models, Clock(), pool).rows.finish(Clock())
    told = {row.variant: row for row in rows}
    width = items[0].clean.shape[2]
    for variant, unrestored in (("gated", "distorted"), (on_clean("gated"), "clean")):
        assert told[variant].note == '"passed"'
        assert told[variant].scores == told[unrestored].scores == pytest.approx([width / 1000])  # the width that was seen
        assert told[variant].boxes == told[unrestored].boxes
    assert told["gated"].psnr == told["distorted"].psnr
    assert told["bright"].scores == pytest.approx([0.04])


def test_a_photo_of_8_bits_travels_as_such_and_comes_back_the_same():
    """What the degraded one is here: more than 8 bits."""
    clean = torch.arange(3 * 8 * 8).reshape(3, 8, 8).float().div(255)
    item = Prepared("a", 0, clean, clean * 0.999, {}, 0.0)
    state = item.__getstate__()
    assert (state["clean"].dtype, state["degraded"].dtype) == (np.uint8, np.float32)
    back = pickle.loads(pickle.dumps(item))
    assert torch.equal(back.clean, item.clean)
    assert torch.equal(back.degraded, item.degraded)
    (travelled,), (here,) = (measure([Compared(one.array("clean"), [one.array("degraded")])]).values for one in (back, item))
    assert travelled == here
    assert back.array("clean").dtype == np.uint8  # and goes on so to where it is measured


def test_the_shares_of_what_workers_do_are_in_the_results(settings, tmp_path, monkeypatch):
    """On a clock of which every look takes a second: reading, degrading and measuring a photo are one second each."""
    ticks = itertools.count()
    monkeypatch.setattr(prepared_module, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    run_benchmark(settings, tmp_path / "out", runner=Here(0))
    told = json.loads((tmp_path / "out" / "timing.json").read_text())
    assert told["workers_read"] == told["workers_degrade"] == 5
    assert told["workers_measure"] == 3  # all images of a unit of two photos at once
    shares = json.loads((tmp_path / "out" / "results.json").read_text())["busy"]
    for name in ("prepare", "restore", "detect", "measure", "workers_read", "workers_degrade", "workers_measure"):
        assert shares[name] == pytest.approx(told[name] / told["wall"])


@pytest.mark.parametrize("detectors", [1, 2])
def test_each_photo_is_measured_once_with_all_its_variants(settings, tmp_path, monkeypatch, detectors):
    """Of five photos those distorted and those of two restorers, whichever detectors look at them."""
    counted: list[tuple[Any, ...]] = []
    monkeypatch.setattr(prepared_module, "qualities", noting(counted, prepared_module.qualities))
    named = (*settings.detectors, "again=tests.support.fakes:BlobDetector")[:detectors]
    run_benchmark(replace(settings, restorers=(*settings.restorers, "identity"), detectors=named), tmp_path / "out")
    assert [len(images) for images, _ in counted] == [3] * 5
