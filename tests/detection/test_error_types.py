"""The error types of TIDE, on boxes whose IoU is counted by hand: 10 x 10 pixels moved by m share (10 - m) / (10 + m)."""

import numpy as np
import pytest
import torch
from vocbench.detection.detections import Detections, Objects
from vocbench.detection.error_types import ERROR_TYPES, TRUE_POSITIVE, error_types, judge


def box(left, top=0):
    return [left, top, left + 10, top + 10]


def found(*rows):
    """Detections of (box, score, label)."""
    boxes, scores, labels = zip(*rows, strict=True)
    return Detections(torch.tensor(boxes).float(), torch.tensor(scores), torch.tensor(labels))


def truth(*rows, difficult=None):
    """Objects of (box, label)."""
    boxes, labels = zip(*rows, strict=True)
    return Objects(np.array(boxes, float), np.array(labels), np.array(difficult or [False] * len(rows)))


@pytest.mark.parametrize(
    ("moved", "label", "kind"),
    [
        (0, 3, TRUE_POSITIVE),
        (3, 3, TRUE_POSITIVE),  # IoU 7 / 13
        (4, 3, "localisation"),  # 6 / 14
        (8, 3, "localisation"),  # 2 / 18
        (9, 3, "background"),  # 1 / 19
        (3, 4, "class"),
        (4, 4, "both"),
        (9, 4, "background"),
    ],
)
def test_a_detection_has_the_type_of_its_iou(moved, label, kind):
    judged, taken = judge(found((box(moved), 0.9, label)), truth((box(0), 3)))
    assert [one.kind for one in judged] == [kind]
    assert taken.tolist() == [kind == TRUE_POSITIVE]


def test_the_second_of_two_detections_is_a_duplicate():
    judged, _ = judge(found((box(1), 0.4, 3), (box(2), 0.8, 3)), truth((box(0), 3)))
    assert [(one.place, one.kind) for one in judged] == [(1, TRUE_POSITIVE), (0, "duplicate")]


def test_a_detection_of_a_difficult_object_does_not_count():
    judged, taken = judge(found((box(0), 0.9, 3)), truth((box(0), 3), difficult=[True]))
    assert judged == []
    assert taken.tolist() == [False]


def test_what_mending_gives_back_is_counted_by_hand():
    """One object found, one missed, and a false positive on the background above both: AP is 1/2 of 1/2."""
    objects = truth((box(0), 3), (box(50), 3))
    rises = error_types({"a": found((box(100), 0.9, 3), (box(0), 0.5, 3))}, {"a": objects})
    assert list(rises) == list(ERROR_TYPES)
    assert rises["background"] == pytest.approx(0.25)  # 0.5 in place of 0.25
    assert rises["missed"] == pytest.approx(0.25)  # the missed object no longer counts: precision 1/2 at recall 1
    assert rises["class"] == rises["both"] == rises["duplicate"] == rises["localisation"] == 0


def test_mending_the_class_turns_it_into_a_true_positive():
    rises = error_types({"a": found((box(0), 0.9, 4))}, {"a": truth((box(0), 3))})
    assert rises["class"] == pytest.approx(1.0)


def test_no_boxes_are_no_errors_but_what_is_missed():
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    rises = error_types({"a": nothing}, {"a": truth((box(0), 3))})
    assert set(rises.values()) == {0.0}  # an AP of no object is none either
