import numpy as np
import pytest
import torch
from PIL import Image
from vocbench.restorer import images
from vocbench.restorer.images import from_uint8, read_image, to_uint8, write_image


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
    Image.new("RGB", (4, 4)).save(tmp_path / "a.bmp")
    with pytest.raises(ValueError, match="not a JPEG or PNG"):
        read_image(tmp_path / "a.bmp")


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
