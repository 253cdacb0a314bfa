import numpy as np
import pytest
import torch
from vocbench.detection.confusion import confusion
from vocbench.detection.detections import Detections, Objects

BOX, SHIFTED, FAR = [0.0, 0.0, 100.0, 100.0], [0.0, 0.0, 100.0, 90.0], [300.0, 300.0, 400.0, 400.0]
CLASSES, NONE = 3, 3


def found(*rows):
    if not rows:
        return Detections.empty()
    boxes, scores, labels = zip(*rows, strict=True)
    return Detections(torch.tensor(boxes), torch.tensor(scores), torch.tensor(labels))


def counts(detections, objects):
    return confusion({"a": detections}, {"a": objects}, CLASSES).counts


@pytest.mark.parametrize(
    ("detections", "cells"),
    [
        (found((BOX, 0.9, 1)), [(1, 1)]),
        (found((BOX, 0.9, 2)), [(1, 2)]),
        (found((BOX, 0.9, 2), (SHIFTED, 0.8, 0)), [(1, 2), (NONE, 0)]),  # an object is taken for one other
        (found((BOX, 0.9, 2), (SHIFTED, 0.8, 1)), [(1, 1), (NONE, 2)]),  # its own class goes before, whatever the scores
        (found((BOX, 0.9, 1), (SHIFTED, 0.8, 1)), [(1, 1), (NONE, 1)]),
        (found((FAR, 0.9, 1)), [(1, NONE), (NONE, 1)]),
        (found((BOX, 0.2, 1)), [(1, NONE)]),
        (found(), [(1, NONE)]),
    ],
)
def test_an_object_and_a_detection_count_once(detections, cells):
    expected = np.zeros((CLASSES + 1, CLASSES + 1), int)
    for cell in cells:
        expected[cell] += 1
    assert counts(detections, Objects.of([BOX], [1])).tolist() == expected.tolist()


def test_difficult_objects_and_their_detections_do_not_count():
    assert not counts(found((BOX, 0.9, 1)), Objects.of([BOX], [1], [True])).any()


def test_a_photo_without_detections_has_its_objects_missed():
    assert confusion({}, {"a": Objects.of([BOX, FAR], [0, 2])}, CLASSES).counts[:, NONE].tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("seed", range(5))
def test_rows_add_up_to_objects_and_columns_to_detections(seed):
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 50, (8, 2))
    boxes, labels = np.concatenate([corner, corner + 30], 1), random.integers(0, CLASSES, 8)
    moved = torch.from_numpy(boxes + random.normal(0, 4, boxes.shape)).float()
    detections = Detections(moved, torch.full((8,), 0.5), torch.from_numpy(random.integers(0, CLASSES, 8)))
    counted = counts(detections, Objects.of(boxes, labels))
    assert counted[:NONE].sum(1).tolist() == np.bincount(labels, minlength=CLASSES).tolist()
    assert counted[:, :NONE].sum(0).tolist() == np.bincount(detections.labels.numpy(), minlength=CLASSES).tolist()
