"""Open a data set of any format: a VOC folder, photos and XML in one folder, COCO's JSON, a YOLO `data.yaml`, or own JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vocbench.detection.datasets.coco import is_coco, listed_from_coco
from vocbench.detection.datasets.contract import Dataset
from vocbench.detection.datasets.files import load_json
from vocbench.detection.datasets.voc import ALL, list_splits, listed_from_json, read_voc
from vocbench.detection.datasets.yolo import read_yolo, yolo_splits

YAML = (".yaml", ".yml")
COCO_FILES = ("_annotations.coco.json", "instances.json", "annotations.json")  # Roboflow's, ours


@dataclass(frozen=True)
class Source:
    """Where a split lies: a VOC folder (`form` voc), a `data.yaml` (yolo) or a JSON file (json), and its name there."""

    form: str
    path: Path
    split: str

    def read(self) -> Dataset:
        """Return the data set; raises as `read_dataset`."""
        if self.form == "json":
            return _read_json(self.path, self.split)
        return read_voc(self.path, self.split) if self.form == "voc" else read_yolo(self.path, self.split)


def find_splits(path: str | Path) -> list[str]:
    """Return the splits of the data set at `path`; empty where there is none to be read."""
    return list(find_sources(path))


def read_dataset(path: str | Path, split: str | None = None) -> Dataset:
    """Return the data set at `path`, a folder or file; `split` may be left out where there is one alone.

    Raises FileNotFoundError or ValueError, saying what is there instead, if there is no data set.
    """
    path = Path(path)
    if path.is_file() and path.suffix.lower() == ".json":
        return _read_json(path, split)
    sources = find_sources(path)
    if not sources:
        return read_voc(path, split or "val")  # which says what is missing
    if split is None and len(sources) > 1:
        raise ValueError(f"{path}: has the splits {', '.join(sources)}; choose one")
    return choose_source(path, split or next(iter(sources))).read()


def choose_source(path: Path, split: str) -> Source:
    """Return the source of a split of the data set at `path`; FileNotFoundError, listing the splits, if it does not exist."""
    sources = find_sources(path)
    if split in sources:
        return sources[split]
    if (path / "ImageSets").is_dir():
        return Source("voc", path, split)  # a split of one class, or a message when it is read
    raise FileNotFoundError(f"{path}: has no split {split!r}; there are {', '.join(sources)}")


def _read_json(path: Path, split: str | None) -> Dataset:
    content, split = load_json(path), None if split == ALL else split
    return listed_from_coco(path, content, split) if is_coco(content) else listed_from_json(path, content, split)


def find_sources(path: str | Path) -> dict[str, Source]:
    """Return where each split of the data set at `path` lies; empty where there is none to be read."""
    path = Path(path)
    if path.is_file() and path.suffix.lower() in YAML:
        return {split: Source("yolo", path, split) for split in yolo_splits(path)}
    if path.is_file():
        return {ALL: Source("json", path, ALL)} if path.suffix.lower() == ".json" else {}
    if names := list_splits(path):
        return {split: Source("voc", path, split) for split in names}
    if yaml := next((path / name for name in ("data.yaml", "data.yml", "dataset.yaml") if (path / name).is_file()), None):
        return find_sources(yaml)
    if coco := next((path / name for name in COCO_FILES if (path / name).is_file()), None):
        return {ALL: Source("json", coco, ALL)}
    if found := sorted((path / "annotations").glob("instances_*.json")):
        return {name: Source("json", one, name) for one in found if (name := one.stem.removeprefix("instances_"))}
    return {
        inner.name: source
        for inner in (path / split for split in ("train", "valid", "val", "test"))
        if inner.is_dir() and (source := next(iter(find_sources(inner).values()), None))
    }
