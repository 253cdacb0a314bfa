import re

import pytest
import torch
from PIL import Image
from vocbench.restorer.degradations.blur_noise_jpeg import gaussian_blur, jpeg
from vocbench.restorer.degradations.on_tensors import blur_batch, degrade_batch, jpeg_batch, quantisation
from vocbench.restorer.images import read_image
from vocbench.restorer.training import patches
from vocbench.restorer.training.patches import PhotoPatches, parse_mixture
from vocbench.restorer.training.photos import list_photos


def test_blur_of_a_batch_is_the_photos_blur(photo):
    batch = blur_batch(torch.stack([photo, photo, photo]), [0.0, 1.2, 7.7])
    for image, sigma in zip(batch, (0.0, 1.2, 7.7), strict=True):
        torch.testing.assert_close(image, gaussian_blur(photo, sigma), atol=1e-5, rtol=0)


@pytest.mark.parametrize("quality", [10, 23, 50, 75, 95])
def test_tensor_jpeg_is_libjpegs_to_a_fraction_of_a_level(photo, quality):
    """libjpeg's integer transforms round differently: pixels differ by a level or two, mostly in chroma."""
    torch.manual_seed(0)
    noisy = (photo[:, :64, :80] + 0.1 * torch.randn(3, 64, 80)).clamp(0, 1)
    wanted = jpeg(noisy, quality)
    made = jpeg_batch(noisy[None], torch.tensor([float(quality)]))[0]
    assert (made - wanted).abs().mean() * 255 < 1.5
    assert (made - wanted).abs().mean() < 0.2 * (noisy - wanted).abs().mean()


def test_quality_50_gives_the_standards_own_table():
    table = quantisation(((16,) * 8,) * 8, torch.tensor([50.0, 25.0, 100.0]))
    assert table[:, 0, 0].tolist() == [16, 32, 1]


def test_jpeg_quality_zero_leaves_an_image_alone(photo):
    assert torch.equal(jpeg_batch(photo[None], torch.tensor([0.0]))[0], photo)


def test_a_sample_depends_on_seed_step_and_index_alone(folder):
    mixture = parse_mixture("voc=0.5,clean=0.5")
    one = PhotoPatches(list_photos([folder]), mixture, 3).batch(32, 5, [0, 1, 2])
    other = PhotoPatches(list_photos([folder]), mixture, 3)
    other.batch(32, 4, [0, 1])
    two = [other.batch(32, 5, [i]) for i in (0, 1, 2)]
    for i in range(3):
        torch.testing.assert_close(one[0][i], two[i][0][0], atol=1e-6, rtol=0)
        assert torch.equal(one[1][i], two[i][1][0])


def test_clean_patches_are_the_clean_patches(folder):
    degraded, clean, samples = PhotoPatches(list_photos([folder]), {"clean": 1.0}, 0).batch(48, 0, range(4))
    assert degraded.shape == (4, 3, 48, 48)
    torch.testing.assert_close(degraded, clean)
    assert [sample.recipe for sample in samples] == ["clean"] * 4


def test_photos_smaller_than_a_patch_are_grown(tmp_path):
    Image.new("RGB", (20, 30), (9, 99, 199)).save(tmp_path / "small.png")
    degraded, clean, _ = PhotoPatches(list_photos([tmp_path]), {"moderate": 1.0}, 0).batch(63, 0, range(2))
    assert degraded.shape == clean.shape == (2, 3, 63, 63)


def test_noise_of_a_batch_has_each_samples_sigma():
    grey = torch.full((2, 3, 100, 100), 0.5)
    made = degrade_batch(grey, [{"noise": 10.0}, {"noise": 40.0}], [1, 2])
    assert made[0].std().item() * 255 == pytest.approx(10, rel=0.03)
    assert made[1].std().item() * 255 == pytest.approx(40, rel=0.03)


def test_mixtures_are_shares():
    assert parse_mixture("voc=3,clean=1") == {"voc": 0.75, "clean": 0.25}
    assert parse_mixture("mild") == {"mild": 1.0}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("fog=1", "unknown recipe 'fog' in 'fog=1'; choose from voc"),
        ("", "unknown recipe '' in ''"),
        ("voc=x", "'voc=x' in 'voc=x': expected NAME=SHARE, such as voc=0.6"),
        ("clean=1,voc=-1", "'voc=-1' in 'clean=1,voc=-1': a share must be above 0"),
        ("voc=0", "'voc=0' in 'voc=0': a share must be above 0"),
        ("voc=nan", "a share must be above 0"),
    ],
)
def test_bad_mixtures_are_told(text, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        parse_mixture(text)


def test_photos_beyond_the_memory_are_decoded_anew_and_the_samples_stay_the_same(folder, monkeypatch):
    decoded = []

    def read(path):
        decoded.append(path)
        return read_image(path)

    monkeypatch.setattr(patches, "read_image", read)
    photos, one = list_photos([folder]), 300 * 200 * 3
    roomy = PhotoPatches(photos, {"clean": 1.0}, 0, scales=(1.0,), memory=3 * one)
    narrow = PhotoPatches(photos, {"clean": 1.0}, 0, scales=(1.0,), memory=one)
    wanted = [roomy.batch(32, step, range(4))[1] for step in range(5)]
    assert sorted(decoded) == photos  # each once
    decoded.clear()
    for step, batch in enumerate(wanted):
        assert torch.equal(narrow.batch(32, step, range(4))[1], batch)
        assert narrow._recent.size <= one
    assert len(decoded) > 3


def test_as_many_samples_are_drawn_pictures_as_asked(folder):
    """Of 600 samples 0.3 are 180, with a standard deviation of 11; no detector is asked about them."""
    source = PhotoPatches(list_photos([folder]), {"clean": 1.0}, 0, drawn=0.3)
    drawn = [not source.sample(16, step, 0).is_photo for step in range(600)]
    assert sum(drawn) == pytest.approx(180, abs=45)
    assert all(PhotoPatches(list_photos([folder]), {"clean": 1.0}, 0).sample(16, step, 0).is_photo for step in range(50))
