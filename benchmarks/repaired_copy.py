"""Write a copy of a data set with the faults that `data_check` finds repaired; the source is not changed.

A VOC folder becomes one with `JPEGImages`, `Annotations` and `ImageSets/Main`; COCO's files lie in `annotations` beside folders
of photos, one file alone as `instances.json` beside `images`; YOLO has a `data.yaml` with `images/SPLIT` and `labels/SPLIT`.
Photos are copied byte by byte. Those that EXIF rotates, and pictures in other formats, become PNG with the pixels that
their annotations count. What no rule repairs goes to `left-out` and is listed in `repairs.json`.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypedDict

from vocbench.benchmarks.data_check import Checked, CocoFile, Collection, Inspected, Seen, VocFolder, YoloPhotos, check
from vocbench.detection.datasets.repair import Mended
from vocbench.detection.datasets.voc import ALL
from vocbench.detection.datasets.yolo import load_yaml
from vocbench.restorer.files import make_folder, write_whole
from vocbench.restorer.images import read_photo, write_photo

ASIDE, RECORD = "left-out", "repairs.json"


class LeftOut(TypedDict, total=False):
    """What repairs.json says of something that is left out of a copy."""

    reason: str
    written: str  # what the source says of it
    image: str
    files: list[str]  # where they lie in the copy


@dataclass
class Copied:
    """The number of photos in a copy, and what is left out of it."""

    photos: int = 0
    left_out: list[LeftOut] = field(default_factory=list)


def write_repaired(
    place: Path,
    out: Path,
    split: str | None = None,
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[int], Callable[[], None]] = lambda total: lambda: None,
    upright: bool = False,
) -> tuple[Checked, Copied]:
    """Check a data set as `check` does, and write a repaired copy into `out`; return what was found and what is there now.

    Raises ValueError where `out` is not empty, lies inside the data set or holds it, and for own JSON; FileNotFoundError where
    there is no such data set.
    """
    root = place if place.is_dir() else place.parent
    _check_free(root.resolve(), out.resolve(), out)
    writer = _Writer(root, out)
    checked = check(place, split, say, progress, upright, writer.add)
    if not writer.forms:
        raise ValueError(f"{place}: cannot be copied; only VOC, COCO and YOLO data sets have repaired copies")
    writer.finish(checked)
    return checked, writer.copied


def _check_free(source: Path, target: Path, out: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"{out}: is not empty; choose another folder for the repaired copy")
    if target.is_relative_to(source) or source.is_relative_to(target):
        raise ValueError(f"{out}: the repaired copy must lie outside the data set; choose another folder")


class _Form(Protocol):
    """Writes the photos and annotations of a collection in their own form."""

    alone: list[Path]  # files of labels without a photo

    def add(self, one: Inspected, photo: Seen, mended: Mended) -> None: ...
    def finish(self, handled: set[Path]) -> list[LeftOut]:
        """Write what is of the whole collection, and return what of it is left out; `handled` files are written."""


class _Writer:
    """Writes each photo as it was inspected, and at the end the files of whole splits."""

    def __init__(self, root: Path, out: Path):
        self.root, self.out, self.copied = root, out, Copied()
        self.forms: dict[int, _Form] = {}  # by collection
        self.handled: set[Path] = set()

    def add(self, collection: Collection, one: Inspected) -> None:
        if id(collection) not in self.forms:
            self.forms[id(collection)] = _form(collection, self.out, self.root)
        form, usable = self.forms[id(collection)], one.photo is not None and one.mended is not None
        if not usable and all(found.kind for found in one.findings):
            return  # a photo or annotation alone, which no split lists: copied with the folder's other files
        self.handled.update(path.resolve() for path in one.files)
        lost = [LeftOut(reason=found.text, written=found.lost) for found in one.findings if found.lost]
        if one.photo is not None and one.mended is not None:
            form.add(one, one.photo, one.mended)
            self.copied.photos += 1
            self.copied.left_out += lost
        else:
            reason = "; ".join(found.text for found in one.findings if not found.kind) or f"{one.image}: no annotation"
            files = [self._aside(path) for path in one.files if path.is_file()]
            self.copied.left_out.append({"reason": reason, "image": one.image, "files": files})

    def _aside(self, path: Path) -> str:
        """Copy a file that cannot be used into `left-out`, and return its place there."""
        full = path.resolve()
        inner = full.relative_to(self.root.resolve()) if full.is_relative_to(self.root.resolve()) else Path(path.name)
        _copy(path, self.out / ASIDE / inner)
        return f"{ASIDE}/{inner.as_posix()}"

    def finish(self, checked: Checked) -> None:
        make_folder(self.out)
        for form in self.forms.values():
            self.copied.left_out += form.finish(self.handled)
            for path in form.alone:
                self.copied.left_out.append({"reason": f"{path}: labels without a photo", "files": [self._aside(path)]})
        record = {"broken": checked.broken, "noted": checked.notes, "left_out": self.copied.left_out}
        write_whole(self.out / RECORD, (json.dumps(record, indent=2) + "\n").encode())


def _form(collection: Collection, out: Path, root: Path) -> _Form:
    if isinstance(collection, VocFolder):
        inner = collection.folder.resolve().relative_to(root.resolve())
        return _Voc(collection, out / inner)
    if isinstance(collection, YoloPhotos):
        return _Yolo(collection, out)
    assert isinstance(collection, CocoFile)
    return _Coco(collection, out)


def _copy(source: Path, target: Path) -> None:
    """Copy a file byte by byte; OSError names the target and says what to do."""
    make_folder(target.parent)
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise OSError(
            f"{target}: could not be written ({error.strerror}); free some space, or choose another folder"
        ) from error


def _store(photo: Seen, target: Path) -> Path:
    """Copy a photo, or write it as PNG with the pixels that its annotation counts; return its path."""
    if not photo.remade:
        _copy(photo.path, target)
        return target
    made = target.with_name(f"{target.stem}.png")
    make_folder(made.parent)
    write_photo(made, read_photo(photo.path, upright=photo.upright))
    return made


class _Voc:
    """Writes a VOC folder."""

    def __init__(self, folder: VocFolder, out: Path):
        self.folder, self.out, self.kept, self.alone = folder, out, set[str](), list[Path]()

    def add(self, one: Inspected, photo: Seen, mended: Mended) -> None:
        _store(photo, self.out / "JPEGImages" / photo.path.name)
        make_folder(self.out / "Annotations")
        write_whole(self.out / f"Annotations/{one.image}.xml", mended.content)
        self.kept.add(one.image)

    def finish(self, handled: set[Path]) -> list[LeftOut]:
        """Write the splits, copy every other file of the folder, and return what of splits is left out."""
        sets = self.out / "ImageSets/Main"
        if self.folder.sets is not None:
            make_folder(sets)
            for name, flags in self.folder.lists.items():
                lines = [f"{image} {flag}".rstrip() for image, flag in flags.items() if image in self.kept]
                if lines:
                    write_whole(sets / f"{name}.txt", "".join(f"{line}\n" for line in lines).encode())
                handled.add((self.folder.sets / f"{name}.txt").resolve())
        if self.folder.whole:
            self._copy_others(handled)
        return [LeftOut(reason=one.text, written=one.lost) for one in self.folder.findings]

    def _copy_others(self, handled: set[Path]) -> None:
        """Copy what else lies in the folder, such as SegmentationClass, to the same place."""
        for path in sorted(self.folder.folder.rglob("*")):
            inner = path.relative_to(self.folder.folder)
            target = self.out / inner
            if path.is_file() and path.resolve() not in handled and not target.exists():
                _copy(path, target)


class _Yolo:
    """Writes a split of a YOLO data set, and its part of the `data.yaml`."""

    def __init__(self, photos: YoloPhotos, out: Path):
        self.source, self.alone, self.out = photos.source, photos.alone, out

    def add(self, one: Inspected, photo: Seen, mended: Mended) -> None:
        split = self.source.split
        _store(photo, self.out / "images" / split / photo.path.name)
        if len(one.files) > 1:
            make_folder(self.out / "labels" / split)
            write_whole(self.out / f"labels/{split}/{one.image}.txt", mended.content)

    def finish(self, handled: set[Path]) -> list[LeftOut]:
        import yaml

        path, split = self.out / "data.yaml", self.source.split
        content = load_yaml(self.source.path)
        bare = {name: value for name, value in content.items() if name not in ("path", "train", "val", "test")}
        if (self.out / "images" / split).is_dir():
            made = (load_yaml(path) if path.is_file() else bare) | {split: f"images/{split}"}
            write_whole(path, yaml.safe_dump(made, sort_keys=False, allow_unicode=True).encode())
        return []


class _Coco:
    """Writes a file of COCO's annotations with its photos."""

    def __init__(self, file: CocoFile, out: Path):
        self.file, self.out, self.alone = file, out, list[Path]()
        self.files: dict[str, str] = {}  # new names of photos, by number
        alone = file.source.split == ALL
        self.folder = out / ("images" if alone else file.source.split)
        self.target = out / ("instances.json" if alone else f"annotations/instances_{file.source.split}.json")

    def add(self, one: Inspected, photo: Seen, mended: Mended) -> None:
        number = self.file.numbers[one.image]
        place = Path(self.file.index.files[number].replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts:
            place = Path(place.name)
        self.files[number] = _store(photo, self.folder / place).relative_to(self.folder).as_posix()

    def finish(self, handled: set[Path]) -> list[LeftOut]:
        assert self.file.whole is not None
        content, kept = copy.deepcopy(self.file.content), self.file.whole.content
        numbered = [(str(one["id"]), one) for one in content["images"]]
        content["images"] = [self._image(number, one) for number, one in numbered if number in self.files]
        content["annotations"] = [one for number in self.files for one in kept[number]]
        make_folder(self.target.parent)
        write_whole(self.target, (json.dumps(content) + "\n").encode())
        lost = [LeftOut(reason=one.text, written=one.lost) for one in self.file.whole.findings if one.lost]
        gone = [
            LeftOut(reason=f"{self.file.index.files[number]}: left out with its photo", written=repr(one))
            for number, entries in kept.items()
            if number not in self.files
            for one in entries
        ]
        return lost + gone

    def _image(self, number: str, one: dict[str, Any]) -> dict[str, Any]:
        width, height = self.file.sizes[number]
        return one | {"file_name": self.files[number], "width": width, "height": height}
