import re

import pytest
from vocbench.benchmarks.experiments import stand_in


def test_the_shares_of_a_run_with_a_stand_in_add_up(voc_folder, tmp_path):
    """Those of the main process, and those of what workers did."""
    results = stand_in.measured(str(voc_folder), "val", 2, "voc", 0, tmp_path / "out")
    lines = stand_in.lines(results)
    shares = [re.fullmatch(r"(of the workers' time: )?(\w+) +(-?[\d.]+) %", line) for line in lines[:-1]]
    assert [(bool(one[1]), one[2]) for one in shares if one] == [
        *((False, name) for name in ("prepare", "restore", "detect", "measure", "other")),
        *((True, name) for name in ("read", "degrade", "measure")),
    ]
    for whose in (False, True):
        assert sum(float(one[3]) for one in shares if one and bool(one[1]) == whose) == pytest.approx(100, abs=0.5)
    assert lines[-1].endswith(" ms a photo, of which the restorer took 4")
    assert results.variants["stand-in"].psnr == results.variants["distorted"].psnr
    assert results.dataset.images == 2
