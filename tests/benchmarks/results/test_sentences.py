"""What is said of a run, whichever way it went."""

import pytest
from vocbench.benchmarks.results.schema import Interval, VariantResults
from vocbench.benchmarks.results.sentences import best_restored, harm, headline, interval, verdict

from tests.support.results import results_of


def run(after, low=None, high=None, recovered=None):
    """A run that a restorer brings from 40 to `after` parts of 1."""
    return results_of(
        {
            "clean": VariantResults(map=0.8),
            "distorted": VariantResults(map=0.4, ap={"dog": 0.4}),
            "owan": VariantResults(
                map=after, ap={"dog": after}, psnr=30.0, delta_map_ci95=Interval(low, high), recovered=recovered
            ),
        }
    )


@pytest.mark.parametrize(
    ("results", "sentence"),
    [
        (run(0.6, 0.1, 0.3, 0.5), "restoring with owan raised it by 20.0 points to 60.0, 50 % of what was lost "
                                  "(95 % interval of the change +10.0 to +30.0 points)."),
        (run(0.6, -0.1, 0.3), "raised it by 20.0 points to 60.0 (95 % interval of the change -10.0 to +30.0 points, "
                              "not distinguishable from chance)."),
        (run(0.3), "restoring with owan lowered it by another 10.0 points to 30.0."),
        (run(0.4), "restoring with owan made no change."),
    ],
)  # fmt: skip
def test_the_headline_is_right_either_way(results, sentence):
    assert headline(results).startswith("Distortion took mAP from 80.0 to 40.0; ")
    assert headline(results).endswith(sentence)


def test_a_restorer_that_left_the_photos_alone_is_best_only_where_it_is_alone():
    left = VariantResults(map=0.4, ap={"dog": 0.4}, psnr=21.0)
    variants = {"clean": VariantResults(map=0.8), "distorted": left, "identity": left}
    assert best_restored(results_of(variants)) == "identity"
    worse = VariantResults(map=0.3, ap={"dog": 0.3}, psnr=20.0)
    assert best_restored(results_of(variants | {"owan": worse})) == "owan"


def test_a_run_without_objects_says_so():
    nothing = {"clean": VariantResults(map=None), "distorted": VariantResults(map=None)}
    assert headline(results_of(nothing)) == "No restorer was measured on photos with objects in this run."


@pytest.mark.parametrize(
    ("bounds", "answer", "end"),
    [
        (Interval(0.1, 0.3), "yes", "(95 % interval of the change +10.0 to +30.0 points)."),
        (Interval(-0.3, -0.1), "no", "(95 % interval of the change -30.0 to -10.0 points)."),
        (Interval(-0.1, 0.3), "cannot be told", "which may be chance."),
        (Interval(None, None), "cannot be told", "too few for an interval."),
    ],
)
def test_a_verdict_says_no_more_than_its_interval(bounds, answer, end):
    variants = {"as-is": VariantResults(map=0.4), "owan": VariantResults(map=0.5, psnr=None, delta_map_ci95=bounds)}
    found = verdict(results_of(variants))
    assert (found.answer, found.restorer) == (answer, "owan")
    assert found.sentence.startswith(f"Restore: {answer}")
    assert "With owan mAP went from 40.0 to 50.0" in found.sentence
    assert found.sentence.endswith(end)


def test_no_interval_and_no_change_are_not_spoken_of():
    assert interval(Interval(None, None)) == interval(Interval(0.0, 0.0)) == ""


def test_harm_to_clean_photos_is_one_sentence_a_restorer():
    variants = {
        "clean": VariantResults(map=0.8),
        "distorted": VariantResults(map=0.4),
        "clean+owan": VariantResults(map=0.75),
        "clean+identity": VariantResults(map=0.8),
    }
    assert harm(results_of(variants)) == [
        "On clean photos owan lost 5.0 points.",
        "On clean photos identity made no change.",
    ]
