"""Every path of a run's folder, by the names that its users see."""

import pytest
from vocbench.benchmarks.storage.records import Digests, Timing
from vocbench.benchmarks.storage.run_folder import RunFolder, run_folders


def test_the_files_of_the_first_detector_have_the_plain_names(tmp_path):
    folder = RunFolder(tmp_path)
    paths = [
        folder.results(),
        folder.table("csv"),
        folder.report(),
        folder.results("d"),
        folder.table("tex", "d.1"),
        folder.report("d"),
    ]
    assert [path.name for path in paths] == [
        "results.json", "table.csv", "report.html", "results-d.json", "table-d.1.tex", "report-d.html"
    ]  # fmt: skip
    assert all(path.parent == tmp_path for path in paths)


def test_what_is_not_there_is_told(tmp_path):
    folder = RunFolder(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"holds no run \(no run.json\)"):
        folder.read_record()
    assert folder.read_inventory() == {}
    assert folder.read_timing() is None
    assert not folder.is_begun and not folder.is_finished


def test_what_is_written_is_read(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_inventory({"a": Digests("1", "2")})
    folder.write_timing(Timing(wall=3.0, peak_memory_bytes=(7,)))
    assert folder.read_inventory() == {"a": ("1", "2")}
    assert folder.read_timing() == Timing(wall=3.0, peak_memory_bytes=(7,))


def test_runs_below_a_folder_are_found_at_any_depth(tmp_path):
    for name in ("b/c", "a"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.json").write_text("{}")
    assert [folder.path for folder in run_folders(tmp_path)] == [tmp_path / "a", tmp_path / "b/c"]
