"""Check a VOC, COCO or YOLO data set: read every photo, annotation and split once and report what is wrong with each.

What a run would refuse counts as broken; irregularities that it tolerates are noted by kind. `repaired_copy` repairs both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from vocbench.benchmarks.voc_folder import check_size
from vocbench.detection.datasets.classes import class_key
from vocbench.detection.datasets.coco import is_coco, read_index
from vocbench.detection.datasets.files import (
    OTHER_PICTURES,
    TURNED,
    check_kind,
    exif_orientation,
    load_json,
    parse_xml,
    photo_size,
    photos_by_name,
)
from vocbench.detection.datasets.ids import sound_lines
from vocbench.detection.datasets.read import Source, choose_source, find_sources, read_dataset
from vocbench.detection.datasets.repair import Finding, Mended, Size, mend_coco, mend_voc, mend_yolo
from vocbench.detection.datasets.voc import ALL, VOCSplit, annotated_size, annotation_folder, read_voc, split_folder
from vocbench.detection.datasets.yolo import YoloSplit
from vocbench.restorer.images import check_image


@dataclass(frozen=True)
class Seen:
    """A readable photo: its size (width, height) in the pixels that its annotation counts, and its EXIF orientation.

    `upright` says whether those pixels are counted after EXIF rotation; `remade` whether a repaired copy encodes it again.
    """

    path: Path
    size: Size
    orientation: int
    upright: bool
    remade: bool


@dataclass(frozen=True)
class Inspected:
    """A photo and its annotation (None if unusable), the files they were read from, and what is wrong with them."""

    image: str
    photo: Seen | None
    mended: Mended | None
    files: tuple[Path, ...]
    findings: list[Finding]


class Collection(Protocol):
    """Photos with annotations in one format: a VOC folder, or a split of COCO or YOLO."""

    ids: list[str]
    splits: int
    findings: list[Finding]  # of the splits themselves

    def inspect(self, image: str) -> Inspected: ...
    def close(self) -> Mended | None: ...


@dataclass
class Checked:
    """The result of a check; `say` is called with the message for each broken file as it is found.

    broken: the messages for what a run would refuse. notes: by kind, the messages for irregularities that it tolerates.
    turned: the EXIF orientation of each photo that EXIF rotates.
    """

    say: Callable[[str], None]
    photos: int = 0
    annotations: int = 0
    objects: int = 0
    splits: int = 0
    broken: list[str] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)
    turned: dict[str, int] = field(default_factory=dict)
    spellings: dict[str, set[str]] = field(default_factory=dict)  # of class names, by `class_key`

    def add(self, findings: Iterable[Finding]) -> None:
        for one in findings:
            if one.kind:
                self.notes.setdefault(one.kind, []).append(one.text)
            else:
                self.broken.append(one.text)
                self.say(one.text)

    def count(self, one: Inspected) -> None:
        """Count a photo with its annotation."""
        if one.photo is not None and one.photo.orientation > 1:
            self.turned[str(one.photo.path)] = one.photo.orientation
        self.add_names(one.mended)
        self.add(one.findings)

    def add_names(self, mended: Mended | None) -> None:
        for name in mended.names if mended else ():
            self.objects += 1
            self.spellings.setdefault(class_key(name), set()).add(name)

    def note_spellings(self) -> None:
        """Note the classes whose names are spelt in several ways."""
        several = [", ".join(sorted(names)) for _, names in sorted(self.spellings.items()) if len(names) > 1]
        if several:
            self.notes["spelling"] = several


def check(
    place: Path,
    split: str | None = None,
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[int], Callable[[], None]] = lambda total: lambda: None,
    upright: bool = False,
    keep: Callable[[Collection, Inspected], None] = lambda collection, one: None,
) -> Checked:
    """Read every photo, annotation and split of a data set, or those of one split, continuing after each broken one.

    `upright`: boxes count pixels after EXIF rotation. `progress` is called with the number of photos and returns a function to
    be called after each of them; `keep` is called with each inspected photo. Raises FileNotFoundError if there is no such data
    set or split.
    """
    checked = Checked(say)
    collections = list(open_collections(place, split, upright, checked))
    step = progress(sum(len(one.ids) for one in collections))
    for collection in collections:
        checked.add(collection.findings)
        checked.splits += collection.splits
        for image in collection.ids:
            one = collection.inspect(image)
            checked.count(one)
            checked.photos += any(path.is_file() for path in one.files[:1])
            checked.annotations += len(one.files[1:])
            keep(collection, one)
            step()
        whole = collection.close()
        checked.annotations += whole is not None
        checked.add_names(whole)
        checked.add(whole.findings if whole else ())
    checked.note_spellings()
    return checked


def open_collections(place: Path, split: str | None, upright: bool, checked: Checked) -> Iterable[Collection]:
    """Yield the collections of a data set; splits that cannot be read are counted as broken."""
    if split_folder(place) or annotation_folder(place):
        yield VocFolder(place, split, upright)
        return
    sources = find_sources(place)
    if not sources:
        read_dataset(place, split)  # which says what is missing
    for source in [choose_source(place, split)] if split else sources.values():
        try:
            opened = _open(source, upright)
        except (OSError, ValueError) as error:
            checked.splits += 1
            checked.add([Finding(str(error))])
        else:
            if opened is not None:
                yield opened
                continue
            checked.splits, checked.annotations = checked.splits + 1, checked.annotations + 1


def _open(source: Source, upright: bool) -> Collection | None:
    """Return the collection of a split; None for intact JSON of vocbench's own, which has no photos."""
    if source.form == "voc":
        return VocFolder(source.path, None, upright)
    if source.form == "yolo":
        return YoloPhotos(source, upright)
    if is_coco(load_json(source.path)):
        return CocoFile(source, upright)
    source.read()
    return None


