"""The protocol clause by clause, on cases counted by hand."""

import json

import numpy as np
import pytest
import torch
from vocbench.detection import average_precision
from vocbench.detection.average_precision import evaluate, resample
from vocbench.detection.datasets.read import read_dataset
from vocbench.detection.detections import VOC_CLASSES, Detections, Objects

DOG, CAT = VOC_CLASSES.index("dog"), VOC_CLASSES.index("cat")
BOX = [10.0, 10.0, 30.0, 30.0]
FAR = [60.0, 60.0, 80.0, 80.0]


def found(*rows):
    """Detections from (box, score) or (box, score, label)."""
    boxes, scores, labels = zip(*[(*row, DOG)[:3] for row in rows], strict=True)
    return Detections(torch.tensor(boxes), torch.tensor(scores), torch.tensor(labels))


def dogs(*boxes, difficult=None):
    return Objects.of(list(boxes), [DOG] * len(boxes), difficult)


def ap(detections, truth, protocol="voc10"):
    return evaluate(detections, truth, protocol).ap["dog"]


def test_a_perfect_detection_is_one_in_both_protocols():
    for protocol in ("voc07", "voc10"):
        assert ap({"a": found((BOX, 0.9))}, {"a": dogs(BOX)}, protocol) == pytest.approx(1)


def test_one_false_positive_above_the_only_hit_halves_precision():
    detections = {"a": found((FAR, 0.9), (BOX, 0.8))}
    assert ap(detections, {"a": dogs(BOX)}) == 0.5
    assert ap(detections, {"a": dogs(BOX)}, "voc07") == pytest.approx(0.5)


def test_a_false_positive_below_the_last_hit_costs_nothing():
    assert ap({"a": found((BOX, 0.9), (FAR, 0.8))}, {"a": dogs(BOX)}) == 1


def test_one_of_two_objects_found_is_half_the_area_and_six_of_eleven_recalls():
    truth = {"a": dogs(BOX, FAR)}
    assert ap({"a": found((BOX, 0.9))}, truth) == 0.5
    assert ap({"a": found((BOX, 0.9))}, truth, "voc07") == pytest.approx(6 / 11)


def test_a_recall_of_exactly_three_tenths_misses_the_devkits_fourth_threshold():
    """0.1 * 3 is 0.30000000000000004 in doubles: three of ten objects reach the recalls 0, 0.1 and 0.2 only."""
    boxes = [[20.0 * i, 0.0, 20.0 * i + 10, 10.0] for i in range(10)]
    detections = {"a": found(*[(box, 0.9 - 0.1 * i) for i, box in enumerate(boxes[:3])])}
    assert ap(detections, {"a": dogs(*boxes)}, "voc07") == pytest.approx(3 / 11)


def test_a_second_detection_of_an_object_is_a_false_positive():
    detections = {"a": found((BOX, 0.9), (BOX, 0.8), (FAR, 0.7))}
    assert ap(detections, {"a": dogs(BOX, FAR)}) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_a_second_match_does_not_fall_back_to_another_object():
    """Both boxes overlap the first object most; the second one is wrong although another object is also above 0.5."""
    first, near = [0.0, 0.0, 100.0, 100.0], [0.0, 0.0, 100.0, 90.0]
    detections = {"a": found((first, 0.9), (first, 0.8))}
    assert ap(detections, {"a": dogs(first, near)}) == 0.5


def test_of_two_equal_overlaps_the_first_object_is_taken():
    """The same object twice, first the difficult one: the detection is ignored, and the other object stays unfound."""
    truth = {"a": dogs(BOX, BOX, difficult=[True, False])}
    assert ap({"a": found((BOX, 0.9))}, truth) == 0
    truth = {"a": dogs(BOX, BOX, difficult=[False, True])}
    assert ap({"a": found((BOX, 0.9))}, truth) == 1


def test_an_overlap_of_exactly_one_half_counts():
    half = [10.0, 10.0, 30.0, 20.0]  # 200 of 400 square pixels
    assert ap({"a": found((half, 0.9))}, {"a": dogs(BOX)}) == 1
    assert ap({"a": found(([10.0, 10.0, 30.0, 19.99], 0.9))}, {"a": dogs(BOX)}) == 0


