"""The axes of charts, counted by hand."""

import pytest
from vocbench.benchmarks.reporting.frame import Canvas, Scale, axis, linear, logarithmic, look_of, unit


@pytest.mark.parametrize(
    ("values", "zero", "low", "high", "steps"),
    [
        ([0, 100], True, 0, 100, 5),
        ([0, 80], True, 0, 80, 8),
        ([-3, 9], True, -4, 10, 7),
        ([41, 43], False, 41, 43, 4),
        ([], True, 0, 1, 5),
        ([7, 7], False, 6, 7, 5),
    ],
)
def test_an_axis_holds_its_values_in_round_steps(values, zero, low, high, steps):
    found = axis(values, zero)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.steps == steps


def test_a_logarithmic_axis_has_ticks_at_one_two_and_five():
    assert logarithmic("ms", [3, 40]).ticks == pytest.approx([2, 5, 10, 20, 50])
    assert logarithmic("ms", [10, 10]).ticks == pytest.approx([10, 20])


def test_of_many_factors_the_powers_of_ten_bear_their_number():
    assert logarithmic("ms", [1, 1000]).numbered == pytest.approx([1, 10, 100, 1000])
    assert linear("dB", [0, 100]).numbered == linear("dB", [0, 100]).ticks


def test_a_scale_begins_at_its_first_tick_and_ends_at_its_last():
    scale = Scale("ms", [1, 10, 100], logarithmic=True)
    assert [scale.share(value) for value in (1, 10, 100)] == pytest.approx([0, 0.5, 1])
    assert unit("recall").share(0.25) == pytest.approx(0.25)
    assert Scale("none", [1, 1]).share(1) == 0


def test_a_canvas_grows_to_the_right_and_upwards():
    canvas = Canvas(unit("recall"), unit("precision"))
    assert canvas.x(0) < canvas.x(1) < canvas.width
    assert 0 < canvas.y(1) < canvas.y(0) < canvas.height


def test_labels_are_escaped():
    assert "<b>" not in Canvas(unit("<b>"), unit("<b>")).drawing("<b>", "")


def test_a_series_without_a_look_has_that_of_its_place():
    assert look_of("b", None, ["a", "b"]) == 1
    assert look_of("b", {"b": 7}, ["a", "b"]) == 7
    assert look_of("b", {"a": 7}, ["a", "b"]) == 1
