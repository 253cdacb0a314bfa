from itertools import count

import pytest
import torch
from torch import nn
from vocbench.benchmarks.experiments.gate_errors import stored
from vocbench.pipeline import gate
from vocbench.pipeline.chain import RestoredDetector
from vocbench.pipeline.gate import Gated, fit, measures, needs_restoring
from vocbench.pipeline.scale import shrunk
from vocbench.restorer.degradations.recipes import degrade, level_degrade

from tests.support.fakes import Brighten, SmallDetector


@pytest.fixture(scope="module")
def pictures(request):
    """Ten colour pictures of soft-edged discs on slopes, sharp and without noise."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(0, 1, 150), torch.linspace(0, 1, 200), indexing="ij")
    made = []
    for _ in range(10):
        picture = torch.rand(3, 1, 1, generator=generator) * 0.3 + 0.3 + 0.2 * x - 0.1 * y
        for _ in range(80):
            cx, cy, radius = torch.rand(3, generator=generator)
            inside = ((x - cx) ** 2 + (y - cy) ** 2).sqrt() < radius * 0.08
            picture = torch.where(inside, torch.rand(3, 1, 1, generator=generator), picture)
        made.append(picture.clamp(0, 1))
    return made


def test_each_measure_follows_its_degradation(pictures):
    clean = measures(pictures[0])
    blurred, noisy, packed = (
        measures(level_degrade(pictures[0], levels, 0, "a")) for levels in ({"blur": 2.0}, {"noise": 20.0}, {"jpeg": 10.0})
    )
    assert blurred.sharpness < 0.8 * clean.sharpness
    assert noisy.noise > clean.noise + 8
    assert noisy.chroma_noise == pytest.approx(20 * 2**0.5, rel=0.1)
    assert packed.blocking > 1.5 * clean.blocking


@pytest.mark.parametrize("levels", [{"blur": 3.0}, {"noise": 10.0}, {"jpeg": 20.0}])
def test_what_is_degraded_is_restored(pictures, levels):
    assert all(needs_restoring(level_degrade(picture, levels, 0, str(i))) for i, picture in enumerate(pictures))


@pytest.mark.parametrize(("noise", "quality"), [(15.0, 95), (30.0, 95), (30.0, 75)])
def test_noise_is_seen_in_what_cameras_store(pictures, noise, quality):
    for number, picture in enumerate(pictures):
        assert not needs_restoring(stored(picture, 95))
        assert needs_restoring(stored(level_degrade(picture, {"noise": noise}, 0, str(number)), quality))


def test_noise_is_seen_in_grey_photos(pictures):
    grey = pictures[0].mean(0, keepdim=True).expand(3, -1, -1)
    noise = 25 / 255 * torch.randn(grey.shape[1:], generator=torch.Generator().manual_seed(0))
    assert not needs_restoring(grey)
    assert needs_restoring((grey + noise).clamp(0, 1))


def test_noise_is_seen_where_a_part_of_a_photo_is_black(pictures):
    """Clipping halves the noise there."""
    black = pictures[0].clone()
    black[:, :, 110:] = 0
    noisy = stored(level_degrade(black, {"noise": 30.0}, 0, "a"), 90)
    assert measures(stored(black)).flat_noise < 1
    assert measures(noisy).flat_noise > 10
    assert needs_restoring(noisy)


def test_real_photos_are_told_apart(shared):
    from vocbench.detection.datasets.voc import read_voc
    from vocbench.restorer.images import read_image

    data = read_voc(shared / "data/VOCdevkit/VOC2012", "val")
    photos = [(image, read_image(data.photo(image))) for image in data.ids[:30]]
    assert sum(needs_restoring(photo) for _, photo in photos) <= 6
    assert sum(needs_restoring(degrade(photo, "voc", 0, image)[0]) for image, photo in photos) >= 28


def test_limits_fitted_to_photos_let_their_clean_ones_pass(pictures):
    degraded = [level_degrade(p, {"blur": 2.0, "noise": 20.0, "jpeg": 30.0}, 0, str(i)) for i, p in enumerate(pictures)]
    limits = fit(pictures, degraded, passed=1.0)
    assert not any(needs_restoring(picture, limits) for picture in pictures)
    assert all(needs_restoring(picture, limits) for picture in degraded)


def test_a_gate_passes_images_untouched_and_restores_the_others(monkeypatch):
    monkeypatch.setattr(gate, "needs_restoring", lambda image, limits: bool(image.mean() > 0.5))
    dark, bright = torch.full((3, 40, 40), 0.2), torch.full((3, 50, 40), 0.8)
    gated = Gated(Brighten())
    first, second, third = gated.restore_many([dark, bright, dark])
    assert first.image is dark
    assert third.image is dark
    torch.testing.assert_close(second.image, Brighten()(bright))
    assert [one.note for one in (first, second, third)] == ["passed", "restored", "passed"]
    torch.testing.assert_close(gated(torch.stack([bright])), Brighten()(torch.stack([bright])))


class Halving(nn.Module):
    """A detector that sees half of each side, and keeps what it was shown."""

    def input_size(self, height, width):
        return height // 2, width // 2

    def forward(self, images):
        self.images = images
        return SmallDetector()(images)


def test_a_gate_decides_at_the_photos_own_size_whatever_size_is_restored(pictures):
    """Averaging four pixels takes away half of the noise, and the limits are for photos that were not shrunk."""
    noisy, clean, detector = level_degrade(pictures[0], {"noise": 4.0}, 0, "a"), pictures[0], Halving()
    assert needs_restoring(noisy)
    assert not needs_restoring(shrunk(noisy, detector))
    assert not needs_restoring(clean)
    RestoredDetector(Gated(Brighten()), detector, scale="detector")([noisy, clean])
    torch.testing.assert_close(detector.images[0], Brighten()(shrunk(noisy, detector)))
    assert torch.equal(detector.images[1], clean)  # not shrunk: it is left as it is


def test_boxes_in_a_photo_that_a_gate_passes_are_in_its_pixels(pictures):
    """At 40 x 30 pixels, of which nothing can be told, it would have been restored."""
    (found,) = RestoredDetector(Gated(Brighten()), SmallDetector(), scale="detector")([pictures[0]])
    assert found.boxes.tolist() == [[0, 0, 100, 75]]
    assert found.scores.item() == pytest.approx(0.2)  # the width that the detector got, in thousands


class Gain(nn.Module):
    """A restorer with a parameter to train."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, images):
        return images * self.gain