def see(path: Path, annotated: Size | None, upright: bool) -> tuple[Seen | None, list[Finding]]:
    """Return the photo, None if it cannot be used with its annotated size, and what is wrong with it."""
    try:
        stored = check_image(path)
        if path.suffix.lower() in OTHER_PICTURES:
            return _see_other(path, stored, annotated)
        orientation = exif_orientation(path)
    except (OSError, ValueError) as error:
        return None, [Finding(_reason(path, error))]
    findings = []
    try:
        check_size(path, stored, annotated, upright)
    except ValueError as error:
        findings.append(Finding(str(error)))
        if orientation not in TURNED or annotated != photo_size(path, not upright):
            return None, findings
        upright = not upright
    return Seen(path, photo_size(path, upright), orientation, upright, orientation > 1), findings


def _see_other(path: Path, stored: Size, annotated: Size | None) -> tuple[Seen | None, list[Finding]]:
    """Return an intact picture that is neither JPEG nor PNG, which a repaired copy converts."""
    findings = [Finding(_reason(path, ValueError()))]
    if annotated in (None, stored):
        return Seen(path, stored, 1, False, True), findings
    return None, [*findings, Finding(f"{path}: is {stored[0]}x{stored[1]} pixels, but its annotation says another size")]


def _reason(path: Path, error: Exception) -> str:
    """Return why a photo cannot be read: its file format if that is not supported, else the error."""
    try:
        check_kind(path)
    except ValueError as kind:
        return str(kind)
    return str(error)


class VocFolder:
    """A folder of VOC, or photos and XML side by side: all of it, or one split."""

    def __init__(self, folder: Path, split: str | None, upright: bool):
        self.folder, self.upright = folder, upright
        self.lists: dict[str, dict[str, str]] = {}  # the flag of each id, by split
        self.findings: list[Finding] = []
        self.owners: dict[str, VOCSplit] = {}
        self.sets, self.whole = split_folder(folder), split is None
        for name in [split] if split else self._names(self.sets):
            self._read(name, self.sets)
        self.splits = max(len(self.lists), 1)
        self.data = VOCSplit(folder, folder.resolve().name, split or ALL, [], upright=upright)
        self.listed = dict.fromkeys(self.owners)
        beside = () if split else (*_names_in(self.data.photo_folder), *_names_in(self.data.annotation_file("x").parent))
        self.ids = sorted({*self.listed, *(name for name in beside if name)})

    def _names(self, sets: Path | None) -> list[str]:
        if sets is None:
            return [ALL]
        names = sorted(path.stem for path in sets.glob("[!.]*.txt"))
        if not names:
            raise ValueError(f"{self.folder}: has no splits in ImageSets/Main")
        return names

    def _read(self, name: str, sets: Path | None) -> None:
        """Read one split; if it is refused, keep the valid ids that it lists."""
        empty = VOCSplit(self.folder, self.folder.resolve().name, name, [])
        known = lambda image: empty.annotation_file(image).is_file()  # noqa: E731
        odd: list[str] = []
        try:
            ids = read_voc(self.folder, name).ids
            flags = sound_lines(sets / f"{name}.txt", known)[0] if sets else dict.fromkeys(ids, "")
        except ValueError as error:
            try:
                flags, odd = sound_lines(sets / f"{name}.txt", known) if sets else ({}, [])
            except ValueError:
                flags = {}
            self.findings.append(Finding(str(error), lost="\n".join(odd)))
        self.lists[name] = flags
        self.owners |= dict.fromkeys(flags, empty)

    def inspect(self, image: str) -> Inspected:
        owner, listed = self.owners.get(image, self.data), image in self.listed
        xml = owner.annotation_file(image)
        findings, photo, mended = list[Finding](), None, None
        try:
            path = owner.picture(image)
        except OSError as error:
            path = Path()
            findings += [Finding(str(error))] if listed else []
        annotated = _annotated_size(owner, image)
        if path.name:
            photo, problems = see(path, annotated, self.upright)
            findings += problems
        try:
            if listed or xml.is_file():
                mended = mend_voc(xml, photo.size if photo else None)
                findings += mended.findings
        except (OSError, ValueError) as error:
            findings.append(Finding(str(error)))
        return Inspected(image, photo, mended, (path, xml) if listed or xml.is_file() else (path,), findings)

    def close(self) -> None:
        return None


