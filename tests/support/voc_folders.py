"""Small VOC folders, made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>
<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"""


def write_annotation(path: Path, size=(90, 70), objects=(("dog", (10, 10, 40, 40), 0),)) -> None:
    inside = "".join(OBJECT.format(name=name, box=box, difficult=difficult) for name, box, difficult in objects)
    width, height = size
    path.write_text(
        f"<annotation><size><width>{width}</width><height>{height}</height><depth>3</depth></size>{inside}</annotation>"
    )


def make_voc_folder(base: Path, photos: int = 5) -> Path:
    """A VOC folder of small photos of noise, split `val`, one dog each and a difficult cat in the first."""
    folder = base / "VOC2099"
    for inner in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / inner).mkdir(parents=True)
    random = np.random.default_rng(0)
    ids = [f"2099_{i:06d}" for i in range(photos)]
    for i, name in enumerate(ids):
        small = random.integers(0, 256, (9, 11, 3), dtype=np.uint8)
        Image.fromarray(small).resize((90, 70), Image.Resampling.BICUBIC).save(
            folder / "JPEGImages" / f"{name}.jpg", quality=95
        )
        objects = [("dog", (10, 10, 40 + i, 40), 0)] + ([("cat", (50, 20, 80, 60), 1)] if i == 0 else [])
        write_annotation(folder / "Annotations" / f"{name}.xml", objects=objects)
    (folder / "ImageSets" / "Main" / "val.txt").write_text("".join(f"{name}\n" for name in ids))
    return folder
