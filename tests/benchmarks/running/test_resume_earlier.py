"""A run begun by version 0.1, whose files are written here in its words, goes on or is refused in one line."""

import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from vocbench.benchmarks.experiments.run import run
from vocbench.benchmarks.settings import RunSettings, versions
from vocbench.benchmarks.storage.store import Store

from tests.support.commands import timeless
from tests.support.voc_folders import make_voc_folder

COLUMNS = {
    "unit": pa.int64(), "image": pa.string(), "draw": pa.int64(), "variant": pa.string(), "detector": pa.string(),
    "boxes": pa.list_(pa.float32()), "scores": pa.list_(pa.float32()), "labels": pa.list_(pa.int16()), "psnr": pa.float64(),
    "ssim": pa.float64(), "levels": pa.string(), "note": pa.string(), "error": pa.string(), "seconds_degrade": pa.float64(),
    "seconds_restore": pa.float64(), "seconds_detect": pa.float64(),
}  # fmt: skip


def settings(folder, guard=False):
    return RunSettings(data=str(folder), split="val", recipe="voc", restorers=("flat=tests.support.fakes:Flatten",),
                       detectors=("keen=tests.support.fakes:EasyDetector",), unit=2, examples=0, guard=guard)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A data set and an undisturbed run on it."""
    base = tmp_path_factory.mktemp("whole")
    folder = make_voc_folder(base, 4)
    return folder, run(settings(folder), base / "out")


@pytest.fixture
def begun(whole, tmp_path):
    """What version 0.1 leaves of the same run when it is killed after the first of two units."""
    folder, finished = whole
    out = tmp_path / "out"
    (out / "store").mkdir(parents=True)
    files = {
        f"2099_00000{i}": [
            hashlib.sha256((folder / "JPEGImages" / f"2099_00000{i}.jpg").read_bytes()).hexdigest(),
            hashlib.sha256((folder / "Annotations" / f"2099_00000{i}.xml").read_bytes()).hexdigest(),
        ]
        for i in range(4)
    }
    record = {
        "settings": {
            "data": str(folder), "split": "val", "recipe": "voc", "restorers": ["flat=tests.support.fakes:Flatten"],
            "detectors": ["keen=tests.support.fakes:EasyDetector"], "protocol": "voc07", "seed": 0, "draws": 1, "limit": None,
            "do_no_harm": False, "tile": None, "engine": "auto", "device": "cpu", "batch": 0, "unit": 2, "levels": None,
            "on_error": "stop", "trust_weights": False, "examples": 0,
        },
        "dataset": {"name": "VOC2099", "split": "val", "images": 4,
                    "sha256": hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()},
        "weights_sha256": {"flat": None, "keen": None}, "execution": {}, "id": "0" * 32, "store": None,
        "versions": versions(), "git_commit": None, "hardware": json.loads((finished / "run.json").read_text())["hardware"],
        "started": "2026-01-01T00:00:00+0000",
    }  # fmt: skip
    (out / "run.json").write_text(json.dumps(record, indent=2) + "\n")
    (out / "inventory.json").write_text(json.dumps(files, indent=2) + "\n")
    (out / "timing.json").write_text('{"prepare": 1.0, "restore": 2.0, "detect": 3.0, "measure": 4.0, "wall": 20.0}\n')
    rows = [row for table in Store(finished / "store").tables() for row in table.to_pylist() if row["unit"] == 0]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(list(COLUMNS.items()))), sink, compression="zstd")
    data = sink.getvalue().to_pybytes()
    (out / "store" / f"part-000000-{hashlib.sha256(data).hexdigest()[:16]}.parquet").write_bytes(data)
    return folder, out


def test_it_goes_on_to_the_numbers_of_an_undisturbed_run(begun, whole):
    folder, out = begun
    part = next((out / "store").iterdir()).read_bytes()
    run(settings(folder), out, resume=True)
    assert timeless(out / "results.json") == timeless(whole[1] / "results.json")
    assert json.loads((out / "timing.json").read_text())["wall"] > 20
    assert sum(one["unit"] == 0 for table in Store(out / "store").tables() for one in table.to_pylist()) == 6
    assert pq.read_table(pa.BufferReader(part)).num_rows == 6


def test_it_does_not_go_on_with_a_guard_that_it_did_not_have(begun):
    folder, out = begun
    reason = r"other settings: guard: False before, True now; use the same .*\. Version 0\.1 had no guard: `guard=False` res"
    with pytest.raises(ValueError, match=reason):
        run(settings(folder, guard=True), out, resume=True)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("versions", {"torch": "0.9"}, r"out: changes since the run was begun may affect its results: .*torch: '0.9' before"),
        ("weights_sha256", {"flat": "1" * 64, "keen": None}, r"out: was begun with other weights_sha256: flat: '1"),
        ("dataset", {"name": "VOC2099"}, r"run.json: Object missing required field `images` - at `\$\.dataset`"),
    ],
)
def test_what_differs_is_told_in_one_line(begun, key, value, reason):
    folder, out = begun
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(record | {key: value}))
    with pytest.raises(ValueError, match=reason) as caught:
        run(settings(folder), out, resume=True)
    assert "\n" not in str(caught.value)
