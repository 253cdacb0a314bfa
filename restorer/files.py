"""Where this project keeps files of its own, and how a file is put in its place whole or not at all."""

from __future__ import annotations

import functools
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """`VOCBENCH_CACHE`, or the platform's cache folder for vocbench; made when first written to."""
    chosen = os.environ.get("VOCBENCH_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("vocbench"))


@functools.cache
def usable(cache: Path) -> Path:
    """The cache folder, made where it is missing; where it cannot be written to, one that goes with this process, and a notice.

    For what is kept to save time only. What must stay, such as weights, goes to the cache folder or nowhere.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=cache).close()
        return cache
    except OSError as error:
        reason = error.strerror or error
        print(f"notice: {cache}: cannot be written to ({reason}); what it would keep is made anew each time", file=sys.stderr)
        return Path(_own_folder().name)


@functools.cache
def _own_folder() -> tempfile.TemporaryDirectory:
    """A folder that is removed when this process ends."""
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
        raise OSError(f"{path}: cannot be made ({error.strerror}); choose another --out") from None


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A file beside `path` to be written, which takes the place of `path` at the end; it is removed where writing fails."""
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
