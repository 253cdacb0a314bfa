"""One set of photos with objects in the forms that people have: a VOC folder, COCO's JSON, a YOLO data.yaml."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.voc_folders import write_annotation

SIZE = (96, 72)
Photos = dict[str, list[tuple[str, tuple[int, int, int, int]]]]  # by id: class and corners x1, y1, x2, y2 from 0


def draw_photos(folder: Path, photos: Photos, colours: dict[str, tuple[int, int, int]], seed: int = 0) -> None:
    """JPEG files of a grey ground with noise, and each object as a patch of its class's colour."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for name, objects in photos.items():
        picture = random.integers(90, 140, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
        for kind, (x1, y1, x2, y2) in objects:
            picture[y1:y2, x1:x2] = colours[kind]
        Image.fromarray(picture).save(folder / f"{name}.jpg", quality=95)


def draw_objects(count: int, classes: list[str], seed: int = 0) -> Photos:
    """One object in the left half and mostly another in the right half of each photo, in turn of every class."""
    random = np.random.default_rng(seed)
    photos: Photos = {}
    for i in range(count):
        objects = []
        for k in range(2 if i % 3 else 1):
            x, y = int(random.integers(4, 12)) + 46 * k, int(random.integers(6, 24))
            box = (x, y, x + int(random.integers(22, 32)), y + int(random.integers(22, 40)))
            objects.append((classes[(i + k) % len(classes)], box))
        photos[f"p{i:02d}"] = objects
    return photos


def as_voc(folder: Path, photos: Photos, pictures: Path, split: str = "val") -> Path:
    for inner in ("Annotations", "ImageSets/Main"):
        (folder / inner).mkdir(parents=True)
    shutil.copytree(pictures, folder / "JPEGImages")
    for name, objects in photos.items():
        voc = [(kind, (x1 + 1, y1 + 1, x2, y2), 0) for kind, (x1, y1, x2, y2) in objects]
        write_annotation(folder / f"Annotations/{name}.xml", SIZE, voc)
    (folder / f"ImageSets/Main/{split}.txt").write_text("".join(f"{name}\n" for name in photos))
    return folder


def as_coco(folder: Path, photos: Photos, pictures: Path, split: str = "val") -> Path:
    (folder / "annotations").mkdir(parents=True)
    shutil.copytree(pictures, folder / split)
    numbers = {name: 500 - 7 * i for i, name in enumerate(sorted({kind for objects in photos.values() for kind, _ in objects}))}
    annotations = [
        {"id": 3 * i, "image_id": image, "category_id": numbers[kind], "bbox": [x1, y1, x2 - x1, y2 - y1]}
        for i, (image, kind, (x1, y1, x2, y2)) in enumerate(
            (1000 - k, kind, box) for k, objects in enumerate(photos.values()) for kind, box in objects
        )
    ]
    content = {
        "images": [{"id": 1000 - k, "file_name": f"{name}.jpg"} for k, name in enumerate(photos)],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
    }
    (folder / f"annotations/instances_{split}.json").write_text(json.dumps(content))
    return folder


def as_yolo(folder: Path, photos: Photos, pictures: Path, split: str = "val") -> Path:
    shutil.copytree(pictures, folder / "images" / split)
    (folder / "labels" / split).mkdir(parents=True)
    names = sorted({kind for objects in photos.values() for kind, _ in objects}, reverse=True)
    width, height = SIZE
    for name, objects in photos.items():
        rows = [
            f"{names.index(kind)} {(x1 + x2) / 2 / width!r} {(y1 + y2) / 2 / height!r} {(x2 - x1) / width!r} "
            f"{(y2 - y1) / height!r}\n"
            for kind, (x1, y1, x2, y2) in objects
        ]
        (folder / f"labels/{split}/{name}.txt").write_text("".join(rows))
    listed = json.dumps(dict(enumerate(names)))  # JSON is YAML
    where = f"images/{split}"
    (folder / "data.yaml").write_text(f"path: {json.dumps(str(folder))}\ntrain: {where}\n{split}: {where}\nnames: {listed}\n")
    return folder
