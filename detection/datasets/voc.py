"""PASCAL VOC data: photos, annotations and splits of a `VOC20xx` folder, and the same annotations as one JSON file.

Only annotations are read here; photos are named by path. VOC's boxes count pixels from 1 and include both ends; everything
in this package is continuous corners from 0, so [xmin, ymin, xmax, ymax] becomes [xmin - 1, ymin - 1, xmax, ymax].
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from vocbench.detection.detections import VOC_CLASSES, Objects

LABELS = {name: i for i, name in enumerate(VOC_CLASSES)}
IMAGE_ID = re.compile(r"[\w][\w.\-]{0,127}")  # a plain file stem: no folders, no leading dot
MAX_XML_BYTES = 1_000_000  # the largest of VOC's own annotations has 20 kB


class _NoDoctype(TreeBuilder):
    """Refuses document type declarations, the door to entity expansion."""

    def doctype(self, name, pubid, system):
        raise ValueError("a document type declaration, which VOC annotations do not have")


def parse_xml(path: Path) -> Element:
    """The root element of a small XML file without entities; ValueError, naming the file, for anything else."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such annotation") from None
    if len(data) > MAX_XML_BYTES:
        raise ValueError(f"{path}: {len(data)} bytes of XML, above the limit of {MAX_XML_BYTES}; not a VOC annotation")
    parser = XMLParser(target=_NoDoctype())
    try:
        # Entities can only be declared in a document type, and the parser would expand them before the target hears of it.
        if b"<!DOCTYPE" in data or b"<!ENTITY" in data or b"\0" in data:
            raise ValueError("a document type declaration, which VOC annotations do not have")
        parser.feed(data)
        return parser.close()
    except (ParseError, ValueError, LookupError) as error:  # LookupError: an encoding that Python does not know
        raise ValueError(f"{path}: not a readable VOC annotation ({error}); repair or remove it") from None


def _number(element: Element | None, tag: str, path: Path) -> float:
    text = (element.findtext(tag) or "").strip() if element is not None else ""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{path}: <{tag}> should be a number, got {text!r}; repair the annotation")
    return value


def _difficult(element: Element, path: Path) -> bool:
    text = (element.findtext("difficult") or "").strip()
    if text not in ("", "0", "1"):
        raise ValueError(f"{path}: <difficult> should be 0 or 1, got {text!r}; repair the annotation")
    return text == "1"  # missing or empty means 0


@dataclass(frozen=True)
class Annotation:
    """What is known of one photo: its size in pixels (width, height) and its objects."""

    size: tuple[int, int]
    objects: Objects


def make_annotation(path: str | Path, size: tuple[int, int], entries: list[tuple[str, list[float], bool]]) -> Annotation:
    """From VOC's own (name, [xmin, ymin, xmax, ymax] counted from 1, difficult) entries, each checked; errors name `path`."""
    boxes, labels, flags = [], [], []
    for name, (xmin, ymin, xmax, ymax), difficult in entries:
        if name not in LABELS:
            raise ValueError(f"{path}: unknown class {name!r}; VOC's classes are {', '.join(VOC_CLASSES)}")
        inside = 1 <= xmin <= xmax <= size[0] and 1 <= ymin <= ymax <= size[1]
        if not inside:
            box = ", ".join(f"{value:g}" for value in (xmin, ymin, xmax, ymax))
            raise ValueError(
                f"{path}: the box [{box}] of a {name} is not inside the {size[0]}x{size[1]} picture "
                "(VOC counts pixels from 1); repair the annotation"
            )
        boxes.append([xmin - 1, ymin - 1, xmax, ymax])
        labels.append(LABELS[name])
        flags.append(difficult)
    return Annotation(size, Objects.of(boxes, labels, flags))


def read_annotation(path: str | Path) -> Annotation:
    """One VOC XML file; ValueError, naming file and reason, where it breaks the format."""
    path = Path(path)
    root = parse_xml(path)
    size = (int(_number(root.find("size"), "width", path)), int(_number(root.find("size"), "height", path)))
    entries = []
    for element in root.iter("object"):
        box = element.find("bndbox")
        corners = [_number(box, tag, path) for tag in ("xmin", "ymin", "xmax", "ymax")]
        entries.append(((element.findtext("name") or "").strip(), corners, _difficult(element, path)))
    return make_annotation(path, size, entries)