def _names_in(folder: Path) -> set[str]:
    """Return the names, without suffix, of a folder's files except hidden ones."""
    return {path.stem for path in folder.glob("[!.]*") if path.is_file() and path.suffix.lower() != ".txt"}


def _annotated_size(data: VOCSplit, image: str) -> Size | None:
    """Return the size in an annotation, None if it has none or cannot be read."""
    path = data.annotation_file(image)
    try:
        return annotated_size(parse_xml(path), path)
    except (OSError, ValueError):
        return None


class YoloPhotos:
    """A split of a YOLO data set."""

    splits = 1

    def __init__(self, source: Source, upright: bool):
        data = source.read()
        assert isinstance(data, YoloSplit)
        self.source, self.data, self.upright = source, data, upright
        self.ids, self.alone = list(data.ids), labels_alone(data)
        self.findings = [Finding(f"{path}: there is no photo of this name", "alone") for path in self.alone]

    def inspect(self, image: str) -> Inspected:
        path, labels = (self.data.photos or {})[image], self.data.label_file(image)
        photo, findings = see(path, None, self.upright)
        mended = None
        try:
            if photo is not None:
                mended = mend_yolo(self.data, image, photo.size)
                findings = findings + mended.findings
        except (OSError, ValueError) as error:
            findings = [*findings, Finding(str(error))]
        return Inspected(image, photo, mended, (path, labels) if labels.is_file() else (path,), findings)

    def close(self) -> None:
        return None


def labels_alone(data: YoloSplit) -> list[Path]:
    """Return the label files without a photo; none if labels and photos share a folder."""
    pairs = [(photo.parent, data.label_file(image).parent) for image, photo in (data.photos or {}).items()]
    there = {name for photos in {photos for photos, _ in pairs} for name in photos_by_name(photos)}
    folders = {labels for photos, labels in pairs if labels != photos}
    return sorted(path for labels in folders for path in labels.glob("[!.]*.txt") if path.stem not in there)


class CocoFile:
    """A file of COCO's annotations."""

    splits = 1

    def __init__(self, source: Source, upright: bool):
        self.source, self.upright, self.content = source, upright, load_json(source.path)
        self.index = read_index(source.path, self.content, None if source.split == ALL else source.split)
        self.numbers = {image: number for number, image in self.index.ids.items()}
        self.ids, self.findings = list(self.numbers), list[Finding]()
        self.sizes: dict[str, Size] = {}
        self.whole: Mended | None = None

    def inspect(self, image: str) -> Inspected:
        path, number = self.index.photos[image], self.numbers[image]
        size = self.index.sizes[number]
        photo, findings = see(path, size if all(size) else None, self.upright)
        if photo is not None:
            self.sizes[number] = photo.size
            if not all(size):
                findings = [*findings, Finding(f"{self.source.path}: image {path.name} has no width and height", "size")]
        return Inspected(image, photo, Mended(None, [], []), (path,), findings)

    def close(self) -> Mended:
        self.whole = mend_coco(self.source.path, self.content, self.index, self.sizes)
        return self.whole
