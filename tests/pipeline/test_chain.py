import pytest
import torch
from torch import nn
from vocbench.detection.detections import Detections
from vocbench.pipeline.chain import DetectorError, RestoredDetector, detect_photos, restore_images, restore_photos

from tests.support.fakes import (
    BlobDetector,
    Brighten,
    HungryDetector,
    MappingDetector,
    NotANumber,
    PickyNaN,
    RaisingDetector,
    Smaller,
    StarvedDetector,
)


class Seen(nn.Module):
    """A detector in torchvision's form that keeps what it was shown."""

    def forward(self, images, targets=None):
        self.images, self.targets = images, targets
        return [{"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0)} for _ in images]


def test_the_detector_sees_restored_images_at_their_own_sizes():
    images, detector = [torch.rand(3, 8, 9), torch.rand(3, 5, 12)], Seen()
    result = RestoredDetector(Brighten(), detector)(images, targets=["t"])
    for image, seen in zip(images, detector.images, strict=True):
        torch.testing.assert_close(seen, image * 0.5 + 0.3)
    assert detector.targets == ["t"]
    assert set(result[0]) == {"boxes", "scores", "labels"}


def test_identity_gives_what_the_detector_alone_gives():
    images = [torch.rand(3, 50, 60)]
    alone, chained = BlobDetector()(images), RestoredDetector(nn.Identity(), BlobDetector())(images)
    assert all(torch.equal(a, b) for a, b in zip(alone[0], chained[0], strict=True))


def test_both_parts_are_submodules():
    chain = RestoredDetector(nn.Conv2d(3, 3, 1), nn.Linear(2, 2))
    assert {name for name, _ in chain.named_parameters()} == {
        "restorer.weight",
        "restorer.bias",
        "detector.weight",
        "detector.bias",
    }


def test_a_restorer_that_breaks_its_contract_is_told():
    with pytest.raises(ValueError, match="NaN"):
        restore_images(NotANumber(), [torch.rand(3, 4, 4)])
    with pytest.raises(ValueError, match=r"gave \(3, 4, 3\) for an image of \(3, 4, 4\)"):
        restore_images(Smaller(), [torch.rand(3, 4, 4)])


DARK, BRIGHT = torch.full((3, 90, 90), 0.2), torch.full((3, 90, 90), 0.8)


def test_a_restorers_failure_is_told_of_the_photo_at_fault_only():
    results = restore_photos("picky", PickyNaN(), ["a", "b", "c"], [DARK, BRIGHT, DARK])
    assert [result.error for result in results] == [
        None,
        "the restorer 'picky' failed on b: the restorer gave NaN or infinite pixels",
        None,
    ]
    assert torch.equal(results[1].image, BRIGHT)


def test_a_detector_that_raises_is_named_with_the_photo():
    with pytest.raises(DetectorError, match=r"the detector 'own' failed on b: 'no such layer'"):
        detect_photos("own", RaisingDetector(), ["a", "b", "c"], [DARK, BRIGHT, DARK])


def test_a_detector_short_of_memory_gets_fewer_images_at_a_time():
    images, detector = [DARK, BRIGHT, DARK, BRIGHT, DARK], HungryDetector()
    found = detect_photos("hungry", detector, list("abcde"), images)
    assert detector.counts == [5, 2, 3, 1, 2]
    for mine, alone in zip(found, BlobDetector()(images), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, alone, strict=True))
    with pytest.raises(DetectorError, match=r"the detector 'starved' failed on a: CUDA out of memory"):
        detect_photos("starved", StarvedDetector(), ["a", "b"], [DARK, BRIGHT])


def test_torchvisions_form_is_taken_from_a_users_detector():
    mapped, plain = (detect_photos("x", make(), ["a"], [DARK])[0] for make in (MappingDetector, BlobDetector))
    assert isinstance(mapped, Detections)
    assert all(torch.equal(a, b) for a, b in zip(mapped, plain, strict=True))


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"boxes": torch.zeros(1, 4), "scores": torch.zeros(1)}, "or a mapping of these, got a mapping of boxes, scores"),
        (None, "boxes, scores and labels, or a mapping of these, got NoneType"),
        ("abc", "got str"),
        ((torch.zeros(1, 4), torch.zeros(1)), "got tuple"),
        ((torch.zeros(4), torch.zeros(1), torch.zeros(1)), r"boxes \(N, 4\), scores \(N,\) and labels \(N,\), got \(4,\)"),
        ((torch.zeros(1, 4), torch.zeros(1), torch.tensor([20])), r"labels must lie in 0\.\.19, got 20\.\.20"),
    ],
)
def test_what_is_no_detections_is_told(result, message):
    with pytest.raises(DetectorError, match=message):
        detect_photos("own", lambda images: [result], ["a"], [DARK])


def test_detections_of_too_few_images_are_told():
    with pytest.raises(DetectorError, match=r"it gave detections of 0 images for 1"):
        detect_photos("own", lambda images: [], ["a"], [DARK])


class Doubles(nn.Module):
    """Gives float64, as code in NumPy does."""

    def forward(self, images):
        return images.double() * 0.5


def test_what_the_detector_sees_has_the_type_of_the_photo():
    (restored,) = restore_images(Doubles(), [torch.ones(3, 4, 4)])
    assert torch.equal(restored, torch.full((3, 4, 4), 0.5))
    with pytest.raises(ValueError, match=r"the restorer gave torch\.uint8; floats in \[0, 1\] are needed"):
        restore_images(lambda images: images.to(torch.uint8), [torch.ones(3, 4, 4)])
