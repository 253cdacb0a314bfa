"""The guard's bounds: what restoring may change, and what it may not."""

import pytest
import torch
from vocbench.restorer.contract import Restored
from vocbench.restorer.degradations.recipes import level_degrade
from vocbench.restorer.guard import AROUND, CELL, TOLERANCE, Guarded, bounds, flatness, guard, keep_flat


def edge() -> torch.Tensor:
    """A black half beside a white half, (3, 96, 96)."""
    image = torch.zeros(3, 96, 96)
    image[:, :, 48:] = 1
    return image


@pytest.mark.parametrize("grey", [0.0, 0.3, 1.0])
def test_paint_on_a_flat_picture_is_taken_back_to_the_tolerance(grey):
    picture = torch.full((1, 3, 64, 64), grey)
    painted = picture.clone()
    painted[:, 0, 16:32, 16:32] = 1 - grey if grey != 0.3 else 0.9
    guarded, outside = guard(painted, picture)
    middle = (guarded - picture)[:, :, 23:25, 23:25].abs().max().item()  # where no neighbour takes part of the change
    assert middle < TOLERANCE + 0.15
    assert outside.item() == pytest.approx(1 / 16)
    assert torch.equal(guarded[:, 1:], picture[:, 1:])


def test_a_painted_block_among_painted_blocks_ends_at_the_tolerance():
    picture = torch.full((1, 3, 96, 96), 0.5)
    guarded, outside = guard(picture + 0.4, picture)
    assert (guarded - picture).abs().max().item() == pytest.approx(TOLERANCE, abs=1e-3)
    assert outside.item() == 1


def test_what_lies_within_the_bounds_comes_back_to_the_bit():
    picture = torch.rand(2, 3, 50, 70, generator=torch.Generator().manual_seed(0))
    restored = (picture + 0.01).clamp(0, 1)
    guarded, outside = guard(restored, picture)
    assert guarded is restored and not outside.any()


@pytest.mark.parametrize("level", [0.0, 1.0])
@pytest.mark.parametrize("sigma", [10.0, 30.0, 60.0])
def test_noise_that_is_clipped_leaves_room_for_the_true_black_and_white(level, sigma):
    clean = torch.full((3, 96, 96), level)
    noisy = level_degrade(clean, {"noise": sigma}, 0, "flat")
    assert (noisy.mean() - level).abs() > 0.3 * sigma / 255  # clipping did move the mean
    guarded, outside = guard(clean[None], noisy[None])
    assert torch.equal(guarded[0], clean) and not outside.any()


def test_a_sharp_edge_may_come_back_from_heavy_blur_and_noise():
    degraded = level_degrade(edge(), {"blur": 10.0, "noise": 30.0, "jpeg": 20}, 0, "edge")
    assert not guard(edge()[None], degraded[None])[1].any()


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (17, 33)])
def test_any_size_has_bounds(size):
    picture = torch.full((1, 3, *size), 0.5)
    low, high = bounds(picture)
    assert low.shape[2:] == (-(-size[0] // 16), -(-size[1] // 16))
    assert (low < 0.5).all() and (high > 0.5).all()
    assert guard(picture, picture)[0].shape == picture.shape


class Painter(torch.nn.Module):
    """Paints a cyan square into the upper left of what is flat there."""

    def forward(self, images):
        painted = images.clone()
        painted[:, :, :32, :32] = torch.tensor([0.0, 1.0, 1.0])[:, None, None]
        return painted


def test_a_guarded_restorer_takes_paint_back_and_tells_it():
    guarded = Guarded(Painter())
    noisy = 0.5 + 0.05 * torch.randn(3, 96, 80, generator=torch.Generator().manual_seed(0))
    cyan = torch.tensor([0.0, 1.0, 1.0])[:, None, None].expand(3, 70, 64)
    mended, left = guarded.restore_many([noisy, cyan])
    assert mended.note == "guarded"
    assert (mended.image - noisy)[:, 8:24, 8:24].mean((1, 2)).abs().max() < TOLERANCE + 0.08
    assert torch.equal(left.image, cyan) and left.note is None
    torch.testing.assert_close(guarded(noisy[None])[0], mended.image)


def bars(photo: torch.Tensor, colour: float) -> torch.Tensor:
    """A picture (3, H, W) with bars of 40 pixels above and below."""
    boxed = photo.clone()
    boxed[:, :40] = boxed[:, -40:] = colour
    return boxed


@pytest.mark.parametrize("colour", [0.0, 114 / 255, 1.0])
def test_flat_bars_come_back_to_the_bit_and_the_photo_between_them_is_the_restorers(colour):
    photo = bars(torch.rand(3, 160, 130, generator=torch.Generator().manual_seed(0)), colour)
    restored = keep_flat(torch.full((1, 3, 160, 130), 0.3), photo[None])[0]
    margin = (AROUND + 1) * CELL
    assert torch.equal(restored[:, : 40 - margin], photo[:, : 40 - margin])
    assert torch.equal(restored[:, margin - 40 :], photo[:, margin - 40 :])
    assert torch.equal(restored[:, 40:120], torch.full((3, 80, 130), 0.3))


def test_a_flat_picture_of_any_size_passes_a_restorer_that_paints():
    for size in [(1, 1), (3, 50), (64, 64)]:
        grey = torch.full((3, *size), 0.6)
        (passed,) = Guarded(Painter()).restore_many([grey])
        assert torch.equal(passed.image, grey) and passed.note is None


@pytest.mark.parametrize("levels", [{"noise": 2.0}, {"jpeg": 10}, {"blur": 5.0, "noise": 10.0, "jpeg": 20}])
def test_what_noise_and_jpeg_have_touched_is_not_flat(levels):
    ramp = torch.linspace(0.2, 0.8, 96).expand(3, 96, 96) + 0.05 * torch.sin(torch.arange(96) / 3)[:, None]
    assert flatness(level_degrade(ramp, levels, 0, "ramp")[None]).mean() < 0.02


def test_gaussian_blur_leaves_flat_areas_and_edges_to_the_restorer():
    flat = flatness(level_degrade(edge(), {"blur": 4.0}, 0, "edge")[None])[0, 0]
    assert flat[:, 40:56].max() == 0
    assert flat[:, :16].min() == 1


def test_the_note_of_the_restorer_behind_the_guard_stays():
    class Telling(Painter):
        def restore_many(self, images):
            return [Restored(self(image[None])[0], "restored") for image in images]

    (mended,) = Guarded(Telling()).restore_many([torch.rand(3, 64, 64) / 2])
    assert mended.note == "restored, guarded"


def test_gradients_pass_the_guard():
    layer = torch.nn.Conv2d(3, 3, 1, bias=False)  # a bias moves means, and means held at their bounds have no gradient
    torch.nn.init.dirac_(layer.weight)
    Guarded(layer)(torch.rand(1, 3, 48, 48)).sum().backward()
    gradient = layer.weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0
