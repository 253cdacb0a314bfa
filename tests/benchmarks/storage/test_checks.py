import pytest
from vocbench.benchmarks.settings import RunSettings
from vocbench.benchmarks.storage.checks import check_keys, check_names, decode, expected_names

SETTINGS = RunSettings("sample", "all", "voc", ("owan", "mine=dncnn"), ("d=mobilenet-ssd",))


def test_a_run_stores_clean_and_distorted_photos_and_its_restorers_by_label():
    assert expected_names(SETTINGS) == (["clean", "distorted", "owan", "mine"], ["d"])
    harmless = RunSettings("sample", "all", "voc", ("owan",), ("d=mobilenet-ssd",), do_no_harm=True)
    assert expected_names(harmless)[0] == ["clean", "distorted", "owan", "clean+owan"]
    given = RunSettings("photos", "all", "none", ("owan",), ("d=mobilenet-ssd",))
    assert expected_names(given)[0] == ["as-is", "owan"]


def test_rows_of_a_variant_or_detector_that_the_run_does_not_have_are_named():
    check_names("store", ["clean", "mine"], ["d"], SETTINGS)
    with pytest.raises(ValueError, match="store: holds the variant 'dncnn'; the run has clean, distorted, owan, mine"):
        check_names("store", ["clean", "dncnn"], ["d"], SETTINGS)
    with pytest.raises(ValueError, match="store: holds the detector 'e'; the run has d"):
        check_names("store", ["clean"], ["e"], SETTINGS)


def test_keys_are_told_by_their_place_and_counted():
    assert check_keys(["a#0", "b#0"], 2, "store") == {"a#0": 0, "b#0": 1}
    with pytest.raises(ValueError, match="store: 2 rows, where the run's photos give 3"):
        check_keys(["a#0", "b#0"], 3, "store")
    with pytest.raises(ValueError, match=r"store: .*a#0"):
        check_keys(["a#0", "a#0"], 2, "store")


def test_a_value_of_another_kind_names_store_and_column():
    assert decode('{"blur": 1.5}', dict[str, float], "levels", "store") == {"blur": 1.5}
    for text in ('{"blur": "much"}', "{"):
        with pytest.raises(ValueError, match="store: a value of the column 'levels'"):
            decode(text, dict[str, float], "levels", "store")
