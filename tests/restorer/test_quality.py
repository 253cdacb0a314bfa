import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from vocbench.restorer.quality import BAND, psnr, ssim


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
