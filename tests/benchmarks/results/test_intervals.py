"""Which classes count in the mAP, and intervals counted by other means."""

import numpy as np
import pytest
from vocbench.benchmarks.experiments import coverage
from vocbench.benchmarks.results.intervals import RESAMPLES, Counted, bounds, class_bounds, photos_of_classes
from vocbench.benchmarks.results.judge import Estimate, Measured, change, comparisons, recovered
from vocbench.benchmarks.results.schema import UNDEFINED, Interval, VariantResults
from vocbench.detection.columns import ObjectColumns
from vocbench.detection.detections import VOC_CLASSES, Objects

DOG, CAT = VOC_CLASSES.index("dog"), VOC_CLASSES.index("cat")
RANDOM = np.random.default_rng(0)
NOISE = RANDOM.normal(0, 0.1, RESAMPLES)
TEN = Counted.of({"dog": 10, "cat": 12})


def variant(value, spread=NOISE):
    return Measured(value, value + spread, VariantResults(map=value), {})


def ends(interval):
    """The two numbers of an interval that is defined."""
    assert None not in interval
    return interval


def test_classes_in_fewer_than_five_photos_do_not_count():
    counted = Counted.of({"dog": 5, "cat": 4, "cow": 0})
    assert (counted.names, counted.least, len(counted.photos)) == (("dog",), 5, 2)
    assert counted.mean({"dog": 0.5, "cat": 1.0, "cow": None}) == 0.5


def test_all_classes_count_where_none_is_in_five_photos_and_there_is_no_interval():
    counted = Counted.of({"dog": 4, "cat": 1})
    assert (counted.names, counted.least) == (("dog", "cat"), 1)
    assert counted.mean({"dog": 0.5, "cat": 1.0}) == 0.75
    assert counted.means(np.ones((RESAMPLES, 20))) is None


def test_nothing_counts_without_objects():
    counted = Counted.of({"dog": 0})
    assert counted.mean({"dog": None}) is None
    assert counted.bounds(None, None) == (None, None)


def test_photos_are_counted_once_and_difficult_objects_not():
    box = [0, 0, 1, 1]
    photos = {"a": Objects.of([box, box], [DOG, DOG]), "b": Objects.of([box, box], [DOG, CAT], [False, True])}
    counts = photos_of_classes(ObjectColumns.of(photos))
    assert (counts["dog"], counts["cat"], counts["cow"]) == (2, 0, 0)


def test_a_resample_without_a_class_is_the_mean_of_the_others():
    drawn = np.full((2, 20), np.nan)
    drawn[:, DOG], drawn[0, CAT] = 0.5, 1.0
    means = TEN.means(drawn)
    assert means is not None
    assert means.tolist() == [0.75, 0.5]


def test_the_interval_of_a_normal_mean_is_students():
    """2.262 is Student's 97.5 % quantile at 9 degrees of freedom, by any table."""
    drawn = np.random.default_rng(1).normal(0.5, 0.01, 200_000)
    low, high = ends(bounds(0.5, drawn, [10]))
    assert (0.5 - low) / 0.01 == pytest.approx(2.262, abs=0.03)
    assert (high - 0.5) / 0.01 == pytest.approx(2.262, abs=0.03)


def test_an_interval_goes_half_way_to_the_estimate():
    drawn = np.concatenate([np.linspace(0.4, 0.8, 10_001), [0, 1]])
    low, high = ends(bounds(0.5, drawn, [1000]))
    assert (low + high) / 2 == pytest.approx(0.55, abs=0.001)


def test_a_class_of_few_photos_has_no_interval():
    assert class_bounds(0.1, NOISE, 9) == (None, None)
    assert class_bounds(0.1, NOISE, 10) != (None, None)


def test_what_all_variants_share_is_no_doubt_about_their_difference():
    found = change(variant(0.6), variant(0.4), TEN)
    assert found.value == pytest.approx(0.2)
    assert found.ci95 == pytest.approx((0.2, 0.2))


def test_recovered_is_none_where_nothing_was_lost():
    """A restorer that makes worse what was better than clean would recover 100 %."""
    made = {"clean": variant(0.2), "distorted": variant(0.3)}
    assert recovered(variant(0.2), made, TEN) == Estimate(None, UNDEFINED)


def test_recovered_is_none_where_the_loss_is_within_its_noise():
    made = {"clean": variant(0.4), "distorted": variant(0.35, NOISE[::-1])}
    assert recovered(variant(0.38), made, TEN).value is None
    exact = {"clean": variant(0.4), "distorted": variant(0.35)}
    assert recovered(variant(0.38), exact, TEN).value == pytest.approx(0.6)


def test_recovered_has_a_paired_interval():
    made = {"clean": variant(0.8), "distorted": variant(0.4)}
    found = recovered(variant(0.6, NOISE + 0.1 * RANDOM.normal(0, 0.1, RESAMPLES)), made, TEN)
    low, high = ends(found.ci95)
    assert found.value == pytest.approx(0.5)
    assert low < 0.5 < high
    assert high - low < 0.15  # unpaired it would be as wide as 1


def test_every_two_restorers_are_compared():
    made = {name: variant(value) for name, value in (("clean", 0.9), ("distorted", 0.1), ("a", 0.3), ("b", 0.5), ("c", 0.2),
                                                     ("clean+a", 0.9))}  # fmt: skip
    found = {(one.first, one.second): one.delta_map for one in comparisons(made, TEN)}
    assert found == pytest.approx({("a", "b"): 0.2, ("a", "c"): -0.1, ("b", "c"): -0.3})


def test_the_simulation_counts_how_many_intervals_hold(monkeypatch):
    """Intervals of 40 even sets hold the truth mostly, those of no width never."""
    sets = [coverage.judge_set("even", 20, "voc10", seed) for seed in range(12)]
    found = coverage.coverage(sets)
    assert set(found) >= {"mAP, clean", "mAP, distorted", "change by restoring", "share recovered"}
    assert all(share > 0.7 for share, _ in found.values())
    points = [
        coverage.Judgement(one.counted, one.ap, [(k, n, Interval(0.0, 0.0)) for k, n, _ in one.intervals]) for one in sets
    ]
    assert coverage.coverage(points)["mAP, clean"] == (0.0, 12)


def test_a_set_of_the_simulation_repeats():
    assert coverage.judge_set("skewed", 20, "voc07", 3) == coverage.judge_set("skewed", 20, "voc07", 3)
