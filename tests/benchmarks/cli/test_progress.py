import pytest
from vocbench.benchmarks.cli.progress import Progress, duration


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations_read_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def lines(capsys, steps, **given):
    """What is said on standard error by steps that take so many seconds each."""
    now = iter([0.0, *(sum(steps[: i + 1]) for i in range(len(steps)))])
    with Progress(len(steps), clock=lambda: next(now), **given) as shown:
        for _ in steps:
            shown.advance()
    return capsys.readouterr().err.splitlines()


def test_a_long_command_says_how_far_it_is_from_the_first_photo_on(capsys):
    assert lines(capsys, [20.0] * 4) == [
        "1 of 4 photos, 20 s each, about 1 min 0 s left",
        "3 of 4 photos, 20 s each, about 20 s left",
    ]


def test_a_short_command_says_nothing(capsys):
    assert lines(capsys, [0.1] * 50) == []


def test_what_was_done_before_counts_but_not_for_the_rate(capsys):
    with Progress(10, 8, clock=iter([0.0, 50.0, 100.0]).__next__) as shown:
        shown.advance()
        shown.advance()
    assert capsys.readouterr().err.splitlines() == ["9 of 10 photos, 50 s each, about 50 s left", "10 of 10 photos, 50 s each"]


def test_what_is_fast_has_a_rate(capsys):
    assert lines(capsys, [5.0] * 8) == [
        "1 of 8 photos, 0.20/s, about 35 s left",
        "7 of 8 photos, 0.20/s, about 5 s left",
    ]


def test_parts_of_photos_count_and_what_is_done_is_noted(capsys):
    with Progress(2, every=0, clock=iter([0.0, 10.0, 30.0]).__next__) as shown:
        shown.advance(0.5, "owan")
        shown.advance(1, "stored")
    assert capsys.readouterr().err.splitlines() == [
        "0 of 2 photos, 20 s each, about 30 s left (owan)",
        "1 of 2 photos, 20 s each, about 10 s left (stored)",
    ]


def test_a_camera_has_no_end(capsys):
    with Progress(None, unit="frames", every=0, clock=iter([0.0, 4.0]).__next__) as shown:
        shown.advance()
    assert capsys.readouterr().err == "1 frames, 0.25/s\n"
