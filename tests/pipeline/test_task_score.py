"""Recall of the clean photos' detections, with expected values counted by hand."""

import pytest
import torch
from torch import nn
from vocbench.detection.detections import Detections
from vocbench.pipeline.task_score import CleanRecall, found_again
from vocbench.restorer.images import write_image

from tests.support.fakes import BlobDetector


def detections(*rows):
    """Rows of left, score and label; boxes are 10 pixels wide and high."""
    boxes = torch.tensor([[left, 0.0, left + 10.0, 10.0] for left, _, _ in rows]).reshape(-1, 4)
    scores, labels = (torch.tensor([row[i] for row in rows]) for i in (1, 2))
    return Detections(boxes, scores.float(), labels.long())


CLEAN = detections((0, 0.9, 1), (20, 0.5, 1), (40, 0.9, 2), (60, 0.1, 1))  # the last is unsure and does not count


@pytest.mark.parametrize(
    ("other", "count"),
    [
        (CLEAN, 3),
        (detections(), 0),
        (detections((2, 0.9, 1)), 1),  # IoU 8 / 12
        (detections((4, 0.9, 1)), 0),  # IoU 6 / 14
        (detections((0, 0.2, 1)), 0),  # unsure
        (detections((40, 0.9, 1)), 0),  # another class
        (detections((0, 0.9, 1), (1, 0.9, 1)), 1),  # one object, found twice
    ],
)
def test_an_object_is_found_again_once_by_its_class_and_half_its_box(other, count):
    assert found_again(CLEAN, other) == (count, 3)


def test_a_clean_photo_without_objects_asks_for_none():
    assert found_again(detections(), CLEAN) == (0, 0)


def test_a_restorer_that_changes_clean_photos_not_at_all_finds_everything_again(tmp_path, photo):
    write_image(tmp_path / "a.png", photo)
    recall = CleanRecall([BlobDetector()], {"clean": 1.0}, seed=0)
    assert recall(nn.Identity(), [tmp_path / "a.png"]) == 1.0


def test_a_restorer_that_blackens_photos_finds_nothing_again(tmp_path, photo):
    class Black(nn.Module):
        def forward(self, images):
            return 0 * images

    write_image(tmp_path / "a.png", photo)
    assert CleanRecall([BlobDetector()], {"clean": 1.0}, seed=0)(Black(), [tmp_path / "a.png"]) == 0.0
