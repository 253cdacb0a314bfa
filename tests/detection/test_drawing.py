import numpy as np
import torch
from vocbench.detection.detections import Detections
from vocbench.detection.drawing import CAME, GAP, KEPT, WENT, class_colour, draw_boxes, draw_change, side_by_side, write_caption

BLACK = np.zeros((80, 120, 3), np.uint8)


def detections(*boxes, scores=None):
    scores = [0.9] * len(boxes) if scores is None else scores
    return Detections(torch.tensor(boxes).reshape(-1, 4).float(), torch.tensor(scores), torch.arange(len(boxes)))


def test_a_box_is_drawn_at_its_corners_in_the_colour_of_its_class():
    drawn = draw_boxes(BLACK, detections([20, 30, 100, 70]))
    assert not BLACK.any()  # a copy
    for y, x in ((30, 20), (69, 20), (69, 99), (50, 99)):
        assert tuple(drawn[y, x]) == class_colour(0), (y, x)
    assert not drawn[40:60, 40:80].any()
    assert not drawn[71:].any()


def test_boxes_of_low_score_and_outside_the_picture_are_left_out():
    assert not draw_boxes(BLACK, detections([20, 30, 100, 70], scores=[0.29])).any()
    assert draw_boxes(BLACK, detections([20, 30, 100, 70], scores=[0.29]), least=0.25).any()
    assert not draw_boxes(BLACK, detections([130, 90, 150, 99])).any()
    assert draw_boxes(BLACK, detections([-50, -50, 500, 500])).any()


def test_a_label_stays_inside_the_picture():
    drawn = draw_boxes(BLACK, detections([110, 2, 119, 78]))
    assert tuple(drawn[3, 60]) == class_colour(0)  # moved to the left, and below the box's upper edge


def test_twenty_classes_have_twenty_colours():
    assert len({class_colour(label) for label in range(20)}) == 20


def test_what_came_and_went_is_told_apart_from_what_stayed():
    two = detections([5, 30, 40, 70], [70, 30, 110, 70])
    for came, colour in ((True, CAME), (False, WENT)):
        drawn = draw_change(BLACK, two, kept=[0], changed=[1], came=came)
        assert tuple(drawn[69, 5]) == KEPT
        assert tuple(drawn[69, 70]) == colour


def test_pictures_in_a_row_have_white_between_them():
    row = side_by_side([BLACK, BLACK[:, :50]])
    assert row.shape == (80, 120 + GAP + 50, 3)
    assert (row[:, 120 : 120 + GAP] == 255).all()
    assert row.sum() == 80 * GAP * 3 * 255


def test_captions_of_one_picture_have_one_height_whatever_they_say():
    heights = {write_caption(BLACK, text).shape for text in ("x", "Ágypq", "")}
    assert len(heights) == 1
    assert (write_caption(BLACK, "x")[-80:] == BLACK).all()
