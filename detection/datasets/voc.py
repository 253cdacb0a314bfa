"""PASCAL VOC data: photos, annotations and splits of a `VOC20xx` folder, photos and XML flat in one folder, and one JSON file.

Only annotations are read here; photos are named by path. VOC's boxes count pixels from 1 and include both ends; everything
in this package is continuous corners from 0, so [xmin, ymin, xmax, ymax] becomes [xmin - 1, ymin - 1, xmax, ymax].
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from xml.etree.ElementTree import Element

from vocbench.detection.datasets.classes import VOC_INDEX
from vocbench.detection.datasets.contract import Annotation, Dataset, make_annotation
from vocbench.detection.datasets.files import parse_xml, photos_by_name, see_photo
from vocbench.detection.datasets.ids import check_id, read_ids

SIDES = ("xmin", "ymin", "xmax", "ymax")
ALL = "all"  # the split of a folder without splits
YES, NO = ("1", "true", "yes", "y", "t"), ("", "0", "false", "no", "n", "f", "unspecified")


def text_of(element: Element | None, tag: str) -> str:
    """Return the text of an element inside this one, empty where there is none."""
    return (element.findtext(tag) or "").strip() if element is not None else ""


def _number(element: Element | None, tag: str, path: Path) -> float:
    text = text_of(element, tag)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{path}: <{tag}> should be a number, got {text!r}; repair the annotation")
    return value


def annotated_size(root: Element, path: Path) -> tuple[int, int] | None:
    """Return the annotated (width, height); None if missing or 0, as labelImg writes if it did not open the photo."""
    size = root.find("size")
    if size is None or not (text_of(size, "width") or text_of(size, "height")):
        return None
    width, height = (int(_number(size, tag, path)) for tag in ("width", "height"))
    if width < 0 or height < 0:
        raise ValueError(f"{path}: the size {width}x{height} is not a valid picture size; repair the annotation")
    return (width, height) if width and height else None


def is_difficult(element: Element, path: Path) -> bool:
    """Return whether an object is marked as difficult, in any spelling; ValueError if the flag is neither yes nor no."""
    return read_flag(text_of(element, "difficult"), f"{path}: <difficult>")  # missing or empty means 0


def read_flag(value: object, whence: str) -> bool:
    """Return a flag written as 0 or 1, true or false, or a word such as "No"; ValueError naming `whence` for anything else."""
    plain = re.sub(r"\.0*$", "", "" if value is None else str(value).strip().lower())
    if plain not in YES + NO:
        raise ValueError(f"{whence} should be 0 or 1, got {value!r}; repair the annotation")
    return plain in YES


def written_box(element: Element, number: int, path: Path) -> list[float]:
    """Return xmin, ymin, xmax and ymax of an object; ValueError, naming the shape that it has instead, if it has no box."""
    box = element.find("bndbox")
    if box is None:
        shapes = [inner.tag for inner in element if inner.tag in ("polygon", "robndbox", "segmentation", "point", "ellipse")]
        instead = f", but a <{shapes[0]}>" if shapes else ""
        raise ValueError(
            f"{path}: object {number} ({text_of(element, 'name') or 'without name'}) has no <bndbox>{instead}; "
            "average precision needs boxes: export boxes from the annotation tool, or remove the object"
        )
    return [_number(box, tag, path) for tag in SIDES]


def voc_corners(whence: str | Path, name: str, box: Sequence[float]) -> list[float]:
    """Return continuous corners from 0 of VOC's, which count pixels from 1, both ends included; turned boxes are refused."""
    xmin, ymin, xmax, ymax = box
    if xmax < xmin or ymax < ymin:
        corners = ", ".join(f"{value:g}" for value in box)
        raise ValueError(f"{whence}: the box [{corners}] of a {name} ends before it begins; repair the annotation")
    return [xmin - 1, ymin - 1, xmax, ymax]


def read_annotation(path: str | Path, size: tuple[int, int] | None = None) -> Annotation:
    """Return the annotation of a VOC XML file; ValueError, naming file and reason, where it breaks the format.

    `size` is that of the photo, used if the file has none.
    """
    path = Path(path)
    root = parse_xml(path)
    entries = []
    for number, element in enumerate(root.iter("object"), 1):
        name = text_of(element, "name")
        corners = voc_corners(path, name, written_box(element, number, path))
        entries.append((name, corners, is_difficult(element, path)))
    return make_annotation(path, annotated_size(root, path) or size, entries)


@dataclass(frozen=True)
class VOCSplit(Dataset):
    """One split of a `VOC20xx` folder, or of one with photos and XML side by side; annotations are read when asked for."""

    @property
    def flat(self) -> bool:
        return not (self.folder / "Annotations").is_dir()

    @property
    def photo_folder(self) -> Path:
        return self.folder if self.flat else self.folder / "JPEGImages"

    @cached_property
    def _photos(self) -> dict[str, Path]:
        return photos_by_name(self.photo_folder)

    def picture(self, image_id: str) -> Path:
        quick = self.photo_folder / f"{image_id}.jpg"
        path = quick if quick.is_file() else self._photos.get(image_id)
        if path is None or not path.is_file():
            raise FileNotFoundError(
                f"{quick}: missing photo of split {self.split!r}; fetch the data set again or remove the id from the split"
            )
        return path

    def annotation_file(self, image_id: str) -> Path:
        """Return where the annotation lies."""
        return (self.folder if self.flat else self.folder / "Annotations") / f"{image_id}.xml"

    def annotation(self, image_id: str) -> Annotation:
        path = self.annotation_file(image_id)
        found = read_annotation(path)
        if found.size is None:
            try:
                size, turned = see_photo(self.photo(image_id), self.upright)
            except (OSError, ValueError):
                return found  # without a photo there is no border to test
            return replace(read_annotation(path, size), turned=turned)
        return found

    def digest(self, image_id: str) -> str:
        path = self.annotation_file(image_id)
        try:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        except FileNotFoundError:
            raise FileNotFoundError(f"{path}: no such annotation") from None

    def source(self, image_id: str) -> Path:
        return self.annotation_file(image_id)


