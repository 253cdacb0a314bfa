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
    with pytest.raises(ValueError, match=r"returned \(3, 4, 3\) for an image of \(3, 4, 4\)"):
        restore_images(Smaller(), [torch.rand(3, 4, 4)])


DARK, BRIGHT = torch.full((3, 90, 90), 0.2), torch.full((3, 90, 90), 0.8)


def test_a_restorers_failure_is_told_of_the_photo_at_fault_only():
    results = restore_photos("picky", PickyNaN(), ["a", "b", "c"], [DARK, BRIGHT, DARK])
    assert [result.error for result in results] == [
        None,
        "the restorer 'picky' failed on b: the restorer returned NaN or infinite pixels",
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
    with pytest.raises(DetectorError, match=r"it returned detections for 0 images, expected 1"):
        detect_photos("own", lambda images: [], ["a"], [DARK])


class Doubles(nn.Module):
    """Gives float64, as code in NumPy does."""

    def forward(self, images):
        return images.double() * 0.5


class Bytes(nn.Module):
    """Gives 8 bits a channel."""

    def forward(self, images):
        return images.to(torch.uint8)


def test_what_the_detector_sees_has_the_type_of_the_photo():
    (restored,) = restore_images(Doubles(), [torch.ones(3, 4, 4)])
    assert torch.equal(restored, torch.full((3, 4, 4), 0.5))
    with pytest.raises(ValueError, match=r"the restorer returned torch\.uint8; expected floats in \[0, 1\]"):
        restore_images(Bytes(), [torch.ones(3, 4, 4)])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.linspace(0, 251, 48).reshape(3, 4, 4), r"image 1: expected values in \[0, 1\], got 0 to 251; divide by 255"),
        (torch.full((3, 4, 4), 9, dtype=torch.uint8), r"got torch\.uint8; use image\.float\(\) / 255 for whole numbers"),
        (
            torch.linspace(-2.1, 2.6, 48).reshape(3, 4, 4) / 2,
            r"got -1\.05 to 1\.3, as of a normalised image; restore it before",
        ),
        (torch.full((3, 4, 4), 1.05), r"got 1\.05 to 1\.05; clamp it if it was resized"),
        (torch.full((3, 4, 4), float("nan")), "it holds NaN or infinite pixels"),
        (torch.rand(4, 4, 3), r"expected \(3, H, W\) in RGB with at least one pixel, got \(4, 4, 3\)"),
        (torch.rand(3, 0, 4), r"at least one pixel, got \(3, 0, 4\)"),
        (torch.rand(3, 4, 4, device="meta"), "it is on the device 'meta', where tensors hold no pixels"),
        ([[0.5]], r"expected a float tensor \(3, H, W\) in \[0, 1\], got list"),
    ],
)
def test_images_that_are_not_floats_in_0_to_1_are_refused_with_the_remedy(given, message):
    for chain in (RestoredDetector(nn.Identity(), Seen()), RestoredDetector(nn.Identity(), Seen(), differentiable=True)):
        with pytest.raises(ValueError, match=message):
            chain([torch.rand(3, 4, 4), given])


def test_the_overshoot_of_rounding_is_no_fault():
    (restored,) = restore_images(nn.Identity(), [torch.full((3, 4, 4), 1 + 0.4 / 255)])
    assert torch.equal(restored, torch.ones(3, 4, 4))


class Warm(nn.Module):
    """A restorer with a parameter and a batch norm, which training would change."""

    def __init__(self):
        super().__init__()
        self.gain, self.norm = nn.Parameter(torch.tensor(0.5)), nn.BatchNorm2d(3)

    def forward(self, images):
        return self.norm(images) * self.gain


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_images_of_another_precision_come_back_in_it(kind):
    (restored,) = RestoredDetector(Warm(), Seen()).restore([torch.full((3, 4, 4), 0.5, dtype=kind)])
    assert restored.dtype == kind
    torch.testing.assert_close(restored.float(), torch.full((3, 4, 4), 0.25), atol=2e-3, rtol=0)


