"""Ids of images: which names are valid, the lines of a split file, and which image another tool's id means."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from vocbench.detection.datasets.files import OTHER_PICTURES, PHOTO_SUFFIXES, read_text

FLAG = re.compile(r"\s+(-1|0|1)$")  # of the devkit's splits of one class, `dog_train.txt`
SUFFIX = re.compile(rf"({'|'.join(map(re.escape, (*PHOTO_SUFFIXES, *OTHER_PICTURES, '.xml')))})$", re.IGNORECASE)
MAX_LENGTH = 200  # characters; a file name with its suffix may have 255 bytes


def check_id(name: str, whence: str) -> str:
    """Return a valid id; ValueError, naming `whence`, for a name that is not a plain file name."""
    control = any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in name)
    odd = control or "/" in name or "\\" in name or ".." in name or name == "." or name.startswith("-")
    if odd or not 0 < len(name) <= MAX_LENGTH:
        raise ValueError(
            f"{whence}: {name[:80]!r} is not an image id (a plain file name without folder or suffix, no leading dash)"
        )
    return name


def read_ids(path: Path, known: Callable[[str], bool] = lambda name: False) -> list[str]:
    """Return the image ids of a split file, in its order, one a line.

    A line that is `known` is an id without change; else it loses the flag of the devkit's splits of one class, and a suffix
    where what remains is known.
    """
    ids = [split_line(line, str(path), known)[0] for line in _lines(path)]
    if len(set(ids)) != len(ids):
        twice = next(name for i, name in enumerate(ids) if name in ids[:i])
        raise ValueError(f"{path}: lists {twice!r} twice; remove one")
    if not ids:
        raise ValueError(f"{path}: a split with no images")
    return ids


def _lines(path: Path) -> list[str]:
    return [line for line in map(str.strip, read_text(path).splitlines()) if line]


def split_line(line: str, whence: str, known: Callable[[str], bool]) -> tuple[str, str]:
    """Return the id of a line of a split file and its flag, empty where it has none; see `read_ids`."""
    name, flag = check_id(line, whence), ""
    if (found := FLAG.search(name)) and not known(name):
        name, flag = name[: found.start()], found[1]
    if SUFFIX.search(name) and not known(name) and known(SUFFIX.sub("", name)):
        name = SUFFIX.sub("", name)
    return name, flag


def sound_lines(path: Path, known: Callable[[str], bool]) -> tuple[dict[str, str], list[str]]:
    """Return the flag of each id of a split file, even if `read_ids` refuses the file, and the lines that are not ids."""
    flags: dict[str, str] = {}
    odd = []
    for line in _lines(path):
        try:
            name, flag = split_line(line, str(path), known)
            flags.setdefault(name, flag)
        except ValueError:
            odd.append(line)
    return flags, odd


def _file_name(name: str) -> str:
    """Return an id without folders and suffix."""
    return SUFFIX.sub("", re.split(r"[/\\]", name)[-1])


def _bare(name: str) -> str:
    """Return an id without folders, suffix, blanks, underscores and leading zeros."""
    bare = re.sub(r"[\s_]", "", _file_name(name))
    return bare.lstrip("0") or "0" if bare.isdigit() else bare


def match_ids(given: Iterable[str], images: Sequence[str], numbers: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """Return the image that each given id means, None where none or more than one fits.

    An image's own id goes first, then `numbers` (another name of each image, as COCO's files have), then ids that differ in
    folders and suffix only, then in leading zeros, blanks and underscores too. An image that one id names is not given
    to another by a later rule; ValueError where two ids of one rule would mean the same image.
    """
    waiting = list(dict.fromkeys(given))
    matched: dict[str, str | None] = dict.fromkeys(waiting)
    taken: dict[str, str] = {}
    rules: list[tuple[Callable[[str], str], Mapping[str, str | None]]] = [
        (str, {image: image for image in images}),
        (str, dict(numbers or {})),
        (_file_name, _unique(images, _file_name)),
        (_bare, _unique(images, _bare)),
    ]
    for form, known in rules:
        if not waiting:
            break
        new: dict[str, str] = {}
        for name in waiting:
            image = known.get(form(name))
            if image is None or image in taken:
                continue
            if image in new:
                raise ValueError(f"{new[image]!r} and {name!r} both seem to mean image {image!r}; write its id as it is")
            new[image], matched[name] = name, image
        taken |= new
        waiting = [name for name in waiting if matched[name] is None]
    return matched


def _unique(images: Sequence[str], form: Callable[[str], str]) -> dict[str, str | None]:
    """Return the images by the normalised form of their ids, None if two have the same form."""
    by_form: dict[str, str | None] = {}
    for image in images:
        key = form(image)
        by_form[key] = None if key in by_form else image
    return by_form
