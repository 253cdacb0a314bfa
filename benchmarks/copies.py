"""Copies of data sets for other programs: degraded photos with their levels, and lists of photos as splits.

A copy has its photos as PNG below `images/SPLIT`, labels for YOLO below `labels/SPLIT` with a `data.yaml`, and COCO's
`annotations/instances_SPLIT.json`, in which difficult objects are `iscrowd`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from vocbench.detection.coco import to_coco_ground_truth
from vocbench.detection.datasets.contract import Dataset
from vocbench.detection.datasets.yolo import load_yaml, names_of
from vocbench.detection.detections import Objects
from vocbench.restorer.degradations.recipes import DEGRADATIONS, degrade
from vocbench.restorer.files import make_folder, write_whole
from vocbench.restorer.images import read_image, write_image


def write_degraded(
    data: Dataset, out: Path, recipe: str, seed: int, step: Callable[[], None] = lambda: None
) -> dict[str, dict[str, float]]:
    """Write a degraded copy of a data set into `out`, and return the levels drawn for each photo; `step` counts photos.

    The pictures are those of a run with this recipe and seed, first draw, in 8 bits. Further splits may go to the same `out`.
    Raises ValueError where the split is there already, or `out` has other classes.
    """
    names = list(data.classes)
    _check_free(out, data.split, names)
    levels: dict[str, dict[str, float]] = {}
    objects: dict[str, Objects] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for image in data.ids:
        degraded, levels[image] = degrade(read_image(data.photo(image), data.upright), recipe, seed, image)
        objects[image], sizes[image] = data.objects(image), (degraded.shape[2], degraded.shape[1])
        for folder in ("images", "labels"):
            make_folder(out / folder / data.split)
        write_image(out / f"images/{data.split}/{image}.png", degraded)
        rows = "".join(_yolo_rows(objects[image], sizes[image]))
        write_whole(out / f"labels/{data.split}/{image}.txt", rows.encode())
        step()
    make_folder(out / "annotations")
    write_whole(out / f"annotations/instances_{data.split}.json", _coco(objects, sizes, data.split, names))
    write_whole(out / f"levels_{data.split}.csv", _csv(levels).encode())
    write_whole(out / "data.yaml", _yaml(out, data.split, names))  # last: with it, the split is whole
    return levels


def _check_free(out: Path, split: str, names: Sequence[str]) -> None:
    taken = out / f"annotations/instances_{split}.json"
    if taken.exists():
        raise ValueError(f"{taken}: already there; choose another `out`")
    if not (out / "data.yaml").exists() and out.exists() and any(out.iterdir()):
        raise ValueError(f"{out}: not empty, and not an earlier copy; choose another `out`")
    if (out / "data.yaml").exists() and list(names_of(out / "data.yaml", load_yaml(out / "data.yaml"))) != list(names):
        raise ValueError(f"{out}: holds a data set with other classes; choose another `out`")


def _yolo_rows(objects: Objects, size: tuple[int, int]) -> Iterator[str]:
    """Yield rows `class x y width height`, normalised by the size of the picture."""
    width, height = size
    for (x1, y1, x2, y2), label in zip(objects.boxes.tolist(), objects.labels.tolist(), strict=True):
        numbers = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height
        yield f"{label} {' '.join(map(repr, numbers))}\n"


def _coco(objects: Mapping[str, Objects], sizes: Mapping[str, tuple[int, int]], split: str, names: Sequence[str]) -> bytes:
    content = to_coco_ground_truth(objects, names)
    for one in content["images"]:
        one["width"], one["height"] = sizes[one["file_name"]]
        one["file_name"] = f"images/{split}/{one['file_name']}.png"
    return (json.dumps(content) + "\n").encode()


def _csv(levels: Mapping[str, Mapping[str, float]]) -> str:
    """Return levels in the units of `UNITS` as CSV, a row per photo, in the order of application; empty cells for none."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = [name for name in DEGRADATIONS if any(name in drawn for drawn in levels.values())]
    writer.writerow(["image", *columns])
    for image, drawn in levels.items():
        writer.writerow([image, *(repr(drawn[name]) if name in drawn else "" for name in columns)])
    return buffer.getvalue()


def _yaml(out: Path, split: str, names: Sequence[str]) -> bytes:
    import yaml

    path = out / "data.yaml"
    content = load_yaml(path) if path.exists() else {"path": str(out.resolve()), "names": dict(enumerate(names))}
    return yaml.safe_dump(content | {split: f"images/{split}"}, sort_keys=False, allow_unicode=True).encode()


def divide(ids: Sequence[str], shares: Mapping[str, float], seed: int) -> dict[str, list[str]]:
    """Divide photos into splits of these shares, by their ids and the seed alone; each keeps the given order.

    Raises ValueError unless the shares are above 0 and sum to at most 1.
    """
    if not shares or min(shares.values()) <= 0 or sum(shares.values()) > 1 + 1e-9:
        raise ValueError(f"shares must be above 0 and sum to at most 1, got {', '.join(f'{s:g}' for s in shares.values())}")
    drawn = sorted(ids, key=lambda image: hashlib.sha256(f"{seed}:{image}".encode()).digest())
    parts, first, reached = {}, 0, 0.0
    for name, share in shares.items():
        reached += share
        last = round(reached * len(drawn))
        chosen = set(drawn[first:last])
        parts[name], first = [image for image in ids if image in chosen], last
    return parts


def write_splits(out: Path, parts: Mapping[str, Sequence[str]]) -> list[Path]:
    """Write `NAME.txt` with one id per line for each split and return the files; ValueError if one exists or would be empty."""
    files = {out / f"{name}.txt": ids for name, ids in parts.items()}
    there = next((path for path in files if path.exists()), None)
    if there:
        raise ValueError(f"{there}: already there; choose another name or `out`")
    empty = next((path for path, ids in files.items() if not ids), None)
    if empty:
        raise ValueError(f"{empty}: would hold no photo; give it a larger share")
    make_folder(out)
    for path, ids in files.items():
        write_whole(path, "".join(f"{image}\n" for image in ids).encode())
    return list(files)
