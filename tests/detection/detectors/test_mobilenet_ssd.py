import json
from pathlib import Path

import numpy as np
import pytest
import torch
from vocbench.detection.detectors.caffemodel import read_caffemodel
from vocbench.detection.detectors.mobilenet_ssd import MobileNetSSD, load_mobilenet_ssd
from vocbench.detection.detectors.ssd import Suppression, decode, suppress
from vocbench.restorer.images import read_image

GOLDEN = json.loads(Path(__file__).with_name("golden_mobilenet_ssd.json").read_text())


@pytest.fixture(scope="module")
def detector(mobilenet_weights):
    return load_mobilenet_ssd(mobilenet_weights)


def rows_of(found):
    return [
        [label, score, *box]
        for box, score, label in zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
    ]


@pytest.mark.parametrize("name", GOLDEN["settings"])
@pytest.mark.parametrize("image", GOLDEN["photos"])
def test_detections_are_opencvs(shared, detector, name, image):
    score, top_k, keep = GOLDEN["settings"][name]
    detector.suppression = Suppression(score, top_k, 0.45, keep)
    photo = read_image(shared / "data/VOCdevkit/VOC2007/JPEGImages" / f"{image}.jpg")
    mine, golden = rows_of(detector([photo])[0]), GOLDEN["photos"][image][name]
    assert len(mine) == len(golden)
    left = dict(enumerate(golden))
    for row in mine:
        near = min(left, key=lambda i: abs(left[i][1] - row[1]) + 10 * (left[i][0] != row[0]) + abs(left[i][2] - row[2]) / 1e3)
        wanted = left.pop(near)
        assert wanted[0] == row[0]
        assert row[1] == pytest.approx(wanted[1], abs=1e-4)
        assert row[2:] == pytest.approx(wanted[2:], abs=1e-3)


def test_a_photo_is_detected_alike_alone_and_in_a_batch(shared, detector):
    detector.suppression = Suppression()
    folder = shared / "data/VOCdevkit/VOC2007/JPEGImages"
    photos = [read_image(folder / f"{image}.jpg") for image in ("000001", "000004")]
    together, alone = detector(photos)[1], detector(photos[1:])[0]
    torch.testing.assert_close(together.boxes, alone.boxes, atol=1e-3, rtol=0)
    torch.testing.assert_close(together.scores, alone.scores, atol=1e-5, rtol=0)


def test_no_photos_give_no_detections(detector):
    assert detector([]) == []


def test_features_pass_gradients_at_other_sizes(detector):
    x = torch.rand(1, 3, 64, 80, requires_grad=True)
    detector.features(x, "conv5")["conv5"].sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


def test_offsets_of_zero_are_the_priors():
    prior = torch.tensor([[0.5, 0.5, 0.2, 0.4]])
    torch.testing.assert_close(decode(torch.zeros(1, 1, 4), prior)[0], torch.tensor([[0.4, 0.3, 0.6, 0.7]]))


def test_offsets_move_by_their_variances():
    prior = torch.tensor([[0.5, 0.5, 0.2, 0.4]])
    box = decode(torch.tensor([[[1.0, 0.0, 0.0, 5 * float(np.log(2.0))]]]), prior)[0, 0]
    torch.testing.assert_close(box, torch.tensor([0.42, 0.1, 0.62, 0.9]), atol=1e-6, rtol=0)


def test_there_are_1917_priors():
    assert MobileNetSSD().priors.shape == (1917, 4)


def test_suppression_is_by_class_and_cuts_low_scores():
    boxes = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.49], [0.5, 0.5, 1.0, 1.0]])
    scores = torch.zeros(3, 20)
    scores[0, 11], scores[1, 11], scores[1, 7], scores[2, 11] = 0.9, 0.8, 0.7, 0.005
    found = suppress(boxes, scores, (200, 100), Suppression())
    assert found.labels.tolist() == [11, 7]
    assert found.boxes[0].tolist() == [0, 0, 100, 50]


@pytest.mark.parametrize("data", [b"", b"\xff" * 40, b"\xa2\x06\xff\xff\xff\xff\x0f", b"\x00\x01\x02", b"\xa2\x06\x02\x3a\x05"])
def test_a_malformed_caffemodel_is_named(tmp_path, data):
    (tmp_path / "a.caffemodel").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.caffemodel"):
        read_caffemodel(tmp_path / "a.caffemodel")


def field(number, payload):
    tag = number << 3 | 2
    head = bytes([tag & 0x7F | 0x80, tag >> 7]) if tag > 127 else bytes([tag])
    return head + bytes([len(payload)]) + payload


def test_a_hand_made_caffemodel_is_read_and_of_another_network(tmp_path):
    shape = field(7, field(1, bytes([2, 3])))
    blob = field(5, np.arange(6, dtype="<f4").tobytes()) + shape
    (tmp_path / "a.caffemodel").write_bytes(field(100, field(1, b"fc") + field(7, blob)))
    found = read_caffemodel(tmp_path / "a.caffemodel")
    assert np.array_equal(found["fc"][0], [[0, 1, 2], [3, 4, 5]])
    with pytest.raises(ValueError, match="not MobileNet-SSD: layer 'conv0'"):
        load_mobilenet_ssd(tmp_path / "a.caffemodel")
