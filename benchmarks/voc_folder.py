"""Download PASCAL VOC, and check that a photo has the size that its annotation says."""

from __future__ import annotations

import re
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import IO, cast

from vocbench.detection.datasets.files import TURNED, exif_orientation, photo_size

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
    with tarfile.open(path) as archive:
        members = [(member, _target(path, member, root)) for member in archive]
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=root) as aside:
            part = Path(aside) / "part"
            for member, target in members:
                if member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                elif not target.exists():
                    with cast(IO[bytes], archive.extractfile(member)) as source, part.open("wb") as file:
                        shutil.copyfileobj(source, file)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    part.replace(target)


def _target(path: Path, member: tarfile.TarInfo, root: Path) -> Path:
    """Return where a folder or plain file of an archive goes; ValueError for anything else and for places outside `root`.

    Not left to tarfile's filters: Debian 12's Python 3.11.2, among others, has none.
    """
    if not (member.isfile() or member.isdir()):
        raise ValueError(f"{path}: {member.name!r} is a link or a device; this is no archive of VOC")
    parts = [part for part in re.split(r"[/\\]", member.name) if part not in ("", ".")]
    if ".." in parts or ":" in member.name:  # a drive's letter
        raise ValueError(f"{path}: {member.name!r} would be written outside {root}; this is no archive of VOC")
    return root.joinpath(*parts)  # links on the disk are the user's own, and followed


def check_size(path: Path, stored: tuple[int, int], annotated: tuple[int, int] | None, upright: bool = False) -> None:
    """Raise ValueError if a photo's size (width, height), stored or `upright`, differs from the annotated one."""
    width, height = size = photo_size(path, upright=True) if upright else stored
    if annotated not in (None, size):
        expected = "x".join(map(str, annotated or ()))
        if annotated == (height, width) and exif_orientation(path) in TURNED:
            pixels = f"is {width}x{height} pixels when" if upright else f"is stored as {width}x{height} pixels and"
            rule, remedy = ("as stored", "leave out `upright`") if upright else ("after the rotation", "give `upright=True`")
            raise ValueError(
                f"{path}: {pixels} rotated by EXIF, but its annotation says {expected}: it was annotated {rule}; {remedy} "
                "if all photos were, else write a repaired copy with `vocbench data check` and `fix_into`"
            )
        raise ValueError(f"{path}: is {width}x{height} pixels, but its annotation says {expected}; one of them is wrong")
