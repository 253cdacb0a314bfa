import torch
from vocbench.detection.changes import find_changes
from vocbench.detection.detections import Detections


def made(*rows):
    """Detections from rows of (x1, y1, x2, y2, score, label)."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].long())


def test_a_box_of_another_class_at_the_same_place_is_one_that_went_and_one_that_came():
    changes = find_changes(made((0, 0, 10, 10, 0.9, 7)), made((0, 0, 10, 10, 0.9, 11)))
    assert (changes.kept, changes.went, changes.came) == ((), (0,), (0,))


def test_boxes_that_overlap_by_half_are_the_same_object():
    before = made((0, 0, 10, 10, 0.4, 7))
    assert find_changes(before, made((0, 0, 10, 5, 0.9, 7))).kept == ((0, 0),)  # overlap 50 of 100
    assert find_changes(before, made((0, 0, 10, 4.9, 0.9, 7))).came == (0,)


def test_each_box_is_paired_once_and_with_the_best_overlap():
    before = made((0, 0, 10, 10, 0.9, 7), (0, 0, 10, 8, 0.5, 7))
    after = made((0, 0, 10, 8, 0.6, 7))
    changes = find_changes(before, after)
    assert (changes.kept, changes.went, changes.came) == (((1, 0),), (0,), ())


def test_boxes_below_the_score_do_not_count_and_the_highest_comes_first():
    after = made((0, 0, 9, 9, 0.29, 7), (20, 0, 29, 9, 0.31, 7), (40, 0, 49, 9, 0.8, 7))
    assert find_changes(Detections.empty(), after) == find_changes(made(), after)
    assert find_changes(made(), after).came == (2, 1)
    assert find_changes(after, made(), score=0.5).went == (2,)


def test_photos_without_boxes_change_nothing():
    changes = find_changes(Detections.empty(), Detections.empty(), iou=0)
    assert (changes.kept, changes.went, changes.came) == ((), (), ())
