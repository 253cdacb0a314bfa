import numpy as np
import pytest
import torch
from vocbench.detection.average_precision import evaluate
from vocbench.detection.columns import DetectionColumns, ObjectColumns
from vocbench.detection.detections import Detections, Objects

TRUTH = {
    "a": Objects.of([[0, 0, 9, 9], [5, 5, 9, 9]], [11, 7], [False, True]),
    "b": Objects.of([], []),
    "c": Objects.of([[1, 2, 3, 4]], [0]),
}
FOUND = {
    "c": Detections(torch.tensor([[1.0, 2.0, 3.0, 4.5]]), torch.tensor([0.3]), torch.tensor([0])),
    "a": Detections(torch.tensor([[0.0, 0.0, 9.0, 8.0]] * 2), torch.tensor([0.5, 0.7]), torch.tensor([11, 11])),
    "b": Detections.empty(),
}


def parts(one):
    return tuple(one) if isinstance(one, Detections) else (one.boxes, one.labels, one.difficult)


def same(one, two):
    """Equal values of equal types: an image's detections are tensors, and its objects arrays."""
    pairs = list(zip(parts(one), parts(two), strict=True))
    return all((type(a), a.dtype) == (type(b), b.dtype) and np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(("kind", "given"), [(DetectionColumns, FOUND), (ObjectColumns, TRUTH)])
def test_columns_read_like_the_dict_they_were_made_from(kind, given):
    columns = kind.of(given)
    assert list(columns) == list(given)
    assert len(columns) == 3
    assert "a" in columns
    assert "z" not in columns
    assert all(same(columns[name], value) for name, value in given.items())
    assert kind.of(columns) is columns
    with pytest.raises(KeyError, match="'z'"):
        columns["z"]


@pytest.mark.parametrize(("kind", "given"), [(DetectionColumns, FOUND), (ObjectColumns, TRUTH)])
def test_chosen_images_come_in_the_order_asked_for(kind, given):
    chosen = kind.of(given).select(["a", "c"])
    assert list(chosen) == ["a", "c"]
    assert all(same(chosen[name], given[name]) for name in ("a", "c"))
    assert chosen.image.tolist() == [0, 0, 1]
    assert len(kind.of(given).select([])) == 0


def test_an_image_may_come_twice_under_other_names_only():
    truth = ObjectColumns.of(TRUTH)
    twice = truth.select(["a", "a"], {"a#0": 0, "a#1": 1})
    assert same(twice["a#1"], TRUTH["a"])
    with pytest.raises(ValueError, match="image 'a' comes twice"):
        truth.select(["a", "a"])


def test_no_images_at_all():
    assert len(DetectionColumns.of({})) == len(ObjectColumns.of({})) == 0
    assert ObjectColumns.of({}).boxes.shape == DetectionColumns.of({}).boxes.shape == (0, 4)


@pytest.mark.parametrize("protocol", ["voc07", "voc10", "coco"])
def test_columns_are_evaluated_like_a_dict(protocol):
    one = evaluate(FOUND, TRUTH, protocol)
    two = evaluate(DetectionColumns.of(FOUND), ObjectColumns.of(TRUTH), protocol)
    assert one.ap == two.ap
    assert one.images == two.images
