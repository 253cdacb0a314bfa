"""Any data set, by what lies there: a VOC folder, photos and XML flat, COCO's JSON, a YOLO `data.yaml`, or own JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vocbench.detection.datasets.coco import is_coco, listed_from_coco
from vocbench.detection.datasets.contract import Dataset
from vocbench.detection.datasets.files import load_json
from vocbench.detection.datasets.voc import ALL, list_splits, listed_from_json, read_voc
from vocbench.detection.datasets.yolo import read_yolo, yolo_splits

YAML = (".yaml", ".yml")
COCO_FILES = ("_annotations.coco.json", "instances.json", "annotations.json")  # Roboflow's, ours


def find_splits(path: str | Path) -> list[str]:
    """Return the splits of the data set at `path`; empty where there is none to be read."""
    return list(_readers(Path(path)))


def read_dataset(path: str | Path, split: str | None = None) -> Dataset:
    """Return the data set at `path`, a folder or file; `split` may be left out where there is one alone.

    Raises FileNotFoundError or ValueError, saying what is there, for what is no data set.
    """
    path = Path(path)
    if path.is_file() and path.suffix.lower() == ".json":
        return _read_json(path, split)
    readers = _readers(path)
    if not readers:
        return read_voc(path, split or "val")  # which says what is missing
    if split is None and len(readers) > 1:
        raise ValueError(f"{path}: has the splits {', '.join(readers)}; choose one")
    chosen = split or next(iter(readers))
    if chosen not in readers and (path / "ImageSets").is_dir():
        return read_voc(path, chosen)  # a split of one class, or a message
    if chosen not in readers:
        raise FileNotFoundError(f"{path}: has no split {chosen!r}; there are {', '.join(readers)}")
    return readers[chosen]()


def _read_json(path: Path, split: str | None) -> Dataset:
    content, split = load_json(path), None if split == ALL else split
    return listed_from_coco(path, content, split) if is_coco(content) else listed_from_json(path, content, split)


def _readers(path: Path) -> dict[str, Callable[[], Dataset]]:
    """Return what reads each split of the data set at `path`."""
    if path.is_file() and path.suffix.lower() in YAML:
        return {split: lambda split=split: read_yolo(path, split) for split in yolo_splits(path)}  # type: ignore[misc]
    if path.is_file():
        return {ALL: lambda: _read_json(path, None)} if path.suffix.lower() == ".json" else {}
    if names := list_splits(path):
        return {split: lambda split=split: read_voc(path, split) for split in names}  # type: ignore[misc]
    if yaml := next((path / name for name in ("data.yaml", "data.yml", "dataset.yaml") if (path / name).is_file()), None):
        return _readers(yaml)
    if coco := next((path / name for name in COCO_FILES if (path / name).is_file()), None):
        return {ALL: lambda: _read_json(coco, None)}
    if found := sorted((path / "annotations").glob("instances_*.json")):
        return {one.stem.removeprefix("instances_"): lambda one=one: _read_json(one, one.stem[10:]) for one in found}  # type: ignore[misc]
    return {
        inner.name: lambda inner=inner, name=name: read_dataset(inner, name)  # type: ignore[misc]
        for inner in (path / split for split in ("train", "valid", "val", "test"))
        if inner.is_dir() and (name := next(iter(_readers(inner)), None))
    }
