import pytest
import torch
from torch import nn
from vocbench.pipeline.chain import RestoredDetector, restore_images

from tests.fakes import BlobDetector, Brighten, NotANumber, Smaller


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
