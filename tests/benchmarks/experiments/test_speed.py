"""What is timed and in which order, and the table of a measured speed, from seconds that are made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from vocbench.benchmarks.experiments import speed
from vocbench.benchmarks.experiments.speed import BASE, Case, Measured, table, to_markdown
from vocbench.benchmarks.settings import to_json
from vocbench.pipeline import load_restorer, restore
from vocbench.pipeline.names import DEFAULT_RESTORER
from vocbench.pipeline.weights import find
from vocbench.restorer.engines import select
from vocbench.restorer.tiling import Tiling
from vocbench.restorer.weight_files import read_facts

CASE = Case("owan", Path("owan.safetensors"), Tiling(63, 63), (500, 375), "cpu", 16, Path("cache"))
FOUND = [
    Measured(BASE, [4.0, 2.0, 3.0], [7.0, 5.0, 6.0], 0.0, 500_000_000),
    Measured("native", [1.0, 1.5, 0.5], [2.0, 0.9, 1.1], 2e-6, None),
]


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
                               "processor_milliseconds": 6000.0,
                               "photos_per_second": pytest.approx(1 / 3), "max_error": 0.0,
                               "peak_memory_bytes": 500_000_000}  # fmt: skip
    lines = to_markdown(content).splitlines()
    assert lines[0].startswith("One photo of 500x375, in tiles of 63:63, at most 16 at a time, float32, ")
    assert lines[-2:] == ["| native | 1000 | 500 to 1500 | 1100 | 1.00 | 3.00 | 2.0e-06 | – |",
                          f"| {BASE} | 3000 | 2000 to 4000 | 6000 | 0.33 | 1.00 | 0.0e+00 | 500 |"]  # fmt: skip


class Counting(nn.Module):
    """An engine that tells the shapes that it is given, and makes every pixel black."""

    any_number = True

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def forward(self, images):
        self.seen.append(tuple(images.shape))
        return images * 0


@pytest.mark.parametrize("tile", [None, "32:24"])
def test_the_row_of_the_default_engine_is_the_librarys_call(monkeypatch, tmp_path, tile):
    """The same network is given the same tiles as often, and its results go through the same guard."""
    seen: dict[str, list] = {"auto": [], "native": []}
    for name, shapes in seen.items():
        monkeypatch.setitem(select.ENGINES, name, lambda network, placement, shapes=shapes: Counting(shapes))
    monkeypatch.setitem(speed.BUILDERS, "native", select.ENGINES["native"])
    monkeypatch.setattr(speed, "peak_memory", lambda case, name: None)
    weights = find(DEFAULT_RESTORER)
    tiling = Tiling.parse(tile or read_facts(weights).tiling)
    batch = speed.default_batch(weights, tiling, "cpu")
    case = Case(DEFAULT_RESTORER, weights, tiling, (70, 50), "cpu", batch, tmp_path)
    calls = [case.build(name) for name in ("native", speed.LIBRARY)]
    photo = 0.6 + 0.1 * torch.rand(3, 50, 70)
    first, second = (call(photo) for call in calls)
    assert seen["auto"] == seen["native"] != []
    assert torch.equal(first, second)
    assert torch.equal(first, restore(photo, load_restorer(device="cpu", tile=tile)))
    assert first.min() > 0.3  # the guard brought back what was darkened


def test_every_candidate_is_timed_as_often_and_in_turns(monkeypatch, tmp_path):
    order: list[str] = []

    def build(case, name):
        def call(photo):
            order.append(name)
            return photo

        return call

    monkeypatch.setattr(Case, "build", build)
    monkeypatch.setattr(speed, "peak_memory", lambda case, name: None)
    case = Case("owan", tmp_path, Tiling(32, 24), (40, 36), "cpu", 4, tmp_path)
    found = speed.measure(case, ("native", speed.LIBRARY), 2)
    assert order == [BASE, "native", "library"] * 3
    assert [(one.name, len(one.seconds), len(one.processor), one.error) for one in found] == [
        (name, 2, 2, 0.0) for name in (BASE, "native", "library")
    ]
