"""Files from strangers, spoilt at random and by coverage: a reader gives something or names the file, nothing else."""

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.commands import PYTHONPATH, ROOT
from tests.support.fuzz import READERS, ROWS, attempt

SPOIL = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("reader", [name for name in READERS if name != "store"])
def test_the_seeds_are_read(reader, tmp_path):
    for seed in READERS[reader][1]:
        (tmp_path / "input.bin").write_bytes(seed)
        READERS[reader][0](tmp_path / "input.bin")


ODD = [b"\xff" * 9, b"\0" * 4, b"nan", b"1e999", b"-1", b"../x", b"<!DOCTYPE a>", b"&x;", b"[" * 3000, b"null"]


@st.composite
def spoilt(draw, seed: bytes) -> bytes:
    """A valid file with pieces replaced, removed, doubled, or put in."""
    data = bytearray(seed)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, min(16, len(data) - at)))
        twice = bytes(data[at : at + length]) * 2
        data[at : at + length] = draw(st.one_of(st.binary(max_size=12), st.just(twice), st.sampled_from(ODD)))
    return bytes(data)


@pytest.mark.parametrize("reader", READERS)
def test_spoilt_files_are_named(reader):
    seeds = READERS[reader][1]

    @SPOIL
    @given(st.one_of(*[spoilt(seed) for seed in seeds], st.binary(max_size=200)))
    def check(data):
        with tempfile.TemporaryDirectory() as folder:
            attempt(reader, data, Path(folder))

    check()


STRANGE = st.sampled_from([None, "", "x", "a", "clean", "[1]", [], [0.5], [1, 2, 3], [1, 2, 3, 4], [20], [-1], [None], 1, -1])


@SPOIL
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(list(ROWS[0])), STRANGE), max_size=3), st.integers(-2, 2))
def test_spoilt_rows_of_a_store_are_named(edits, more):
    """Values replaced, and rows doubled or taken away, under a sound checksum."""
    rows = [dict(row) for row in ROWS]
    for place, key, value in edits:
        rows[place][key] = value
    rows = rows + rows[:more] if more >= 0 else rows[:more]
    with tempfile.TemporaryDirectory() as folder:
        attempt("rows", json.dumps(rows).encode(), Path(folder))


@pytest.mark.parametrize("reader", ["annotation", "split", "detections", "truth", "caffemodel", "checkpoint", "record"])
def test_coverage_finds_nothing(reader, tmp_path):
    pytest.importorskip("atheris")
    # Linux hands the peak memory of the process that starts it on to the fuzzer, which would count it as its own.
    inherited = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    command = [
        sys.executable,
        "-m",
        "tests.support.fuzz",
        reader,
        "-atheris_runs=3000",
        "-max_total_time=20",
        f"-rss_limit_mb={2048 + inherited}",
        "-seed=1",
        "-max_len=4096",
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120, env=os.environ | {"PYTHONPATH": PYTHONPATH}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done" in done.stderr