def split_folder(folder: Path) -> Path | None:
    """Return the folder of the split files: ImageSets/Main, or ImageSets itself where the files lie there."""
    main = folder / "ImageSets" / "Main"
    if main.is_dir():
        return main
    return main.parent if any(main.parent.glob("*.txt")) else None


def list_splits(folder: Path) -> list[str]:
    """Return the image sets of a folder, without the per-class ones (`dog_train`); `all` where there are annotations alone."""
    sets = split_folder(folder)
    if sets is None:
        return [ALL] if annotation_folder(folder) else []
    names = sorted(path.stem for path in sets.glob("*.txt"))
    return [name for name in names if VOC_INDEX(name.rpartition("_")[0]) is None]


def annotation_folder(folder: Path) -> Path | None:
    """Return where the XML files lie: Annotations, or the folder itself beside photos."""
    return next((place for place in (folder / "Annotations", folder) if any(place.glob("*.xml"))), None)


def read_voc(folder: str | Path, split: str) -> VOCSplit:
    """Return the split `split` of a `VOC20xx` folder with Annotations and ImageSets/Main (and JPEGImages for its photos).

    ImageSets may lack Main; a folder without ImageSets, with its annotations in Annotations or beside the photos, has the one
    split `all`. Raises FileNotFoundError for a folder or split that is not there and ValueError for a split that is empty
    or malformed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; expected a VOC20xx folder with JPEGImages and Annotations")
    sets, place = split_folder(folder), annotation_folder(folder)
    if not re.fullmatch(r"\w[\w\-. ]*", split) or ".." in split:
        raise ValueError(f"{split!r} is not the name of a split")
    name = folder.resolve().name
    if sets is None and place is not None:
        if split not in (ALL, name):
            raise FileNotFoundError(
                f"{folder}: has no split {split!r}, as it has no ImageSets/Main; write ids into ImageSets/Main/{split}.txt, "
                f"one a line, or take {ALL!r}"
            )
        ids = [check_id(path.stem, str(path)) for path in sorted(place.glob("*.xml"))]
        return VOCSplit(folder, name, split, ids)
    if sets is None:
        inner = sorted(path for path in folder.glob("VOC20*") if path.is_dir())
        forms = "a VOC20xx folder, photos with their XML files in one folder, COCO's JSON, or a YOLO data.yaml"
        hint = f"; did you mean {inner[0]}?" if inner else f"; expected {forms}"
        raise FileNotFoundError(f"{folder}: has no ImageSets/Main{hint}")
    path = sets / f"{split}.txt"
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: has no split {split!r}; there are {', '.join(list_splits(folder)) or 'none'}")
    data = VOCSplit(folder, name, split, [])

    def known(image: str) -> bool:
        return data.annotation_file(image).is_file()

    return replace(data, ids=read_ids(path, known))


@dataclass(frozen=True)
class Listed(Dataset):
    """A data set with all annotations in one file; `photos` has the photos' paths."""

    annotations: Mapping[str, Annotation] | None = None
    photos: Mapping[str, Path] | None = None
    names: tuple[str, ...] | None = None  # of the classes, where the file lists them

    def picture(self, image_id: str) -> Path:
        path = (self.photos or {}).get(image_id)
        if path is None or not path.is_file():
            raise FileNotFoundError(f"{path or self.folder / image_id}: missing photo of {self.name}; put it there")
        return path

    def annotation(self, image_id: str) -> Annotation:
        found = (self.annotations or {})[image_id]
        if found.size is not None:
            return found
        try:
            path = self.photo(image_id)
            size, turned = see_photo(path, self.upright)
        except (OSError, ValueError):
            return found  # without a photo there is no border to test
        seen = make_annotation(path, size, zip(found.names, found.boxes.tolist(), found.difficult.tolist(), strict=True))
        return replace(seen, clipped=max(seen.clipped, found.clipped), turned=turned)

    def own_classes(self) -> tuple[str, ...]:
        return super().own_classes() if self.names is None else self.names


def listed_from_json(path: Path, content: object, split: str | None = None) -> Listed:
    """Return ground truth of {image id: {"width", "height", "split", "objects": [{"name", "bbox", "difficult"}]}}.

    `bbox` holds VOC's own corners counted from 1; with `split`, only the images of that split.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: expected an object of image ids, got {type(content).__name__}")
    annotations = {}
    for image_id, entry in content.items():
        whence = f"{path}: image {image_id}"
        try:
            if split is not None and entry.get("split", split) != split:
                continue
            size = (int(entry["width"]), int(entry["height"]))
            entries = [
                (one["name"], tuple(float(value) for value in one["bbox"]), read_flag(one.get("difficult"), "difficult"))
                for one in entry["objects"]
            ]
            if any(len(corners) != 4 for _, corners, _ in entries):
                raise ValueError("bbox needs four numbers")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path}: image {image_id!r} is malformed ({error!r})") from None
        annotations[image_id] = make_annotation(
            whence, size, [(name, voc_corners(whence, name, box), flag) for name, box, flag in entries]
        )
    if not annotations:
        raise ValueError(f"{path}: no images" + (f" of split {split!r}" if split else ""))
    return Listed(path.parent, path.stem, split or ALL, list(annotations), annotations=annotations)
