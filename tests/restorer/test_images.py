from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from vocbench.restorer import images
from vocbench.restorer.images import (
    encode_photo,
    from_uint8,
    grey_as,
    read_image,
    read_photo,
    to_uint8,
    write_image,
    write_photo,
)


def test_png_round_trip_keeps_every_level(tmp_path):
    array = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    write_image(tmp_path / "a.png", from_uint8(array))
    assert np.array_equal(to_uint8(read_image(tmp_path / "a.png")), array)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK"])
def test_other_colour_modes_become_rgb(tmp_path, mode):
    name = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new("RGB", (5, 4), (200, 200, 200)).convert(mode).save(name)
    image = read_image(name)
    assert image.shape == (3, 4, 5)
    assert image.mean().item() == pytest.approx(200 / 255, abs=0.03)


def test_16_bit_grey_keeps_its_range(tmp_path):
    Image.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save(tmp_path / "a.png")
    torch.testing.assert_close(read_image(tmp_path / "a.png")[0, 0], torch.tensor([0, 128 / 255, 1]), atol=1e-6, rtol=0)


def test_a_truncated_photo_is_named(tmp_path):
    Image.effect_noise((64, 64), 50).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"a\.jpg: damaged or truncated picture"):
        read_image(tmp_path / "a.jpg")
    assert (tmp_path / "a.jpg").read_bytes() == data[: len(data) // 2]


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"<svg/>", b"\xff\xd8\xff"])
def test_what_is_no_picture_is_named(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.jpg"):
        read_image(tmp_path / "a.jpg")


def test_other_decoders_are_not_used(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.gif")
    with pytest.raises(ValueError, match="not a JPEG or PNG picture, nor WebP, TIFF or BMP"):
        read_image(tmp_path / "a.gif")


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_MEGAPIXELS", 0.0001)
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: 20x20 is .* above the limit"):
        read_image(tmp_path / "a.png")


def test_a_missing_photo_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.jpg: no such photo"):
        read_image(tmp_path / "none.jpg")


def test_writing_leaves_nothing_behind_when_it_fails(tmp_path):
    with pytest.raises(ValueError, match="pictures are written as"):
        write_image(tmp_path / "a.tif", torch.zeros(3, 2, 2))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".webp", ".tif", ".bmp", ".png"])
def test_lossless_formats_give_the_same_levels(tmp_path, suffix):
    array = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    Image.fromarray(array).save(tmp_path / f"a{suffix}", lossless=True)
    assert np.array_equal(to_uint8(read_image(tmp_path / f"a{suffix}")), array)


def described():
    """EXIF with a rotation to apply, a maker and a place."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    exif.get_ifd(0x8825)[1] = "N"
    return exif


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
@pytest.mark.parametrize("source", [".jpg", ".png", ".tif"])
def test_profile_exif_and_resolution_are_kept(tmp_path, source, suffix):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    made = Image.effect_noise((20, 10), 40).convert("RGB")
    made.putpixel((0, 0), (255, 0, 0))
    made.save(tmp_path / f"a{source}", icc_profile=profile, exif=described(), dpi=(300, 300))
    write_photo(tmp_path / f"b{suffix}", read_photo(tmp_path / f"a{source}"))
    with Image.open(tmp_path / f"b{suffix}") as kept:
        assert kept.size == (10, 20)  # turned as the rotation says, which is then gone
        exif = kept.getexif()
        assert (exif.get(0x0112), exif[0x010F]) == (None, "Maker")
        if source != ".tif":  # Pillow writes no place into one
            assert exif.get_ifd(0x8825)[1] == "N"
        assert kept.info["icc_profile"] == profile
        if suffix != ".webp":  # which has no resolution
            assert kept.info["dpi"] == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_alpha_is_kept_and_jpeg_says_that_it_has_none(tmp_path, suffix, caplog):
    made = Image.new("RGBA", (4, 4), (10, 200, 30, 255))
    made.putpixel((1, 2), (10, 200, 30, 7))
    made.save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    write_photo(tmp_path / f"b{suffix}", photo)
    with Image.open(tmp_path / f"b{suffix}") as kept:
        assert np.asarray(kept.convert("RGBA"))[2, 1, 3] == 7
    assert not caplog.text
    write_photo(tmp_path / "b.jpg", photo)
    assert "b.jpg: JPEG keeps no transparency" in caplog.text


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_grey_stays_grey(tmp_path, mode):
    Image.effect_noise((8, 8), 50).convert(mode).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    coloured = (photo.image + torch.tensor([0.1, 0, -0.1])[:, None, None]).clamp(0.2, 0.8)
    restored = grey_as(photo.image, coloured)
    assert torch.equal(restored[0], restored[1])
    assert torch.equal(restored[0], restored[2])
    write_photo(tmp_path / "b.png", replace(photo, image=restored))
    with Image.open(tmp_path / "b.png") as kept:
        assert kept.mode == mode


def test_a_coloured_photo_keeps_its_restored_colours(tmp_path):
    Image.new("RGB", (4, 4), (9, 9, 10)).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    coloured = torch.rand(3, 4, 4)
    assert grey_as(photo.image, coloured) is coloured


def test_16_bits_are_said(tmp_path, caplog):
    Image.fromarray(np.array([[0, 65535]], np.uint16)).save(tmp_path / "a.png")
    read_photo(tmp_path / "a.png")
    assert "a.png: its 16 bits a channel are read as 8" in caplog.text


def test_the_limit_of_megapixels_can_be_raised_and_is_told_exactly(tmp_path):
    Image.new("RGB", (1001, 1000)).save(tmp_path / "a.png")
    message = r"a\.png: 1001x1000 is 1\.001 megapixels, above the limit of 0\.9; scale it down, or raise `max_megapixels`"
    with pytest.raises(ValueError, match=message):
        read_photo(tmp_path / "a.png", max_megapixels=0.9)
    assert read_photo(tmp_path / "a.png", max_megapixels=1.1).image.shape == (3, 1000, 1001)


def test_other_suffixes_are_not_written():
    with pytest.raises(ValueError, match=r"pictures are written as \.png, \.jpg, \.jpeg, \.webp, not '\.tif'"):
        encode_photo(images.Photo(torch.zeros(3, 2, 2)), ".tif")
