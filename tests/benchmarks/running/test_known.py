import torch
from vocbench.benchmarks.running.known import stored_detections
from vocbench.benchmarks.storage.row import Row


def row(image, detector, boxes=(), scores=(), labels=()):
    return Row(
        unit=0, image=image, draw=0, variant="clean", detector=detector,
        boxes=list(boxes), scores=list(scores), labels=list(labels),
    )  # fmt: skip


def test_rows_become_the_detections_of_one_detector_photo_by_photo():
    rows = [
        row("a", "d", [1, 2, 3, 4, 5, 6, 7, 8], [0.5, 0.25], [14, 3]),
        row("a", "e", [0, 0, 1, 1], [1.0], [0]),
        row("b", "d"),
    ]
    first, second = stored_detections(rows, "d")
    assert first.boxes.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert first.scores.tolist() == [0.5, 0.25]
    assert first.labels.tolist() == [14, 3]
    assert second.boxes.shape == (0, 4)  # a photo without detections is one of them
    assert [part.dtype for part in second] == [torch.float32, torch.float32, torch.int64]
