"""A VOC20xx folder as a whole: fetched from its makers, and every file of it read once."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from vocbench.detection.datasets.files import TURNED, exif_orientation, photo_size
from vocbench.detection.datasets.voc import VOCSplit, read_annotation, read_voc
from vocbench.restorer.images import read_image

T = TypeVar("T")
ARCHIVES = {"voc2007": ("2007", "2007-test"), "voc2012": ("2012",)}  # in torchvision's table


def fetch(name: str, root: Path) -> Path:
    """Download the archives of `voc2007` or `voc2012` into `root`, checked by torchvision's MD5, and unpack them there.

    An archive that is there is not downloaded again. Raises OSError, in one line, where that fails.
    """
    from torchvision.datasets import utils
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    try:
        root.mkdir(parents=True, exist_ok=True)
        for archive in (DATASET_YEAR_DICT[key] for key in ARCHIVES[name]):
            utils.download_url(archive["url"], str(root), archive["filename"], archive["md5"])
            unpack(root / archive["filename"], root)
    except (OSError, RuntimeError, ValueError, tarfile.TarError) as error:
        reason = " ".join(str(error).split())[:200]
        raise OSError(f"{name} could not be fetched ({reason}); unpack the archives into {root}/VOCdevkit yourself") from None
    return root / "VOCdevkit" / name.upper()


def unpack(path: Path, root: Path) -> None:
    """Extract a tar of folders and plain files below `root`; ValueError, with nothing written, for one that holds more.

    Files that are there already stay as they are, and one appears under its name only when it is whole.
    """
    if not hasattr(tarfile, "data_filter"):
        raise ValueError("this Python's tarfile checks no paths; use Python 3.10.12, 3.11.4 or newer")
    with tarfile.open(path) as archive:
        members = [_checked(path, member, root) for member in archive]
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=root) as aside:
            for member in members:
                target = root / member.name
                if member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                elif not target.exists():
                    archive.extract(member, aside, filter="data")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    (Path(aside) / member.name).replace(target)


def _checked(path: Path, member: tarfile.TarInfo, root: Path) -> tarfile.TarInfo:
    """Return a folder or plain file of an archive, its name below `root`; ValueError for anything else."""
    if not (member.isfile() or member.isdir()):
        raise ValueError(f"{path}: {member.name!r} is a link or a device; this is no archive of VOC")
    try:
        return tarfile.data_filter(member, str(root))
    except tarfile.FilterError as error:
        raise ValueError(f"{path}: {error}; this is no archive of VOC") from None


@dataclass
class Checked:
    """How many files of each kind were read, and what is wrong with which; `say` is told of each problem as it is found."""

    say: Callable[[str], None]
    photos: int = 0
    annotations: int = 0
    splits: int = 0
    broken: list[str] = field(default_factory=list)

    def attempt(self, work: Callable[..., T], *given: Any) -> T | None:
        """Return what `work` gives; None where it names a broken file."""
        try:
            return work(*given)
        except (OSError, ValueError) as error:
            self.broken.append(str(error))
            self.say(str(error))
            return None


def check(
    folder: Path,
    split: str | None = None,
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[int], Callable[[], None]] = lambda total: lambda: None,
) -> Checked:
    """Read every photo, annotation and split of a folder, or those of one split, and go on after each broken one.

    `progress` is called with the number of photos, and what it gives after each of them. Raises FileNotFoundError where there
    is no such folder or split.
    """
    checked = Checked(say)
    owners = {image: found for found in _splits(folder, split, checked) for image in found.ids}
    photos = {photo for image, owner in owners.items() if (photo := checked.attempt(owner.photo, image))}
    annotations = {folder / "Annotations" / f"{image}.xml" for image in owners}
    if split is None:
        photos |= _listed(folder / "JPEGImages")
        annotations |= _listed(folder / "Annotations")
    sizes = {path.stem: checked.attempt(lambda path: read_annotation(path).size, path) for path in sorted(annotations)}
    step = progress(len(photos))
    for path in sorted(photos):
        checked.attempt(_check_photo, path, sizes.get(path.stem))
        step()
    checked.photos, checked.annotations = len(photos), len(annotations)
    return checked


def _splits(folder: Path, split: str | None, checked: Checked) -> list[VOCSplit]:
    """Return the split asked for, or every one that can be read."""
    main = folder / "ImageSets" / "Main"
    if split is not None or not main.is_dir():
        checked.splits = 1
        return [read_voc(folder, split or "val")]  # which says what is missing
    names = sorted(path.stem for path in _listed(main))
    if not names:
        raise ValueError(f"{folder}: has no splits in ImageSets/Main")
    checked.splits = len(names)
    return [found for name in names if (found := checked.attempt(read_voc, folder, name))]


def _listed(folder: Path) -> set[Path]:
    """Return the files of a folder but for hidden ones."""
    return {path for path in folder.glob("[!.]*") if path.is_file()}


def _check_photo(path: Path, annotated: tuple[int, int] | None) -> None:
    """Raise unless the photo can be read and has the annotated size (width, height), where that is known."""
    height, width = read_image(path).shape[1:]
    check_size(path, (width, height), annotated)


def check_size(path: Path, stored: tuple[int, int], annotated: tuple[int, int] | None, upright: bool = False) -> None:
    """Raise ValueError where a photo's size (width, height), stored or `upright`, is not the annotated one, if there is one."""
    width, height = found = photo_size(path, upright=True) if upright else stored
    if annotated not in (None, found):
        said = "x".join(map(str, annotated or ()))
        if annotated == (height, width) and exif_orientation(path) in TURNED:
            seen = f"is seen as {width}x{height} pixels as it is" if upright else f"is stored as {width}x{height} pixels and"
            rule, remedy = ("stored", "take `upright` away") if upright else ("people see it", "give `upright=True`")
            raise ValueError(
                f"{path}: {seen} turned by EXIF, and its annotation says {said}: it was annotated as {rule}; {remedy} "
                "where all are, else store a copy upright (`mogrify -auto-orient`)"
            )
        raise ValueError(f"{path}: is {width}x{height} pixels, its annotation says {said}; one of them is wrong")
