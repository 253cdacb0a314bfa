"""Files from strangers, spoilt at random and by coverage: a reader gives something or names the file, nothing else."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import READERS, attempt
from tests.test_run import ROOT

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


@pytest.mark.parametrize("reader", ["annotation", "split", "detections", "truth", "caffemodel", "checkpoint"])
def test_coverage_finds_nothing(reader, tmp_path):
    pytest.importorskip("atheris")
    command = [
        sys.executable,
        "-m",
        "tests.fuzz",
        reader,
        "-atheris_runs=3000",
        "-max_total_time=20",
        "-seed=1",
        "-max_len=4096",
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done" in done.stderr
