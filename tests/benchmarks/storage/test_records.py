"""A run's files after something else wrote into them: one line that names the file, or the store."""

import io
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from vocbench.benchmarks.cli.main import cli
from vocbench.benchmarks.experiments.run import run
from vocbench.benchmarks.reporting.gallery import changes
from vocbench.benchmarks.reporting.outputs import write_outputs
from vocbench.benchmarks.results.finished import load_run
from vocbench.benchmarks.results.judge import busy
from vocbench.benchmarks.running.clock import Clock
from vocbench.benchmarks.running.driver import _add_timing
from vocbench.benchmarks.settings import RunSettings
from vocbench.benchmarks.storage.records import read_record
from vocbench.benchmarks.storage.row import Row
from vocbench.benchmarks.storage.store import Store

from tests.support.voc_folders import make_voc_folder


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    base = tmp_path_factory.mktemp("records")
    settings = RunSettings(
        data=str(make_voc_folder(base)),
        split="val",
        recipe="voc",
        examples=0,
        restorers=("flat=tests.support.fakes:Flatten",),
        detectors=("keen=tests.support.fakes:EasyDetector",),
    )
    return run(settings, base / "out")


@pytest.fixture
def finished(original, tmp_path):
    return shutil.copytree(original, tmp_path / "out")


def spoil(path, *keys, **given):
    """Set a value inside a JSON file, or take it out where none is given."""
    content = json.loads(path.read_text())
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    if given:
        inner[keys[-1]] = given["value"]
    else:
        del inner[keys[-1]]
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("keys", "given", "message"),
    [
        (("settings",), {}, "missing required field `settings`"),
        (("settings", "seed"), {"value": "0"}, r"Expected `int`, got `str` - at `\$\.settings\.seed`"),
        (("settings", "data"), {}, r"missing required field `data` - at `\$\.settings`"),
        (("settings", "restorers"), {"value": "owan"}, r"Expected `array`, got `str` - at `\$\.settings\.restorers`"),
        (("settings", "restorers"), {"value": [1]}, r"Expected `str`, got `int` - at `\$\.settings\.restorers\[0\]`"),
        (("settings", "colour"), {"value": 1}, "there is no setting 'colour'"),
        (("settings", "protocol"), {"value": "voc99"}, "unknown protocol 'voc99'"),
        (("settings", "levels"), {"value": "[1]"}, r"the setting 'levels': Expected `object`, got `array`, got \[1\]"),
        (("settings", "draws"), {"value": 0}, "`draws` and `unit` must be at least 1"),
        (("settings", "tile"), {"value": "x"}, "tiling 'x'"),
        (("dataset", "images"), {"value": None}, r"Expected `int`, got `null` - at `\$\.dataset\.images`"),
        (("weights_sha256", "flat"), {"value": 3}, r"Expected `str \| null`, got `int` - at `\$\.weights_sha256\[\.\.\.\]`"),
    ],
)
def test_a_malformed_record_is_named(finished, keys, given, message):
    path = finished / "run.json"
    spoil(path, *keys, **given)
    for read in (read_record, lambda path: load_run(path.parent)):
        with pytest.raises(ValueError, match=message) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 5000, "\ud800"])
