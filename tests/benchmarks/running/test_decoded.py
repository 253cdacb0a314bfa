import os

import numpy as np
import torch
from PIL import Image
from vocbench.benchmarks.running.decoded import Decoded, packed, unpacked
from vocbench.restorer.images import read_image


def test_images_of_8_bits_travel_as_bytes_and_finer_ones_as_floats():
    image = torch.arange(192).reshape(3, 8, 8) / 255
    finer = image.clone()
    finer[0, 0, 0] += 1e-3
    assert packed(image).dtype == np.uint8
    assert packed(finer).dtype == np.float32
    assert torch.equal(unpacked(packed(image)), image)
    assert torch.equal(unpacked(packed(finer)), finer)


def test_a_photo_that_was_written_anew_is_read_anew(tmp_path):
    path, kept = tmp_path / "a.png", Decoded(2**20)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    assert not kept.read(path).any()
    Image.fromarray(np.full((8, 8, 3), 255, np.uint8)).save(path)
    os.utime(path, ns=(1, 1))  # another time of change, however coarse the clock of the file system is
    assert kept.read(path).min() == 1


def test_a_turned_photo_is_kept_beside_the_stored_one(tmp_path):
    picture = Image.fromarray(np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    picture.save(tmp_path / "a.png", exif=exif)
    kept = Decoded(2**20)
    assert kept.read(tmp_path / "a.png").shape == (3, 8, 6)
    assert kept.read(tmp_path / "a.png", upright=True).shape == (3, 6, 8)
    assert torch.equal(kept.read(tmp_path / "a.png", upright=True), read_image(tmp_path / "a.png", True))
