import numpy as np
import pytest
import torch
from vocbench.detection.columns import DetectionColumns, ObjectColumns
from vocbench.detection.detections import Detections, Objects
from vocbench.detection.object_sizes import SizeResult, by_size

SMALL, MEDIUM, LARGE = [0.0, 0.0, 20.0, 20.0], [100.0, 0.0, 160.0, 60.0], [200.0, 0.0, 400.0, 200.0]
EMPTY_SMALL, EMPTY_LARGE = [500.0, 0.0, 520.0, 20.0], [500.0, 300.0, 700.0, 500.0]


def judged(*rows, objects=(SMALL, MEDIUM, LARGE)):
    boxes, scores = zip(*rows, strict=True) if rows else ([], [])
    found = Detections(torch.tensor(boxes).reshape(-1, 4), torch.tensor(scores), torch.zeros(len(rows), dtype=torch.int64))
    truth = Objects.of(objects, [0] * len(objects))
    return by_size(DetectionColumns.of({"a": found}), ObjectColumns.of({"a": truth}), "voc10", ["dog"])


def test_objects_are_small_medium_and_large():
    result = judged((SMALL, 0.9), (LARGE, 0.8))
    assert result == {"small": SizeResult(1.0, 1), "medium": SizeResult(0.0, 1), "large": SizeResult(1.0, 1)}


def test_detections_of_another_size_count_neither_way():
    result = judged((EMPTY_LARGE, 0.95), (MEDIUM, 0.93), (SMALL, 0.9))
    assert result["small"].map == 1.0
    assert result["medium"].map == 1.0
    assert judged((EMPTY_SMALL, 0.95), (SMALL, 0.9))["small"].map == pytest.approx(0.5)


def test_a_detection_of_another_size_that_matches_is_a_true_positive():
    just_large, just_medium = [0.0, 0.0, 97.0, 97.0], [0.0, 0.0, 95.0, 95.0]
    assert judged((just_medium, 0.9), objects=(just_large,))["large"].map == 1.0


def test_without_objects_of_a_size_there_is_none():
    assert judged((SMALL, 0.9), objects=(SMALL,))["large"] == SizeResult(None, 0)
    assert judged(objects=()) == dict.fromkeys(("small", "medium", "large"), SizeResult(None, 0))


def test_sizes_agree_with_cocos_on_a_random_scene():
    """At IoU 0.5 over all recalls; pycocotools takes precision at 101 of them, hence the tolerance."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    random = np.random.default_rng(0)
    corner, side = random.uniform(0, 2000, (60, 2)), random.uniform(10, 160, (60, 1))
    boxes = np.concatenate([corner, corner + side], 1)
    moved = boxes + random.normal(0, 2, boxes.shape)
    extra = np.concatenate([moved, random.permutation(boxes)[:30] + 3000])
    scores = random.permutation(len(extra)) / len(extra)
    found = Detections(torch.from_numpy(extra).float(), torch.from_numpy(scores).float(), torch.zeros(len(extra)).long())
    ours = by_size(DetectionColumns.of({"a": found}), ObjectColumns.of({"a": Objects.of(boxes, [0] * 60)}), "voc10", ["dog"])

    def wide(box):
        return [box[0], box[1], box[2] - box[0], box[3] - box[1]]

    truth = COCO()
    annotations = [{"id": i + 1, "image_id": 1, "category_id": 1, "bbox": wide(b), "area": float((b[2] - b[0]) * (b[3] - b[1])),
                    "iscrowd": 0} for i, b in enumerate(boxes)]  # fmt: skip
    truth.dataset = {"images": [{"id": 1}], "categories": [{"id": 1, "name": "dog"}], "annotations": annotations}
    truth.createIndex()
    rows = [{"image_id": 1, "category_id": 1, "bbox": wide(b), "score": s} for b, s in zip(extra, scores, strict=True)]
    judge = COCOeval(truth, truth.loadRes(rows), "bbox")
    judge.params.maxDets, judge.params.iouThrs = [1000], np.array([0.5])
    judge.evaluate()
    judge.accumulate()
    for i, name in enumerate(("small", "medium", "large"), 1):
        assert ours[name].map == pytest.approx(judge.eval["precision"][0, :, 0, i, 0].mean(), abs=0.02)
        assert ours[name].objects > 5
