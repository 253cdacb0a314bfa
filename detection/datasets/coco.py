"""COCO's `instances.json`: images, annotations and categories, with any ids.

An image's id here is its file's name without suffix, as in VOC; its number is kept, as results refer to it. Objects marked
`iscrowd` become `difficult`: detections of them are neither true nor false positives, as in COCO's evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vocbench.detection.datasets.classes import listed_classes
from vocbench.detection.datasets.contract import make_annotation
from vocbench.detection.datasets.ids import SUFFIX, check_id
from vocbench.detection.datasets.voc import ALL, Listed, read_flag

N = TypeVar("N", int, str)

PLACES = ("", "images", "JPEGImages", "../images", "..")  # of the photos, seen from the file


def is_coco(content: object) -> bool:
    """Return whether the content of a JSON file is COCO's ground truth."""
    return isinstance(content, Mapping) and isinstance(content.get("images"), list) and "annotations" in content


@dataclass(frozen=True)
class Index:
    """What a COCO file lists, by the images' numbers as text.

    categories has names by id, files the photos' names, sizes (width, height), 0 where missing, ids the images' ids here and
    photos, by these, where each photo lies or would be expected.
    """

    categories: dict[int, str]
    files: dict[str, str]
    sizes: dict[str, tuple[int, int]]
    ids: dict[str, str]
    photos: dict[str, Path]


def read_index(path: Path, content: object, split: str | None = None, photos: Path | None = None) -> Index:
    """Return the categories and images of what a file holds; ValueError naming the file."""
    if not is_coco(content):
        raise ValueError(f"{path}: not COCO's ground truth, which has images, annotations and categories")
    assert isinstance(content, Mapping)
    try:
        categories = [(int(one["id"]), str(one["name"])) for one in content["categories"]]
        files = [(number_of(one["id"]), str(one["file_name"])) for one in content["images"]]
        sizes = {number_of(one["id"]): (int(one.get("width") or 0), int(one.get("height") or 0)) for one in content["images"]}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: a malformed image or category ({error!r})") from None
    if not files:
        raise ValueError(f"{path}: no images")
    named = _once(path, "image", files)
    ids = {number: check_id(name, f"{path}") for number, name in zip(named, _ids(path, list(named.values())), strict=True)}
    return Index(_once(path, "category", categories), named, sizes, ids, dict(_found(path, named, ids, split, photos)))


def _once(path: Path, kind: str, entries: Sequence[tuple[N, str]]) -> dict[N, str]:
    """Return names by id; ValueError, naming the file and both names, for an id that occurs twice."""
    names: dict[N, str] = {}
    for number, name in entries:
        if number in names:
            remedy = "remove one" if name == names[number] else "give them different ids, also in the annotations"
            raise ValueError(f"{path}: the {kind} id {number} occurs twice, for {names[number]} and {name}; {remedy}")
        names[number] = name
    return names


def read_entry(path: Path, i: int, one: Any, index: Index) -> tuple[str, str, list[float], bool]:
    """Return an annotation's image by number, class, corners from 0, and whether it is a crowd; ValueError naming the file."""
    try:
        x, y, width, height = (float(value) for value in one["bbox"])
        name, image = index.categories[int(one["category_id"])], number_of(one["image_id"])
        index.files[image]
        crowd = read_flag(one.get("iscrowd"), "iscrowd")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: annotation {i} is malformed ({error!r}); it needs bbox, image_id and category_id") from None
    return image, name, [x, y, x + width, y + height], crowd


def listed_from_coco(path: Path, content: object, split: str | None = None, photos: Path | None = None) -> Listed:
    """Return the data set of an `instances.json`; photos lie in `photos`, else beside the file or in folders called images.

    Raises ValueError, naming the file and the entry, for what is malformed.
    """
    index = read_index(path, content, split, photos)
    assert isinstance(content, Mapping)
    grouped: dict[str, list[Any]] = {number: [] for number in index.files}
    for i, one in enumerate(content["annotations"]):
        image, *entry = read_entry(path, i, one, index)
        grouped[image].append(entry)
    annotations = {}
    for number, entries in grouped.items():
        size = index.sizes[number] if all(index.sizes[number]) else None  # which is taken from the photo when it is asked for
        annotations[index.ids[number]] = make_annotation(f"{path}: image {index.files[number]}", size, entries)
    return Listed(
        path.parent, _name(path), split or ALL, list(annotations), annotations=annotations, photos=index.photos,
        numbers=dict(index.ids), categories=index.categories,
        names=listed_classes(list(index.categories.values())),
    )  # fmt: skip


def _name(path: Path) -> str:
    """Return the name of the data set: that of the file's folder, or of the parent of its folder `annotations`."""
    folder = path.resolve().parent
    return (folder.parent if folder.name == "annotations" else folder).name or path.stem


def number_of(value: object) -> str:
    """Return how an image's number is written in COCO's files: 7 and "7" alike."""
    return str(value)


def _ids(path: Path, names: list[str]) -> list[str]:
    """Return files' names without folders and suffix; with folders, joined by dashes, where two would be called alike.

    Raises ValueError, naming both, for two that are called alike even so.
    """
    bare = [SUFFIX.sub("", name.replace("\\", "/")) for name in names]
    stems = [name.rpartition("/")[2] for name in bare]
    if len(set(stems)) == len(stems):
        return stems
    first: dict[str, str] = {}
    for image, name in zip((name.replace("/", "-") for name in bare), names, strict=True):
        if image in first:
            raise ValueError(f"{path}: two images are called {image}: {first[image]} and {name}; remove or rename one")
        first[image] = name
    return list(first)


def _found(
    path: Path, images: Mapping[str, str], ids: Mapping[str, str], split: str | None, photos: Path | None
) -> Iterator[tuple[str, Path]]:
    """Yield where each image's photo lies, or would be expected."""
    inner = [split, path.stem.removeprefix("instances_"), f"../{path.stem.removeprefix('instances_')}"]
    places = [photos] if photos else [path.parent / place for place in [*PLACES, *filter(None, inner)]]
    for number, name in images.items():
        relative = Path(name.replace("\\", "/"))
        if relative.is_absolute() or ".." in relative.parts:
            relative = Path(relative.name)  # of the machine that made the file
        tried = [place / relative for place in places]
        yield ids[number], next((one for one in tried if one.is_file()), tried[0])