@pytest.mark.parametrize("scale", ["native", "detector"])
def test_gradients_reach_the_restorer_behind_a_gate(pictures, scale):
    """Through the photo that is restored; the one that passes has none to give."""
    noisy, clean, detector = level_degrade(pictures[0], {"noise": 20.0}, 0, "a"), pictures[0], Halving()
    restorer = Gain()
    RestoredDetector(Gated(restorer), detector, scale=scale, differentiable=True)([clean, noisy])
    assert not detector.images[0].requires_grad
    detector.images[1].sum().backward()
    seen = shrunk(noisy, detector) if scale == "detector" else noisy
    assert restorer.gain.grad is not None
    assert restorer.gain.grad.item() == pytest.approx(seen.sum().item(), rel=1e-5)


def test_a_picture_too_small_to_tell_is_restored():
    assert needs_restoring(torch.full((3, 20, 200), 0.5))
    assert not needs_restoring(torch.full((3, 64, 200), 0.5))


def test_the_gates_errors_are_counted_by_condition(voc_folder):
    from click.testing import CliRunner
    from vocbench.benchmarks.experiments.gate_errors import conditions, main
    from vocbench.detection.datasets.voc import read_voc
    from vocbench.restorer.images import read_image

    done = CliRunner().invoke(main, ["--data", str(voc_folder), "--limit", "2"])
    rows = [line.split("|")[1:3] for line in done.output.splitlines()[2:] if line]
    told = {name.strip(): float(share.strip(" %")) for name, share in rows[:-1]}
    assert list(told) == list(conditions(0))
    data = read_voc(voc_folder, "val")
    seen = [level_degrade(read_image(data.photo(image)), {"noise": 50}, 0, image) for image in data.ids[:2]]
    assert told["noise 50"] == 50 * sum(map(needs_restoring, seen))


def test_limits_are_fitted_to_a_split(voc_folder, monkeypatch):
    from vocbench.benchmarks.experiments import gate_errors
    from vocbench.benchmarks.experiments.gate_errors import fitted, shares

    limits = fitted(str(voc_folder), "val", 5, 0)
    ticks = count(step=3)
    monkeypatch.setattr(gate_errors.time, "perf_counter", lambda: float(next(ticks)))
    found, seconds = shares(str(voc_folder), "val", 5, 0, limits)
    assert found["clean"] < found["noise 50"] == 1
    assert seconds == 3.0  # one tick of this clock