def test_a_record_that_is_no_json_object_is_named(finished, text):
    (finished / "run.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match=r"out/run\.json: "):
        load_run(finished)


def test_other_files_of_a_run_are_named_too(finished):
    for name in ("inventory.json", "timing.json"):
        kept = (finished / name).read_text()
        (finished / name).write_text("[]")
        with pytest.raises(ValueError, match=rf"{name}: Expected `object`, got `array`"):
            write_outputs(finished)
        (finished / name).write_text(kept)
    path = next((finished / "gallery").glob("*/change.json"))
    spoil(path, "lost", value="many")
    with pytest.raises(ValueError, match=r"change.json: Expected `int`, got `str` - at `\$\.lost`"):
        changes(finished / "gallery")


def test_a_run_that_cannot_be_read_is_listed_and_stops_nothing(original, tmp_path):
    for name in ("a", "b", "c", "d"):
        shutil.copytree(original, tmp_path / name)
    (tmp_path / "a" / "run.json").write_text("{")
    spoil(tmp_path / "b" / "results.json", "variants", "flat", "delta_map_ci95", value=[0.5])
    (tmp_path / "d" / "results.json").unlink()
    done = CliRunner().invoke(cli, ["runs", "--root", str(tmp_path)], catch_exceptions=False)
    lines = done.output.splitlines()
    assert lines[0].startswith(f"{tmp_path}/a  unreadable: {tmp_path}/a/run.json: not readable as JSON")
    assert lines[1].startswith(
        f"{tmp_path}/b  unreadable: {tmp_path}/b/results.json: Expected `array` of length 2 - at `$.variants"
    )
    assert lines[2].startswith(f"{tmp_path}/c  VOC2099 val, 5 photos, voc, voc07: clean")
    assert "restoring with flat" in lines[3]
    assert lines[4].endswith("voc07: not finished")
    assert len(lines) == 5
    told = json.loads(CliRunner().invoke(cli, ["runs", "--root", str(tmp_path), "--json"], catch_exceptions=False).output)
    assert [one.get("finished", "unreadable") for one in told] == ["unreadable", "unreadable", True, False]


def rewrite(folder, change):
    """Write the store's one part again, its rows changed, with a sound checksum."""
    store = Store(folder / "store")
    rows = [row for table in store.tables() for row in table.to_pylist()]
    store.clear([])
    store.write(0, [Row(**row) for row in change(rows)])


def on_first(**given):
    """Change the first row of the restored ones."""
    return lambda rows: [row | given if i == 10 else row for i, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (on_first(variant="other"), "holds the variant 'other'; the run has clean, distorted, flat"),
        (on_first(detector="other"), "holds the detector 'other'; the run has keen"),
        (on_first(image="x"), "holds predictions of 'x', which is not among the run's photos"),
        (on_first(image=None), "holds predictions of None"),
        (on_first(labels=[20]), "holds labels outside 0..19: 11 to 20"),
        (on_first(labels=[-1]), "holds labels outside 0..19"),
        (on_first(boxes=[1.0, 2.0, 3.0]), "2099_000000: there must be 4 box values, 1 score and 1 label per detection"),
        (on_first(scores=[]), "there must be 4 box values, 1 score and 1 label per detection"),
        (on_first(scores=[np.nan]), "holds scores that are not finite"),
        (on_first(boxes=[1.0, 2.0, np.inf, 4.0]), "holds boxes that are not finite"),
        (on_first(boxes=None), "holds a row without boxes"),
        (on_first(draw=None), "holds a row without draw"),
        (on_first(note="no json"), "a value of the column 'note' is not JSON: 'no json'"),
        (lambda rows: rows + rows[10:11], "flat: image '2099_000000#0' comes twice"),
        (lambda rows: rows[:10] + rows[11:], "flat: 4 rows, where the run's photos give 5"),
        (
            lambda rows: [row | {"levels": "[1]"} for row in rows],
            "a value of the column 'levels': Expected `object`, got `array`, got",
        ),
    ],
)
def test_a_store_with_other_content_is_named(finished, change, message):
    rewrite(finished, change)
    with pytest.raises(ValueError, match=message) as caught:
        write_outputs(finished)
    assert str(caught.value).startswith(f"{finished}/store")


def test_a_part_that_is_no_table_of_a_run_is_named(finished):
    store = Store(finished / "store")
    store.clear([])
    name = store._put("000000", b"PAR1 and whatever")
    with pytest.raises(ValueError, match=rf"{name}: not a part of a run"):
        list(store.tables())
    store.clear([])
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": [1, 2]}), buffer)
    store._put("000000", buffer.getvalue())
    with pytest.raises(ValueError, match="the column 'image' is int64, not string"):
        list(store.tables(["image"]))


def test_a_sittings_peak_memory_is_kept_and_the_largest_shown(finished):
    first = busy(finished)
    assert 5e7 < (first["peak_memory_bytes"] or 0) < 1e11
    clock = Clock()
    clock.note({"peak_memory_bytes": 10**12, "peak_cuda_bytes": 5})  # another process
    clock.note({"peak_memory_bytes": 7})
    _add_timing(finished, clock, 1.0)
    told = json.loads((finished / "timing.json").read_text())
    assert told["peak_memory_bytes"][1] == 10**12
    assert len(told["peak_memory_bytes"]) == 2
    assert busy(finished)["peak_memory_bytes"] == 10**12
    assert busy(finished)["peak_cuda_bytes"] == 5
    assert (busy(finished)["wall_seconds"] or 0) > (first["wall_seconds"] or 0)
