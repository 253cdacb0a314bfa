"""One look for a variant, in every chart and page."""

from itertools import product

from vocbench.benchmarks.reporting.looks import COLOURS, line_class, look_places, mark_class


def test_clean_and_distorted_have_their_looks_whether_shown_or_not():
    assert look_places(["owan"]) == {"owan": 2}
    assert look_places(["distorted", "owan", "clean"]) == {"distorted": 1, "owan": 2, "clean": 0}


def test_a_restorer_has_one_look_on_distorted_and_on_clean_photos():
    places = look_places(["clean", "distorted", "owan", "dncnn", "clean+owan", "clean+dncnn"])
    assert places["owan"] == places["clean+owan"] != places["dncnn"] == places["clean+dncnn"]


def test_photos_taken_as_they_are_look_like_distorted_ones():
    assert look_places(["as-is", "owan"]) == {"as-is": 1, "owan": 2}


def test_fifty_lines_and_thirty_marks_differ():
    assert len({line_class(place) for place in range(50)}) == 50
    assert len({mark_class(place) for place in range(30)}) == 30
    assert all(mark_class(a).split()[0] == mark_class(b).split()[0] for a, b in product([3], [3 + COLOURS, 3 + 2 * COLOURS]))
