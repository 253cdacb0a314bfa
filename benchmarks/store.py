"""Where a run's results are kept as they come: one parquet file per unit of work, named by what it holds.

`part-UNIT-HASH.parquet` carries the first 16 hex digits of its own SHA-256, so a truncated or damaged part is found when it is
read, never used, and computed again. A part appears under its name only when it is complete: written aside and renamed on a
file system, put in one piece into an object store.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

PART = re.compile(r"part-(\d{6,})-([0-9a-f]{16})\.parquet")
READERS = 16  # parts read and checked at a time


def schema():
    import pyarrow as pa

    number = pa.float64()
    return pa.schema(
        [
            ("unit", pa.int64()),
            ("image", pa.string()),
            ("draw", pa.int64()),
            ("variant", pa.string()),
            ("detector", pa.string()),
            ("boxes", pa.list_(pa.float32())),  # x1, y1, x2, y2 of one box after the other
            ("scores", pa.list_(pa.float32())),
            ("labels", pa.list_(pa.int16())),
            ("psnr", number),
            ("ssim", number),
            ("levels", pa.string()),  # JSON
            ("note", pa.string()),  # JSON: what a restorer tells of itself, such as the tools it chose
            ("error", pa.string()),
            ("seconds_degrade", number),
            ("seconds_restore", number),
            ("seconds_detect", number),
        ]
    )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


class Files(Protocol):
    """A flat folder of files."""

    def names(self) -> list[str]: ...
    def read(self, name: str) -> bytes: ...
    def write(self, name: str, data: bytes) -> None: ...
    def remove(self, name: str) -> None: ...


class LocalFiles:
    """A folder on this machine or on a file system it shares."""

    def __init__(self, folder: Path):
        self.folder = folder

    def names(self) -> list[str]:
        return sorted(entry.name for entry in os.scandir(self.folder)) if self.folder.is_dir() else []

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f".{uuid.uuid4().hex}.part"
        try:
            with open(part, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self.folder / name)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)


class RemoteFiles:
    """An object store named by a URL that fsspec knows, such as s3://bucket/folder."""

    def __init__(self, url: str):
        import fsspec

        scheme = url.partition("://")[0]
        try:
            self.system, self.folder = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ValueError(f"--store {url}: {scheme} cannot be opened ({error}); install fsspec's package for it") from None

    def names(self) -> list[str]:
        self.system.invalidate_cache()
        try:
            return sorted(path.rpartition("/")[2] for path in self.system.ls(self.folder, detail=False))
        except FileNotFoundError:
            return []

    def read(self, name: str) -> bytes:
        return self.system.cat_file(f"{self.folder}/{name}")

    def write(self, name: str, data: bytes) -> None:
        self.system.makedirs(self.folder, exist_ok=True)
        self.system.pipe_file(f"{self.folder}/{name}", data)

    def remove(self, name: str) -> None:
        self.system.rm_file(f"{self.folder}/{name}")


class Store:
    """The parts of one run, in a folder or at a URL of fsspec."""

    def __init__(self, place: str | Path):
        remote = "://" in str(place)
        self.place = str(place) if remote else str(Path(place).absolute())
        self.files: Files = RemoteFiles(self.place) if remote else LocalFiles(Path(self.place))

    def __reduce__(self):  # another process opens its own connection
        return Store, (self.place,)

    def write(self, unit: int, rows: Sequence[dict[str, Any]]) -> str:
        """Write the rows of a unit, whole or not at all, and return the part's name. OSError where the disk is full."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(list(rows), schema()), sink, compression="zstd")
        data = sink.getvalue().to_pybytes()
        name = f"part-{unit:06d}-{_digest(data)}.parquet"
        try:
            self.files.write(name, data)
        except OSError as error:
            raise OSError(
                f"{self.place}/{name}: could not be written ({error.strerror or error}); "
                "free some space and resume with --resume"
            ) from error
        return name

    def parts(self) -> dict[int, str]:
        """The name of the sound part of each unit; damaged ones are passed over."""
        named = [(match, name) for name in self.files.names() if (match := PART.fullmatch(name))]
        with ThreadPoolExecutor(READERS) as pool:  # hashing and reading let go of the interpreter
            sound = pool.map(lambda one: _digest(self.files.read(one[1])) == one[0][2], named)
            return {int(match[1]): name for (match, name), good in zip(named, sound, strict=True) if good}

    def clear(self, keep: Iterable[str]) -> list[str]:
        """Remove unfinished, damaged and second files, keeping the given parts; returns the names removed."""
        kept = set(keep)
        unwanted = [n for n in self.files.names() if n not in kept and (PART.fullmatch(n) or n.endswith(".part"))]
        for name in unwanted:
            self.files.remove(name)
        return unwanted

    def tables(self, columns: Sequence[str] | None = None, parts: dict[int, str] | None = None) -> Iterator[Any]:
        """The sound parts as arrow tables, unit by unit, a few read ahead; `parts` where they are known already."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        chosen = list(columns) if columns else None
        names = [name for _, name in sorted((self.parts() if parts is None else parts).items())]
        with ThreadPoolExecutor(READERS) as pool:
            for first in range(0, len(names), READERS):
                batch = pool.map(self.files.read, names[first : first + READERS])
                yield from (pq.read_table(pa.BufferReader(data), columns=chosen) for data in batch)

    def read(self, columns: Sequence[str] | None = None):
        """All rows as a pandas table, in the order of units and, within one, as written."""
        import pyarrow as pa

        tables = list(self.tables(columns))
        return pa.concat_tables(tables).to_pandas() if tables else schema().empty_table().to_pandas()
