import pytest
from vocbench.restorer.training.settings import Training, changed, finished, plain

GIVEN = Training(clean=("photos",), steps=100)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "give the budget either as steps or as minutes"),
        ({"steps": 1, "minutes": 1}, "give the budget either as steps or as minutes"),
        ({"steps": 1, "patch": (63, 15)}, r"patches must be at least 16 pixels, got \(63, 15\)"),
        ({"steps": 1, "patch": ()}, r"patches must be at least 16 pixels, got \(\)"),
        ({"steps": 1, "held": 1}, "expected batch >= 1 and held >= 2, got 32 and 1"),
        ({"steps": 1, "drawn": 1.1}, "the share of drawn pictures must be in 0 to 1, got 1.1"),
        ({"steps": 1, "scales": (1.0, 0.0)}, r"scales of photos must be above 0 and at most 1, got \(1.0, 0.0\)"),
        ({"steps": 1, "validate": 0}, "expected at least 1 step between validations, got 0"),
    ],
)
def test_what_cannot_be_trained_is_refused(more, message):
    with pytest.raises(ValueError, match=message):
        Training(**more)


def test_a_resumed_training_may_change_its_budget_and_not_its_mixture():
    kept = plain(GIVEN)
    assert changed(Training(clean=("moved",), minutes=3, learning_rate=1e-4), kept) == []
    assert changed(Training(clean=("photos",), steps=100, mixture=(("mild", 1.0),), seed=1), kept) == ["mixture", "seed"]


def test_a_setting_that_an_earlier_checkpoint_lacks_had_its_default():
    kept = {name: value for name, value in plain(GIVEN).items() if name not in ("drawn", "scales")}
    assert changed(GIVEN, kept) == []
    assert changed(Training(clean=("photos",), steps=100, drawn=0.5, scales=(1.0,)), kept) == ["drawn", "scales"]


def test_a_checkpoint_holds_lists_in_place_of_tuples():
    assert plain(GIVEN)["mixture"] == [["voc", 0.6], ["moderate", 0.3], ["clean", 0.1]]


def test_the_budget_is_used_up_by_steps_or_by_time():
    assert [finished(GIVEN, step, 1e9) for step in (99, 100)] == [False, True]
    timed = Training(minutes=2)
    assert [finished(timed, 10**9, seconds) for seconds in (119.9, 120)] == [False, True]