def read_ids(path: Path) -> list[str]:
    """Image ids of a split file, in its order: the first word of each line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file of image ids") from None
    ids = [line.split()[0] for line in lines if line.strip()]
    for name in ids:
        if not IMAGE_ID.fullmatch(name):
            raise ValueError(f"{path}: {name[:80]!r} is not an image id (a plain file name without folder or suffix)")
    if len(set(ids)) != len(ids):
        twice = next(name for i, name in enumerate(ids) if name in ids[:i])
        raise ValueError(f"{path}: lists {twice!r} twice; remove one")
    if not ids:
        raise ValueError(f"{path}: a split with no images")
    return ids


@dataclass(frozen=True)
class VOCSplit:
    """One split of a `VOC20xx` folder; annotations are read when asked for."""

    folder: Path
    name: str
    split: str
    ids: list[str]

    def photo(self, image_id: str) -> Path:
        """Where the photo lies; FileNotFoundError where it is missing."""
        for suffix in (".jpg", ".jpeg", ".png", ".JPG"):
            path = self.folder / "JPEGImages" / f"{image_id}{suffix}"
            if path.is_file():
                return path
        raise FileNotFoundError(
            f"{self.folder / 'JPEGImages' / image_id}.jpg: missing photo of split {self.split!r}; fetch the data set again "
            "or remove the id from the split"
        )

    def annotation(self, image_id: str) -> Annotation:
        return read_annotation(self.folder / "Annotations" / f"{image_id}.xml")

    def objects(self, image_id: str) -> Objects:
        return self.annotation(image_id).objects

    def size(self, image_id: str) -> tuple[int, int]:
        """(width, height) in pixels, as annotated."""
        return self.annotation(image_id).size


def list_splits(folder: Path) -> list[str]:
    """The image sets of a folder, without the per-class ones (`dog_train`)."""
    names = sorted(path.stem for path in (folder / "ImageSets" / "Main").glob("*.txt"))
    return [name for name in names if name.rpartition("_")[0] not in LABELS]


def read_voc(folder: str | Path, split: str) -> VOCSplit:
    """The split `split` of a `VOC20xx` folder with Annotations and ImageSets/Main (and JPEGImages for its photos).

    Raises FileNotFoundError for a folder or split that is not there and ValueError for a split that is empty or malformed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; expected a VOC20xx folder with JPEGImages and Annotations")
    inner = sorted(path for path in folder.glob("VOC20*") if path.is_dir())
    if not (folder / "ImageSets" / "Main").is_dir():
        hint = f"; did you mean {inner[0]}?" if inner else "; expected a VOC20xx folder"
        raise FileNotFoundError(f"{folder}: has no ImageSets/Main{hint}")
    if not re.fullmatch(r"[\w\-]+", split):
        raise ValueError(f"{split!r} is not the name of a split")
    path = folder / "ImageSets" / "Main" / f"{split}.txt"
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: has no split {split!r}; there are {', '.join(list_splits(folder)) or 'none'}")
    return VOCSplit(folder, folder.resolve().name, split, read_ids(path))


def read_annotations_json(path: str | Path, split: str | None = None) -> dict[str, Objects]:
    """Ground truth from {image id: {"width", "height", "split", "objects": [{"name", "bbox", "difficult"}]}}.

    `bbox` holds VOC's own corners counted from 1; with `split`, only the images of that split.
    """
    path = Path(path)
    data = load_json(path)
    if not isinstance(data, Mapping):
        raise ValueError(f"{path}: expected an object of image ids, got {type(data).__name__}")
    found = {}
    for image_id, entry in data.items():
        try:
            if split is not None and entry.get("split", split) != split:
                continue
            size = (int(entry["width"]), int(entry["height"]))
            entries = [(o["name"], [float(v) for v in o["bbox"]], bool(o.get("difficult"))) for o in entry["objects"]]
            if any(len(corners) != 4 for _, corners, _ in entries):
                raise ValueError("bbox needs four numbers")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path}: image {image_id!r} is malformed ({error!r})") from None
        found[image_id] = make_annotation(f"{path}: image {image_id}", size, entries).objects
    if not found:
        raise ValueError(f"{path}: no images" + (f" of split {split!r}" if split else ""))
    return found


def load_json(path: Path):
    """A JSON file's content; FileNotFoundError or ValueError naming it."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable JSON ({error})") from None
