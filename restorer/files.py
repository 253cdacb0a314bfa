"""The cache folder, and files that are written completely or not at all."""

from __future__ import annotations

import functools
import glob
import logging
import os
import secrets
import stat
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

import platformdirs
from vocbench.restorer.web import file_name, is_url

logger = logging.getLogger(__name__)
LOOKED_AT = 10_000  # files of a folder that are searched for a similar name
PHOTOS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")  # suffixes that are looked for in folders


def cache_folder() -> Path:
    """Return `VOCBENCH_CACHE`, or the platform's cache folder for vocbench; made when first written to.

    Without a home directory it is a temporary folder of this process.
    """
    chosen = os.environ.get("VOCBENCH_CACHE")
    try:
        return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("vocbench")).expanduser()
    except (RuntimeError, KeyError):  # no home directory, or a user without a name
        if chosen:
            raise OSError(f"VOCBENCH_CACHE={chosen}: this user has no home directory; give a full path") from None
        return _homeless()


@functools.cache
def _homeless() -> Path:
    logger.warning("there is no home directory to keep weights in; set VOCBENCH_CACHE to a permanent folder")
    return Path(_own_folder().name)


@functools.cache
def usable(cache: Path) -> Path:
    """Return the cache folder, created if missing; if it cannot be written to, a temporary folder of this process.

    Only for files that can be computed again. Others, such as weights, go to the cache folder or nowhere.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=cache).close()
        return cache
    except OSError as error:
        reason = error.strerror or error
        logger.warning("%s: cannot be written to (%s); its contents are made again each time", cache, reason)
        return Path(_own_folder().name)


@functools.cache
def _own_folder() -> tempfile.TemporaryDirectory:
    """Return a folder that is removed when this process ends."""
    return tempfile.TemporaryDirectory(prefix="vocbench-")


def write_whole(path: str | Path, data: bytes) -> None:
    """Write a file whole or not at all; OSError names it and says what to do."""
    try:
        with replacing(path) as part:
            part.write_bytes(data)
    except OSError as error:
        raise OSError(f"{path}: could not be written ({error.strerror}); free some space, or choose another folder") from error


def make_folder(path: Path) -> None:
    """Make a folder for outputs; OSError names it and says what to do."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{path}: cannot be made ({error.strerror}); choose another `out`") from None


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary file beside `path` to write, which replaces `path` at the end; removed if writing fails.

    It is synced to disk before it replaces `path`. Its permissions follow the umask.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    open(part, "xb").close()
    permissions = stat.S_IMODE(part.stat().st_mode)
    try:
        yield part
        part.chmod(permissions)  # safetensors, among others, puts a file of its own there
        _to_disk(part)
        part.replace(path)
        _to_disk(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    """Sync a file or folder to disk, if the platform can."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError:
        if not path.is_dir():  # some network file systems sync no folders
            raise
    finally:
        os.close(handle)


@dataclass(frozen=True)
class FoundPhoto:
    """A photo, and its place below a folder of results.

    The source is a file or, as a str, an address. A photo given alone has its name as place, one of a folder its path there.
    """

    source: Path | str
    place: Path


def find_photos(given: Iterable[str | Path], leave_out: Path | None = None) -> list[FoundPhoto]:
    """Return the photos of files, folders (at any depth, hidden ones left out), patterns such as `a/**/*.jpg`, and addresses.

    Addresses, http:// or https:// in a str, are not read here. Files below `leave_out` in a folder are ignored, as
    results of an earlier call. Raises FileNotFoundError for what is not there and ValueError for a folder without photos.
    """
    photos: dict[Path | str, FoundPhoto] = {}
    for photo in (one for text in given for one in _found(text, leave_out)):
        photos.setdefault(photo.source.resolve() if isinstance(photo.source, Path) else photo.source, photo)
    return list(photos.values())


def photos_by_place(photos: Iterable[FoundPhoto]) -> dict[str, FoundPhoto]:
    """Return photos by their place without its suffix, such as `2024/a`; ValueError names two of one name."""
    return _named((photo.place.with_suffix("").as_posix(), photo) for photo in photos)


def result_places(photos: Sequence[FoundPhoto], suffix: str) -> dict[Path | str, Path]:
    """Return, by source, the place of each photo's result below a folder: the photo's own, with another suffix.

    Where two would share a name, as `a.jpg` and `a.tif` would, both keep their suffix in it: `a.jpg.png` and `a.tif.png`.
    ValueError names two photos of one place.
    """
    _named((photo.place.as_posix(), photo) for photo in photos)
    places = [photo.place.with_suffix(suffix) for photo in photos]
    while shared := {place for place, count in Counter(places).items() if count > 1}:
        full = [photo.place.with_name(photo.place.name + suffix) for photo in photos]  # no two of them are alike
        places = [one if place in shared else place for one, place in zip(full, places, strict=True)]
    return {photo.source: place for photo, place in zip(photos, places, strict=True)}


def _named(photos: Iterable[tuple[str, FoundPhoto]]) -> dict[str, FoundPhoto]:
    """Return photos by their names; ValueError names two of one name."""
    named: dict[str, FoundPhoto] = {}
    for name, photo in photos:
        if (other := named.setdefault(name, photo)) is not photo:
            bare = "" if name == photo.place.as_posix() else ", without its suffix"
            raise ValueError(f"{photo.source}: {other.source} is also called {name}{bare}; rename one of them or leave it out")
    return named


def _found(text: str | Path, leave_out: Path | None) -> Iterator[FoundPhoto]:
    """Yield the photos of one file, folder, pattern or address."""
    if is_url(text):
        yield FoundPhoto(str(text), file_name(str(text)))
        return
    for path in _expanded(Path(text)):
        photos = _photos_of(path, leave_out) if path.is_dir() else [FoundPhoto(path, Path(path.name))]
        if not photos:
            raise ValueError(f"{path}: this folder holds no photos ({', '.join(PHOTOS)})")
        yield from photos


def _expanded(path: Path) -> list[Path]:
    if path.exists():
        return [path]
    if not glob.has_magic(str(path)):
        raise FileNotFoundError(f"{path}: no such photo or folder{closest_name(path)}")
    matches = sorted(glob.glob(str(path), recursive=True))
    if not matches:
        raise FileNotFoundError(f"{path}: nothing matches this pattern; no such photo or folder")
    return [Path(match) for match in matches]


def closest_name(path: Path) -> str:
    """Return a question that suggests the name closest to that of a missing file in its folder; empty where none is close."""
    try:
        names = [one.name for one in islice(path.parent.iterdir(), LOOKED_AT)]
    except OSError:
        return ""
    close = get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f"; did you mean {str(path.with_name(close[0]))!r}?" if close else ""


def _photos_of(folder: Path, leave_out: Path | None) -> list[FoundPhoto]:
    results = leave_out.resolve() if leave_out and leave_out.resolve() != folder.resolve() else None
    photos = []
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if any(part.startswith(".") for part in place.parts) or (results and path.resolve().is_relative_to(results)):
            continue
        if path.suffix.lower() in PHOTOS and path.is_file():
            photos.append(FoundPhoto(path, place))
    return photos
