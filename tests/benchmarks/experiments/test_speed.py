"""The table of a measured speed, from seconds that are made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from vocbench.benchmarks.experiments.speed import BASE, Case, Measured, table, to_markdown
from vocbench.benchmarks.settings import to_json
from vocbench.restorer.tiling import Tiling

CASE = Case(Path("owan.safetensors"), Tiling(63, 63), (500, 375), "cpu", 16, Path("cache"))
FOUND = [Measured(BASE, [4.0, 2.0, 3.0], 0.0, 500_000_000), Measured("native", [1.0, 1.5, 0.5], 2e-6, None)]


def test_engines_are_ranked_by_the_median_and_told_against_the_plain_network():
    content = table(FOUND, CASE)
    assert [(row.engine, row.milliseconds, row.ratio) for row in content.rows] == [("native", 1000, 3), (BASE, 3000, 1)]
    assert content.rows[0].spread == (500, 1500)
    assert content.rows[0].photos_per_second == 1
    assert content.rounds == 3


def test_the_table_shows_what_the_json_holds():
    content = table(FOUND, CASE)
    told = json.loads(to_json(content))
    assert (told["photo"], told["tiling"], told["batch"], told["device"]) == ([500, 375], "63:63", 16, "cpu")
    assert told["rows"][1] == {"engine": BASE, "milliseconds": 3000.0, "spread": [2000.0, 4000.0], "ratio": 1.0,
                               "photos_per_second": pytest.approx(1 / 3), "max_error": 0.0,
                               "peak_memory_bytes": 500_000_000}  # fmt: skip
    lines = to_markdown(content).splitlines()
    assert lines[0].startswith("One photo of 500x375, in tiles of 63:63, at most 16 at a time, float32, ")
    assert lines[-2:] == ["| native | 1000 | 500 to 1500 | 1.00 | 3.00 | 2.0e-06 | – |",
                          f"| {BASE} | 3000 | 2000 to 4000 | 0.33 | 1.00 | 0.0e+00 | 500 |"]  # fmt: skip
