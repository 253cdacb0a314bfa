import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from vocbench.restorer import quality
from vocbench.restorer.quality import BAND, psnr, qualities, ssim

from tests.support.calls import noting


def test_psnr_and_ssim_are_scikit_images():
    torch.manual_seed(0)
    clean = torch.rand(2, 3, 33, 40)
    image = (clean + 0.1 * torch.randn_like(clean)).clamp(0, 1)
    for i in range(2):
        one, two = image[i].double().numpy(), clean[i].double().numpy()
        assert psnr(image, clean)[i].item() == pytest.approx(peak_signal_noise_ratio(two, one, data_range=1), abs=1e-9)
        wanted = structural_similarity(one, two, channel_axis=0, data_range=1)
        assert ssim(image, clean)[i].item() == pytest.approx(wanted, abs=1e-9)


def test_ssim_in_bands_has_scikit_images_digits():
    """Flat areas too, where variances are differences of almost equal numbers; of colour and of grey."""
    generator = torch.Generator().manual_seed(2)
    clean = torch.rand(1, 3, 2 * BAND + 17, 61, generator=generator)
    clean[..., :30] = 0.7
    image = (clean + 0.05 * torch.randn(clean.shape, generator=generator)).clamp(0, 1)
    for channels in (3, 1):
        one, two = image[0, :channels].double().numpy(), clean[0, :channels].double().numpy()
        wanted = structural_similarity(one, two, channel_axis=0, data_range=1)
        assert ssim(image[:, :channels], clean[:, :channels]).item() == pytest.approx(wanted, abs=1e-13)


@pytest.mark.parametrize("height", [7, 8, BAND, BAND + 6, BAND + 7, 3 * BAND + 1])
def test_several_images_against_one_target_have_scikit_images_numbers(height, monkeypatch):
    """And the target's own sums are made once: three filterings of an image, two of the target, in each band."""
    filtered: list[tuple[object, ...]] = []
    monkeypatch.setattr(quality, "_box", noting(filtered, quality._box))
    generator = torch.Generator().manual_seed(3)
    clean = torch.rand(3, height, 29, generator=generator)
    images = [(clean + error * torch.randn(clean.shape, generator=generator)).clamp(0, 1) for error in (0.01, 0.1, 0.5)]
    found = qualities(images, clean)
    bands = -(-(height - 6) // BAND)
    assert len(filtered) == bands * (3 * len(images) + 2)
    for image, (decibels, similarity) in zip(images, found, strict=True):
        one, two = image.double().numpy(), clean.double().numpy()
        assert decibels == pytest.approx(peak_signal_noise_ratio(two, one, data_range=1), abs=1e-12)
        assert similarity == pytest.approx(structural_similarity(one, two, channel_axis=0, data_range=1), abs=1e-12)


def test_images_below_seven_pixels_have_psnr_alone():
    assert qualities([torch.full((3, 6, 90), 0.6)], torch.full((3, 6, 90), 0.5)) == [(pytest.approx(20, abs=1e-5), None)]
    with pytest.raises(ValueError, match=r"expected two \(C, H, W\) of one shape, got \(3, 6, 9\) and \(3, 6, 8\)"):
        qualities([torch.zeros(3, 6, 9)], torch.zeros(3, 6, 8))


def test_ssim_is_that_of_its_definition_by_pooling():
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.rand(1, 3, 20, 31, generator=generator).double() for _ in range(2))
    pool, sample = (lambda image: torch.nn.functional.avg_pool2d(image, 7, 1)), 49 / 48
    mx, my = pool(x), pool(y)
    vx, vy, cov = sample * (pool(x * x) - mx * mx), sample * (pool(y * y) - my * my), sample * (pool(x * y) - mx * my)
    wanted = (2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    assert ssim(x, y).item() == pytest.approx(wanted.mean().item(), abs=1e-14)


def test_an_error_of_one_tenth_everywhere_is_20_db():
    assert psnr(torch.full((1, 3, 8, 8), 0.6), torch.full((1, 3, 8, 8), 0.5)).item() == pytest.approx(20, abs=1e-5)


def test_identical_images_give_infinite_psnr_and_ssim_one():
    image = torch.rand(1, 3, 9, 9)
    assert psnr(image, image).item() == float("inf")
    assert ssim(image, image).item() == pytest.approx(1)


def test_shapes_that_differ_are_told():
    with pytest.raises(ValueError, match=r"got \(1, 3, 8, 8\) and \(1, 3, 8, 9\)"):
        psnr(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9))
