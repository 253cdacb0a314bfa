import pytest
from vocbench.benchmarks.running.lock import locked


def test_a_folder_is_locked_by_one_run_at_a_time(tmp_path):
    out = tmp_path / "run"
    with (
        locked(out),
        pytest.raises(ValueError, match="run: another run is writing here; wait for it or choose another"),
        locked(out),
    ):
        pass
    with locked(out):  # the first one is done
        pass


def test_where_no_run_comes_of_it_the_folder_is_as_it_was(tmp_path):
    fresh, used = tmp_path / "fresh", tmp_path / "used"
    used.mkdir()
    (used / "mine.txt").write_text("mine")
    for out in (fresh, used):
        with pytest.raises(ZeroDivisionError), locked(out):
            raise ZeroDivisionError
    assert not fresh.exists()
    assert [path.name for path in used.iterdir()] == ["mine.txt"]


def test_a_run_that_was_begun_keeps_its_folder(tmp_path):
    with locked(tmp_path / "run"):
        (tmp_path / "run/run.json").write_text("{}")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".lock", "run.json"]


def test_a_place_that_is_no_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(OSError, match=r"file/run: cannot be written to \(Not a directory\); choose another `out`"),
        locked(tmp_path / "file/run"),
    ):
        pass
