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
        "1 of 4 photos, 0.05/s, about 1 min 0 s left",
        "3 of 4 photos, 0.05/s, about 20 s left",
    ]


def test_a_short_command_says_nothing(capsys):
    assert lines(capsys, [0.1] * 50) == []


def test_what_was_done_before_counts_but_not_for_the_rate(capsys):
    with Progress(10, 8, clock=iter([0.0, 50.0, 100.0]).__next__) as shown:
        shown.advance()
        shown.advance()
    assert capsys.readouterr().err.splitlines() == ["9 of 10 photos, 0.02/s, about 50 s left", "10 of 10 photos, 0.02/s"]