def test_a_restorer_stays_in_evaluation_and_frozen_whatever_is_asked_of_the_chain():
    restorer, detector = Warm(), nn.Linear(1, 1)
    chain = RestoredDetector(restorer, detector)
    for change in (lambda: chain, chain.train, lambda: chain.requires_grad_(True), lambda: nn.Sequential(chain).train()):
        change()
        assert not restorer.training
        assert not restorer.norm.training
        assert not any(parameter.requires_grad for parameter in restorer.parameters())
        assert all(parameter.requires_grad for parameter in detector.parameters())
    assert detector.training


class Head(nn.Module):
    """A detector that trains: its loss is how far its brightness is from a target."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))

    def forward(self, images, targets=None):
        return sum((self.weight * image.mean() - 0.9) ** 2 for image in images)


def step(chain):
    """The loss before and after a step of gradient descent on the parameters that ask for it."""
    photos, before = [torch.full((3, 6, 5), 0.5), torch.full((3, 4, 8), 0.6)], 0.0
    parameters = [parameter for parameter in chain.parameters() if parameter.requires_grad]
    descent = torch.optim.SGD(parameters, 0.1)
    before = chain(photos)
    before.backward()
    descent.step()
    return before.item(), chain(photos).item()


def test_a_detector_trains_behind_a_frozen_restorer():
    restorer, head = Warm(), Head()
    before, after = step(RestoredDetector(restorer, head).train())
    assert after < before
    assert restorer.gain.grad is None
    assert restorer.norm.running_mean is not None
    assert restorer.norm.running_mean.abs().max() == 0
    assert head.weight.grad is not None


def test_both_parts_train_where_gradients_pass_the_restorer():
    restorer, head = Warm(), Head().requires_grad_(False)
    chain = RestoredDetector(restorer, head, differentiable=True).train()
    before, after = step(chain)
    assert after < before
    assert restorer.gain.grad is not None
    assert not restorer.norm.training


def test_owan_in_tiles_gives_the_gradients_of_small_differences():
    from vocbench.restorer.engines.select import TorchEngine
    from vocbench.restorer.networks.owan_files import build
    from vocbench.restorer.tiling import Tiled, Tiling

    torch.manual_seed(0)
    restorer = Tiled(TorchEngine(build("owan").double(), "cpu"), Tiling(16, 12), 2).requires_grad_(True)
    photo = torch.rand(3, 18, 20, dtype=torch.float64) * 0.2 + 0.4
    with torch.no_grad():
        weight = next(p for name, p in restorer.named_parameters() if name.endswith("tail.weight"))
        weight.mul_(0.1)
        weight[:, 0, 1, 1] += 0.3  # so that nothing is clipped to black

    def loss():
        return RestoredDetector(restorer, Head().double(), differentiable=True)([photo])

    loss().backward()
    assert weight.grad is not None
    place = (0, 0, 1, 1)
    told, kept, small = weight.grad[place].item(), weight[place].item(), 1e-6
    with torch.no_grad():
        weight[place] = kept + small
        above = loss().item()
        weight[place] = kept - small
        below = loss().item()
    assert told != 0
    assert told == pytest.approx((above - below) / (2 * small), rel=1e-4)


class Compiled(nn.Module):
    """Has parameters and gives no gradients, as compiled code does."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, images):
        return images * self.gain.item()


def test_a_restorer_without_gradients_says_so_where_they_are_asked_for():
    photo = torch.rand(3, 4, 4)
    with pytest.raises(ValueError, match=r"the restorer gives no gradients.*; use owan or dncnn, or no `differentiable`"):
        RestoredDetector(Compiled(), Seen(), differentiable=True)([photo])
    frozen = RestoredDetector(Compiled().requires_grad_(False), Seen(), differentiable=True)
    torch.testing.assert_close(frozen.restore([photo])[0], photo * 0.5)