def test_difficult_objects_count_neither_way_any_number_of_times():
    truth = {"a": dogs(BOX, FAR, difficult=[True, False])}
    detections = {"a": found((BOX, 0.9), (BOX, 0.85), (FAR, 0.8))}
    assert ap(detections, truth) == 1
    assert evaluate(detections, truth, "voc10").matches["dog"].objects.tolist() == [0]


def test_a_class_whose_every_detection_fell_on_difficult_objects_has_ap_zero():
    for protocol in ("voc07", "voc10"):
        assert ap({"a": found((BOX, 0.9))}, {"a": dogs(BOX, FAR, difficult=[True, False])}, protocol) == 0


def test_a_class_without_objects_has_no_ap_and_is_left_out_of_the_mean():
    result = evaluate({"a": found((BOX, 0.9), (FAR, 0.9, CAT))}, {"a": dogs(BOX)}, "voc07")
    assert result.ap["cat"] is None
    assert result.map == pytest.approx(1)


def test_a_class_without_detections_has_ap_zero():
    assert ap({}, {"a": dogs(BOX)}) == 0


def test_no_objects_at_all_have_no_map():
    assert evaluate({}, {"a": dogs()}, "voc07").map is None


def test_ties_keep_the_order_given():
    hit_first = {"a": found((BOX, 0.5), (FAR, 0.5))}
    miss_first = {"a": found((FAR, 0.5), (BOX, 0.5))}
    assert ap(hit_first, {"a": dogs(BOX)}) == 1
    assert ap(miss_first, {"a": dogs(BOX)}) == 0.5


def test_ties_between_images_keep_the_order_of_the_ground_truth():
    detections = {"b": found((FAR, 0.5)), "a": found((BOX, 0.5))}
    assert ap(detections, {"a": dogs(BOX), "b": dogs()}) == 1
    assert ap(detections, {"b": dogs(), "a": dogs(BOX)}) == 0.5


def test_a_detection_in_another_image_is_wrong():
    assert ap({"b": found((BOX, 0.9)), "a": found((BOX, 0.8))}, {"a": dogs(BOX), "b": dogs()}) == 0.5


def test_empty_boxes_match_nothing():
    empty = [10.0, 10.0, 10.0, 10.0]
    assert ap({"a": found((empty, 0.9), (BOX, 0.8))}, {"a": dogs(BOX)}) == 0.5


def test_detections_of_unknown_images_and_unknown_protocols_are_told():
    with pytest.raises(ValueError, match="image 'b', which is not in the ground truth"):
        evaluate({"b": found((BOX, 0.9))}, {"a": dogs(BOX)}, "voc07")
    with pytest.raises(ValueError, match="image 'b', which is not in the ground truth"):
        evaluate({"b": found((BOX, 0.9))}, {"a": dogs(BOX)}, "coco")
    with pytest.raises(ValueError, match="unknown protocol 'voc08'; choose one of voc07, voc10, coco"):
        evaluate({}, {}, "voc08")


@pytest.fixture(scope="module")
def voceval(shared):
    data = read_dataset(shared / "data/voc2007_test_annotations.json", "test")
    truth = {image: data.objects(image) for image in data.ids}
    raw = json.loads((shared / "data/voceval/detections_good_ties.json").read_text())
    detections = {
        image: Detections(
            torch.tensor(entry["boxes"], dtype=torch.float64).reshape(-1, 4),
            torch.tensor(entry["scores"], dtype=torch.float64),
            torch.tensor([VOC_CLASSES.index(name) for name in entry["labels"]], dtype=torch.int64),
        )
        for image, entry in raw.items()
    }
    return detections, truth, json.loads((shared / "data/voceval/expected_good_ties.json").read_text())


