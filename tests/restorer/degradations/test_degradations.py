import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import correlate
from vocbench.restorer.degradations.blur_noise_jpeg import BAND, gaussian_blur, gaussian_noise, gaussian_taps, jpeg
from vocbench.restorer.degradations.recipes import RECIPES, degrade, draw_levels, image_generator, level_degrade
from vocbench.restorer.images import to_uint8


def test_blur_is_the_21_by_21_gaussian_with_replicated_borders(photo):
    kernel = np.outer(gaussian_taps(3.3), gaussian_taps(3.3))
    assert kernel.shape == (21, 21)
    wanted = np.stack([correlate(channel, kernel, mode="nearest") for channel in photo.double().numpy()])
    np.testing.assert_allclose(gaussian_blur(photo, 3.3).numpy(), wanted, atol=1e-6)


def test_blur_in_bands_is_that_of_the_whole_to_the_bit():
    """Of a picture of two bands and a part, by sums over whole shifted pictures, first down and then across."""
    image = torch.rand(3, 2 * BAND + 5, 23, generator=torch.Generator().manual_seed(0))
    wanted = np.pad(image.double().numpy(), [(0, 0), (10, 10), (10, 10)], mode="edge")
    for axis, size in ((1, 2 * BAND + 5), (2, 23)):
        wanted = sum(tap * wanted.take(range(i, i + size), axis) for i, tap in enumerate(gaussian_taps(2.7)))
    assert torch.equal(gaussian_blur(image, 2.7), torch.from_numpy(wanted).float())


def test_blur_of_sigma_zero_changes_nothing(photo):
    assert torch.equal(gaussian_blur(photo, 0.0), photo)


def test_noise_has_its_sigma_and_is_clipped():
    grey = torch.full((3, 200, 200), 0.5)
    noisy = gaussian_noise(grey, 30.0, image_generator(0, "a"))
    assert (noisy - grey).std().item() * 255 == pytest.approx(30, rel=0.02)
    assert gaussian_noise(torch.ones(3, 9, 9), 50.0, image_generator(0, "a")).max() <= 1


def test_jpeg_is_pillows_at_420(photo):
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(photo)).save(buffer, "JPEG", quality=23)
    wanted = np.asarray(Image.open(buffer))
    assert np.array_equal(to_uint8(jpeg(photo, 23)), wanted)


def test_a_degradation_depends_on_seed_and_id_alone(photo):
    torch.manual_seed(1)
    np.random.seed(1)
    first, levels = degrade(photo, "voc", 0, "000001")
    torch.manual_seed(2)
    np.random.seed(2)
    degrade(photo, "voc", 0, "000002")
    again, same = degrade(photo, "voc", 0, "000001")
    assert torch.equal(first, again)
    assert levels == same
    assert degrade(photo, "voc", 1, "000001")[1] != levels
    assert degrade(photo, "voc", 0, "000002")[1] != levels


def test_the_drawn_levels_are_pinned():
    """These very numbers must come on every machine; they were computed once by NumPy's PCG64 from the seed's SHA-256."""
    levels = draw_levels("voc", image_generator(0, "000001"))
    assert levels == {"blur": 3.336977321968333, "noise": 45.34315563007132, "jpeg": 44}


@pytest.mark.parametrize(("recipe", "low", "high"), [("mild", 9, 11), ("moderate", 12, 17), ("severe", 18, 20)])
def test_rl_restores_levels_add_up_to_their_range(recipe, low, high):
    generator = np.random.default_rng(0)
    seen: set[int] = set()
    for _ in range(300):
        levels = draw_levels(recipe, generator)
        blur, noise = int(levels["blur"] / 0.5) + 1, int(levels["noise"] / 5) + 1
        edges = [100, 80, 60, 50, 40, 35, 30, 25, 20, 15, 10]
        possible = [k for k in range(1, 11) if edges[k] <= levels["jpeg"] <= edges[k - 1]]
        assert any(low <= blur + noise + quality - 2 <= high for quality in possible)
        seen.update(blur + noise + quality - 2 for quality in possible)
    assert set(range(low, high + 1)) <= seen


def test_voc_draws_from_the_papers_ranges():
    generator = np.random.default_rng(0)
    drawn = [draw_levels("voc", generator) for _ in range(500)]
    for name, low, high in (("blur", 0, 10), ("noise", 30, 60), ("jpeg", 10, 50)):
        values = [levels[name] for levels in drawn]
        assert low <= min(values) < low + 0.05 * (high - low) + 1
        assert high - 0.05 * (high - low) - 1 < max(values) <= high


def test_clean_changes_nothing(photo):
    degraded, levels = degrade(photo, "clean", 0, "a")
    assert torch.equal(degraded, photo)
    assert levels == {}


def test_fixed_levels_are_applied_in_order(photo):
    generator = image_generator(3, "a")
    wanted = jpeg(gaussian_noise(gaussian_blur(photo, 2.0), 10.0, generator), 40)
    assert torch.equal(level_degrade(photo, {"jpeg": 40, "blur": 2.0, "noise": 10.0}, 3, "a"), wanted)


def test_unknown_names_are_told(photo):
    with pytest.raises(ValueError, match="unknown recipe 'fog'; choose one of voc"):
        degrade(photo, "fog", 0, "a")
    with pytest.raises(ValueError, match="unknown degradation 'fog'"):
        level_degrade(photo, {"fog": 1}, 0, "a")


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_takes_odd_sizes(recipe):
    for size in ((1, 1), (7, 13)):
        assert degrade(torch.rand(3, *size), recipe, 0, "x")[0].shape == (3, *size)


def test_voc_blur_is_the_blur_of_voc_alone(photo):
    blurred, levels = degrade(photo, "voc-blur", 0, "a")
    assert levels == {"blur": degrade(photo, "voc", 0, "a")[1]["blur"]}
    assert torch.equal(blurred, gaussian_blur(photo, levels["blur"]))
