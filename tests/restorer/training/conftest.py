"""Photos to train on."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    random = np.random.default_rng(0)
    for i in range(3):
        small = random.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(small).resize((300, 200), Image.Resampling.BICUBIC).save(photos / f"{i}.png")
    return photos