@pytest.mark.parametrize(
    ("protocol", "key", "tolerance"),
    [("voc07", "voc07", 1e-12), ("voc10", "voc10", 1e-12), ("coco", "coco_AP_difficult_iscrowd1", 1e-9)],
)
def test_the_official_codes_figures_are_reached(voceval, protocol, key, tolerance):
    detections, truth, expected = voceval
    result = evaluate(detections, truth, protocol)
    for name in VOC_CLASSES:
        assert result.ap[name] == pytest.approx(expected[key][name], abs=tolerance)


def some_evaluation(protocol):
    random = np.random.default_rng(0)
    truth, detections = {}, {}
    for i in range(40):
        boxes = random.uniform(0, 80, (3, 2))
        boxes = np.concatenate([boxes, boxes + 20], 1)
        truth[str(i)] = Objects.of(boxes, random.integers(11, 13, 3), random.random(3) < 0.2)
        moved = boxes + random.normal(0, 4, boxes.shape)
        scores, labels = random.random(3).round(1), random.integers(11, 13, 3)
        detections[str(i)] = Detections(*map(torch.from_numpy, (moved, scores, labels)))
    return detections, truth, evaluate(detections, truth, protocol)


@pytest.mark.parametrize("protocol", ["voc07", "voc10"])
def test_resampling_every_image_once_is_the_map_itself(protocol):
    result = some_evaluation(protocol)[2]
    expected = [np.nan if value is None else value for value in result.ap.values()]
    assert result.resampled_class_ap(np.ones((2, 40), np.float32)) == pytest.approx(np.array([expected] * 2), nan_ok=True)


@pytest.mark.parametrize("protocol", ["voc07", "voc10"])
def test_leaving_images_out_by_weight_is_leaving_them_out(protocol):
    detections, truth, result = some_evaluation(protocol)
    weights = (np.arange(40) % 3 > 0).astype(np.float32)
    kept = {name: value for i, (name, value) in enumerate(truth.items()) if weights[i]}
    alone = evaluate({name: detections[name] for name in kept}, kept, protocol)
    expected = [np.nan if value is None else value for value in alone.ap.values()]
    assert result.resampled_class_ap(weights[None])[0] == pytest.approx(np.array(expected), nan_ok=True)


@pytest.mark.parametrize("protocol", ["voc07", "voc10"])
def test_counting_an_image_twice_is_having_it_twice(protocol):
    """Equal scores are ties, whose order the copy may change, so every score is another here."""
    detections, truth, _ = some_evaluation(protocol)
    for i, one in enumerate(detections.values()):
        one.scores[:] = torch.arange(3) * 40 + i
    weights = (np.arange(40) % 3).astype(np.float32)
    copies = {f"{name} {n}": name for i, name in enumerate(truth) for n in range(int(weights[i]))}
    twice = evaluate({c: detections[n] for c, n in copies.items()}, {c: truth[n] for c, n in copies.items()}, protocol)
    result = evaluate(detections, truth, protocol).resampled_class_ap(weights[None])[0]
    for name in ("dog", "horse"):
        assert result[VOC_CLASSES.index(name)] == pytest.approx(twice.ap[name], abs=0.03)  # copies lie between, not beside


@pytest.mark.parametrize(("protocol", "rows"), [("voc07", 7), ("voc10", 7), ("voc07", 4), ("voc10", 4)])
def test_resampling_in_small_blocks_changes_no_bit(protocol, rows, monkeypatch):
    result = some_evaluation(protocol)[2]
    whole = np.concatenate(list(resample(result.images, 1000, 3)))
    found = result.resampled_class_ap(whole)
    monkeypatch.setattr(average_precision, "CELLS", {7: 40 * 7, 4: 1}[rows])  # at least four are drawn at a time
    blocks = list(resample(result.images, 1000, 3))
    assert max(len(block) for block in blocks) == rows
    assert np.array_equal(np.concatenate(blocks), whole)
    assert np.array_equal(result.resampled_class_ap(whole), found, equal_nan=True)


def test_images_of_a_group_are_drawn_together():
    weights = np.concatenate(list(resample(["a", "b", "a", "c"], 50, 0)))
    assert np.array_equal(weights[:, 0], weights[:, 2])
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all()
