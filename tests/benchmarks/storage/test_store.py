import pytest
from msgspec.structs import replace
from vocbench.benchmarks.experiments.run import run as run_benchmark
from vocbench.benchmarks.running import driver
from vocbench.benchmarks.settings import RunSettings
from vocbench.benchmarks.storage.row import Row, schema
from vocbench.benchmarks.storage.store import Store

from tests.support.commands import timeless


def rows(unit):
    return [
        Row(unit=unit, image=f"{unit}{letter}", draw=0, variant=variant, detector="blob", boxes=[], scores=[], labels=[],
            seconds_detect=unit / 7)
        for variant in ("clean", "distorted")
        for letter in "ab"
    ]  # fmt: skip


@pytest.fixture
def store(tmp_path):
    """Units 0 to 6, each in a part of its own."""
    made = Store(tmp_path / "store")
    for unit in range(7):
        made.write(unit, rows(unit))
    return made


def test_a_row_has_the_columns_of_the_schema():
    assert list(Row.__struct_fields__) == schema().names


def content(store):
    """What a store holds, by image and variant; a row that counts twice is not lost here."""
    found = [row for table in store.tables() for row in table.to_pylist()]
    return sorted(found, key=lambda row: (row["image"], row["variant"]))


def test_joined_parts_hold_the_same_rows(store):
    before = content(store)
    store.join(3)
    names = store.files.names()
    assert [name[:19] for name in names] == ["part-000000-000002-", "part-000003-000005-", names[2][:19]]
    assert len(names) == 3
    assert content(store) == before
    assert sorted(store.parts()) == list(range(7))
    store.join(3)
    assert store.files.names() == names


def test_only_the_rows_asked_for_are_given_in_the_order_of_units(store):
    store.join(3)
    tables = list(store.tables(["image"], where={"variant": "distorted", "detector": "blob"}))
    assert [name for table in tables for name in table["image"].to_pylist()] == [
        f"{u}{letter}" for u in range(7) for letter in "ab"
    ]
    assert tables[0].column_names == ["image"]


def test_units_that_are_not_all_there_stay_in_parts_of_their_own(store):
    store.files.remove(store.parts()[4])
    store.join(3)
    assert len(store.files.names()) == 1 + 3
    assert sorted(store.parts()) == [0, 1, 2, 3, 5, 6]


def test_a_join_that_is_killed_after_writing_counts_nothing_twice(store, monkeypatch):
    before = content(store)

    def killed(name):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(store.files, "remove", killed)
        store.join(3)
    assert len(store.files.names()) == 8
    assert content(store) == before
    store.clear(store.parts().values())
    assert len(store.files.names()) == 1 + 4
    assert content(store) == before


def test_a_join_that_cannot_be_written_loses_nothing(store, monkeypatch):
    before = content(store)

    def full(name, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="free some space and continue"):
        patched.setattr(store.files, "write", full)
        store.join(3)
    assert content(store) == before


def test_a_damaged_joined_part_gives_way_to_the_parts_it_was_made_from(store):
    before, kept = content(store), {name: store.files.read(name) for name in store.files.names()}
    store.join(3)
    joined = store.parts()[1]
    store.files.write(joined, store.files.read(joined)[:-5])
    assert sorted(store.parts()) == [3, 4, 5, 6]
    for name, data in kept.items():
        store.files.write(name, data)
    assert content(store) == before
    assert joined in store.clear(store.parts().values())


def test_a_damaged_unit_is_not_joined(store):
    name = store.parts()[1]
    store.files.write(name, store.files.read(name)[:-5])
    store.join(3)
    assert sorted(store.parts()) == [0, 2, 3, 4, 5, 6]


def test_a_part_written_late_by_a_lost_worker_is_not_counted(store):
    store.join(3)
    store.write(1, [replace(row, seconds_detect=9.0) for row in rows(1)])
    assert len(content(store)) == 28
    assert all(row["seconds_detect"] < 9 for row in content(store))
    assert len(store.clear(store.parts().values())) == 1


def test_a_name_that_claims_more_units_than_a_part_can_hold_is_passed_over(store):
    data = store.files.read(store.parts()[0])
    digest = store.parts()[0][-24:]
    store.files.write(f"part-000000-999999999999999{digest}", data)
    store.files.write(f"part-000005-000003{digest}", data)
    assert sorted(store.parts()) == list(range(7))
    assert len(content(store)) == 28


def make(folder, out, **given):
    settings = RunSettings(data=str(folder), split="val", recipe="voc", restorers=("bright=tests.support.fakes:Brighten",),
                           detectors=("blob=tests.support.fakes:BlobDetector",), unit=1, draws=2)  # fmt: skip
    run_benchmark(settings, out, **given)
    return timeless(out / "results.json")


def test_a_run_that_joins_its_parts_has_the_same_results(voc_folder, tmp_path, monkeypatch):
    apart = make(voc_folder, tmp_path / "apart")
    monkeypatch.setattr(driver, "ROWS", 10)  # two units of five rows
    assert make(voc_folder, tmp_path / "joined") == apart
    store = Store(tmp_path / "joined" / "store")
    assert len(store.files.names()) == 3
    name = store.parts()[2]
    store.files.write(name, store.files.read(name)[:-5])  # two units are computed again
    assert make(voc_folder, tmp_path / "joined", resume=True) == apart
    assert len(store.files.names()) == 3


def test_a_run_begun_in_small_parts_is_joined_when_it_goes_on(voc_folder, tmp_path, monkeypatch):
    apart = make(voc_folder, tmp_path / "out")
    store = Store(tmp_path / "out" / "store")
    store.files.remove(store.parts()[4])
    assert len(store.files.names()) == 4
    monkeypatch.setattr(driver, "ROWS", 10)
    assert make(voc_folder, tmp_path / "out", resume=True) == apart
    assert len(store.files.names()) == 3


def test_predictions_of_photos_that_a_run_does_not_have_are_refused(voc_folder, tmp_path):
    from vocbench.benchmarks.results.finished import load_run

    make(voc_folder, tmp_path / "out")
    Store(tmp_path / "out" / "store").write(5, rows(5))
    with pytest.raises(ValueError, match="holds predictions of '5a', which is not among the run's photos"):
        load_run(tmp_path / "out")