def test_distributed_training_goes_on_behind_a_frozen_restorer(tmp_path):
    """Parameters that never get a gradient stop it in the second step, as those of a restorer would."""
    import torch.distributed as distributed

    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        chain = torch.nn.parallel.DistributedDataParallel(RestoredDetector(Warm(), Head()).train())
        for _ in range(3):
            chain([torch.full((3, 4, 4), 0.5)]).backward()
    finally:
        distributed.destroy_process_group()


class Squares(nn.Module):
    """Sees photos at 30 x 40, finds the right half of each, and keeps what it was shown."""

    def __init__(self, form):
        super().__init__()
        self.form = form

    def input_size(self, height, width):
        return 30, 40

    def forward(self, images):
        self.images = images
        found = []
        for image in images:
            height, width = image.shape[1:]
            found.append(Detections(torch.tensor([[width / 2, 0, width, height]]), torch.ones(1), torch.ones(1).long()))
        return [self.form(result) for result in found]


@pytest.mark.parametrize(
    "form", [lambda result: result, lambda result: result._asdict(), tuple], ids=["own", "mapping", "triple"]
)
def test_at_the_detectors_scale_boxes_come_back_in_the_photos_pixels(form):
    detector = Squares(form)
    photos = [torch.rand(3, 60, 120), torch.rand(3, 20, 80), torch.rand(3, 20, 30)]
    results = RestoredDetector(nn.Identity(), detector, scale="detector")(photos)
    assert [tuple(image.shape[1:]) for image in detector.images] == [(30, 40), (20, 40), (20, 30)]  # never enlarged
    assert torch.equal(detector.images[2], photos[2])
    boxes = [(result["boxes"] if isinstance(result, dict) else result[0])[0].tolist() for result in results]
    assert boxes == [pytest.approx([60, 0, 120, 60]), pytest.approx([40, 0, 80, 20]), pytest.approx([15, 0, 30, 20])]


def test_photos_are_shrunk_with_antialiasing():
    detector = Squares(lambda result: result)
    lines = torch.arange(160) % 2 * torch.ones(3, 120, 1)  # of one pixel: grey at a quarter
    RestoredDetector(nn.Identity(), detector, scale="detector")([lines])
    torch.testing.assert_close(detector.images[0][:, 1:-1, 1:-1], torch.full((3, 28, 38), 0.5), atol=0.01, rtol=0)


@pytest.mark.parametrize(("size", "seen"), [((375, 500), (320, 320)), ((90, 80), (90, 80))])
def test_torchvisions_detectors_say_what_they_see(size, seen):
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large
    from vocbench.detection.detectors.torchvision_ssd import TorchvisionDetector
    from vocbench.pipeline.scale import shrunk

    network = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=2)
    for detector in (network, TorchvisionDetector(network, ["__background__", "dog"])):
        assert shrunk(torch.rand(3, *size), detector).shape == (3, *seen)


def test_a_transform_by_the_shorter_side_says_what_it_sees():
    from torchvision.models.detection.transform import GeneralizedRCNNTransform
    from vocbench.pipeline.scale import input_size

    detector, transform = nn.Module(), GeneralizedRCNNTransform(800, 1333, [0, 0, 0], [1, 1, 1])
    detector.add_module("transform", transform)
    for height, width in ((1000, 1200), (1600, 4000), (3000, 1000)):
        resized, _ = transform.resize(torch.rand(3, height, width), None)
        assert input_size(detector, height, width) == tuple(resized.shape[1:])


def test_what_cannot_be_done_at_the_detectors_scale_is_told():
    photo = torch.rand(3, 60, 80)
    with pytest.raises(ValueError, match="Seen does not say what size it sees; give it a method input_size"):
        RestoredDetector(nn.Identity(), Seen(), scale="detector")([photo])
    with pytest.raises(ValueError, match="scale='detector' takes images alone; train the detector with scale='native'"):
        RestoredDetector(nn.Identity(), Squares(tuple), scale="detector")([photo], [{"boxes": torch.zeros(0, 4)}])
    with pytest.raises(ValueError, match="unknown scale 'half'; choose one of native, detector"):
        RestoredDetector(nn.Identity(), Seen(), scale="half")  # type: ignore[arg-type]
