"""The clean photos of a training: listed from its folders, checked before the first step, and split by their names."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
from vocbench.restorer.images import check_image

SUFFIXES = (".jpg", ".jpeg", ".png")
LISTED = 20  # broken photos that an error names


def photos_below(folders: Sequence[str | Path]) -> list[tuple[str, Path]]:
    """Return every JPEG and PNG below the folders, folder by folder and sorted, with its path inside its folder as its name.

    Hidden files and folders are passed over, macOS's `._` files among them. Raises FileNotFoundError for a missing folder and
    ValueError for one without photos.
    """
    photos: dict[Path, str] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder of clean photos")
        paths = [path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
        paths = sorted(path for path in paths if not any(part.startswith(".") for part in path.parts))
        if not paths:
            raise ValueError(f"{folder}: holds no JPEG or PNG photo")
        for path in paths:
            photos.setdefault(folder / path, path.as_posix())  # a folder inside another one counts once
    return [(name, path) for path, name in photos.items()]


def list_photos(folders: Sequence[str | Path]) -> list[Path]:
    """Return every JPEG and PNG below the folders, as `photos_below` finds them."""
    return [path for _, path in photos_below(folders)]


def broken_photos(photos: Sequence[Path]) -> list[str]:
    """Decode every photo and return the errors of those that cannot be decoded, each with the name."""

    def look(path: Path) -> str | None:
        try:
            check_image(path)
        except (ValueError, OSError) as error:
            return str(error)
        return None

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return [reason for reason in pool.map(look, photos) if reason]


def refuse_broken(broken: Iterable[str], count: int) -> None:
    """Raise ValueError with the list of the broken among `count` photos, if there are any."""
    reasons = list(broken)
    if reasons:
        more = f"; and {len(reasons) - LISTED} more" if len(reasons) > LISTED else ""
        listed = "; ".join(reasons[:LISTED])
        raise ValueError(f"{len(reasons)} of {count} clean photos cannot be used; replace or remove them: {listed}{more}")


@dataclass(frozen=True)
class Parted:
    """Photos to train on and photos held out for validation, with the names of these."""

    train: list[Path]
    held: list[Path]
    names: list[str]


def _place(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big")


def part(folders: Sequence[str | Path], every: int, names: Sequence[str] | None = None) -> Parted:
    """Hold out about one photo of `every`, chosen by a hash of its name, or those of the given names.

    So a photo stays in its set whatever photos are added or removed and wherever its folder lies; at least one is held out.
    Raises ValueError if none of the given names is found.
    """
    photos = photos_below(folders)
    if names is None:
        chosen = {name for name, _ in photos if _place(name) % every == 0} or {min((name for name, _ in photos), key=_place)}
    else:
        chosen = set(names)
    held = [(name, path) for name, path in photos if name in chosen]
    if not held:
        raise ValueError(
            f"none of the {len(chosen)} held-out photos of the training so far, such as {min(chosen)}, lies in "
            f"{', '.join(map(str, folders))}; give the folders it was begun with"
        )
    train = [path for name, path in photos if name not in chosen]
    return Parted(train or [path for _, path in held], [path for _, path in held], sorted({name for name, _ in held}))


def held_by_place(folders: Sequence[str | Path], every: int) -> list[str]:
    """Return the names of each `every`th photo: what version 0.1 held out, whose checkpoints do not name them."""
    return [name for name, _ in photos_below(folders)[::every]]


class Recent:
    """A cache of arrays up to a number of bytes; the least recently used are dropped first. Threads may share it."""

    def __init__(self, limit: int):
        self.limit, self.size = limit, 0
        self._kept: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the array cached under a key, or else that of `make`, which is then cached."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            if key not in self._kept and made.nbytes <= self.limit:
                self._kept[key] = made
                self.size += made.nbytes
            while self.size > self.limit:
                self.size -= self._kept.popitem(last=False)[1].nbytes
        return made
