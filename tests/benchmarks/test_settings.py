from typing import Any

import pytest
from vocbench.benchmarks.settings import RunSettings, differences, plain, to_json

GIVEN: dict[str, Any] = {"data": "sample", "split": "all", "recipe": "voc", "restorers": ("owan",), "detectors": ("d",)}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"restore_at": "half"}, "unknown `restore_at` 'half'; choose one of native, detector"),
        ({"draws": 0}, "`draws` and `unit` must be at least 1"),
        ({"unit": 0}, "`draws` and `unit` must be at least 1"),
        ({"batch": -1}, "`batch` must be at least 1, or 0 for the fastest, got -1"),
        ({"examples": -1}, "`examples` must be at least 0, got -1"),
        ({"limit": 0}, "`limit` must be at least 1, got 0"),
        ({"skip": -1}, "`skip` must be at least 0, got -1"),
        ({"recipe": "none", "draws": 2}, "takes photos as they are: there are no levels to draw"),
        ({"recipe": "none", "do_no_harm": True}, "takes photos as they are: there are no levels to draw"),
    ],
)
def test_what_cannot_be_computed_is_refused_by_name(more, message):
    with pytest.raises(ValueError, match=message):
        RunSettings(**GIVEN | more)


def test_photos_are_chosen_after_those_skipped_up_to_the_limit():
    ids = list("abcde")
    for more, chosen in (
        ({}, "abcde"),
        ({"limit": 2}, "ab"),
        ({"skip": 3}, "de"),
        ({"skip": 1, "limit": 3}, "bcd"),
        ({"limit": 9}, "abcde"),
    ):
        given: dict[str, Any] = GIVEN | more
        assert RunSettings(**given).choose(ids) == list(chosen)
    with pytest.raises(ValueError, match="`skip` leaves no photo: 5 of the 5 of all; give a smaller one"):
        RunSettings(**GIVEN, skip=5).choose(ids)


def test_settings_that_differ_are_named_with_both_values():
    one, two = (plain(RunSettings(**GIVEN, seed=seed)) for seed in (0, 1))
    assert differences(two, one) == ["seed: 0 before, 1 now"]
    assert differences(one, one) == []
    del one["guard"]  # a record of an earlier version
    assert differences(two, one) == ["guard: None before, True now", "seed: 0 before, 1 now"]


def test_json_has_no_nan():
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"map": float("nan")})
