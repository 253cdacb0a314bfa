"""Photos for tests that need a folder of them."""

import numpy as np
from PIL import Image


def write_photos(folder, count=3):
    """Write `count` soft random photos of 300x200 pixels, `0.png` and on, into a new folder, and return it."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(count):
        small = random.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(small).resize((300, 200), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder
