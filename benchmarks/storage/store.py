"""The store of a run's predictions: parquet parts, named by the units of work they hold.

`part-UNIT-HASH.parquet` holds one unit. When consecutive units are complete, their parts are joined into a larger one,
`part-FIRST-LAST-HASH.parquet`, of a bounded number of rows, so that a million photos are hundreds of files. HASH is the first
16 hex digits of the part's own SHA-256, so a truncated or damaged part is recognised when it is read, never used, and computed
again. A part appears under its name only when it is complete: on a file system it is written under a temporary name and
renamed, in an object store it is written in one request. The parts joined into a larger one are removed after it is written;
while both exist, the larger one counts.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from msgspec.structs import asdict
from vocbench.benchmarks.storage.row import Row, schema

PART = re.compile(r"part-(\d{6,})(?:-(\d{6,}))?-([0-9a-f]{16})\.parquet")
UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.part")  # as `LocalFiles.write` names it
OWNER = re.compile(r"run-[0-9a-f]{32}")  # an empty file that says whose the parts are
READERS = 16  # parts read and checked at a time
ROWS = 8192  # of a joined part


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


class _Part(NamedTuple):
    """A part by its name: the units it holds, its digest."""

    first: int
    last: int
    digest: str
    name: str


def _by_variant(table: Any) -> list[Any]:
    """Return the table cut into one for each variant and detector, rows in their order; as row groups, each is read alone."""
    import pyarrow.compute as pc

    variants, detectors = table["variant"], table["detector"]
    pairs = dict.fromkeys(zip(variants.to_pylist(), detectors.to_pylist(), strict=True))
    return [table.filter(pc.and_(pc.equal(variants, v), pc.equal(detectors, d))) for v, d in pairs]


def _encoded(tables: Iterable[Any]) -> bytes:
    """Return a parquet file with each table in a row group of its own."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema(), compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
    return sink.getvalue().to_pybytes()


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
            raise ValueError(f"`store={url}`: {scheme} cannot be opened ({error}); install fsspec's package for it") from None

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
        self.place = str(place) if remote else os.path.abspath(place)
        self.files: Files = RemoteFiles(self.place) if remote else LocalFiles(Path(self.place))

    def __reduce__(self):  # another process opens its own connection
        return Store, (self.place,)

    def claim(self, run: str, new: bool) -> None:
        """Claim the store for the run with this id; ValueError if it holds another run's parts, or any parts for a new run."""
        mine = f"run-{run}"
        self._refuse_others(mine, new)
        self.files.write(mine, b"vocbench\n")
        self._refuse_others(mine, False)  # another run may have claimed it at the same moment

    def _refuse_others(self, mine: str, new: bool) -> None:
        others = [n for n in self.files.names() if (OWNER.fullmatch(n) and n != mine) or (new and PART.fullmatch(n))]
        if others:
            raise ValueError(f"{self.place}: holds the predictions of another run ({others[0]}); choose another `store`")

    def write(self, unit: int, rows: Sequence[Row]) -> str:
        """Write the rows of a unit, whole or not at all, and return the part's name. OSError where the disk is full."""
        import pyarrow as pa

        return self._put(f"{unit:06d}", _encoded([pa.Table.from_pylist([asdict(row) for row in rows], schema())]))

    def write_table(self, first: int, last: int, table: Any) -> str:
        """Write the rows of the units `first` to `last` as one part."""
        return self._put(f"{first:06d}-{last:06d}", _encoded(_by_variant(table)))

    def _put(self, units: str, data: bytes) -> str:
        name = f"part-{units}-{_digest(data)}.parquet"
        try:
            self.files.write(name, data)
        except OSError as error:
            raise OSError(
                f"{self.place}/{name}: could not be written ({error.strerror or error}); "
                "free some space and continue with `resume=True`"
            ) from error
        return name

    def _named(self) -> list[_Part]:
        """Return all parts, intact or not, by their first unit, larger ones first; a unit has at least one row."""
        matches = [(match, name) for name in self.files.names() if (match := PART.fullmatch(name))]
        parts = [_Part(int(match[1]), int(match[2] or match[1]), match[3], name) for match, name in matches]
        possible = [part for part in parts if 0 <= part.last - part.first < ROWS]
        return sorted(possible, key=lambda part: (part.first, -part.last, part.name))

    def parts(self) -> dict[int, str]:
        """Return the name of the intact part that holds each unit; damaged parts are ignored."""
        named = self._named()
        with ThreadPoolExecutor(READERS) as pool:  # hashing and reading release the GIL
            sound = pool.map(lambda part: _digest(self.files.read(part.name)) == part.digest, named)
            held: dict[int, str] = {}
            for part, good in zip(named, sound, strict=True):
                units = range(part.first, part.last + 1)
                if good and not any(unit in held for unit in units):  # no row may count twice
                    held |= dict.fromkeys(units, part.name)
        return held

    def join(self, together: int) -> None:
        """Join the parts of every `together` consecutive units, starting at a multiple of it, if each unit has its own part.

        A joined part is complete before those in it are removed. Units with a damaged part are left as they are.
        """
        single = {part.first: part for part in self._named() if part.first == part.last}
        for first in [unit for unit in single if unit % together == 0] if together > 1 else []:
            parts = [single[unit] for unit in range(first, first + together) if unit in single]
            if len(parts) == together:
                self._join(parts)

    def _join(self, parts: Sequence[_Part]) -> None:
        import pyarrow as pa

        with ThreadPoolExecutor(READERS) as pool:
            contents = list(pool.map(self.files.read, (part.name for part in parts)))
        if all(_digest(data) == part.digest for data, part in zip(contents, parts, strict=True)):
            self.write_table(parts[0].first, parts[-1].last, pa.concat_tables([_table(data) for data in contents]))
            for part in parts:
                self.files.remove(part.name)

    def clear(self, keep: Iterable[str]) -> list[str]:
        """Remove unfinished, damaged and duplicate files, keeping the given parts; returns the names removed."""
        kept = set(keep)
        unwanted = [n for n in self.files.names() if n not in kept and (PART.fullmatch(n) or UNFINISHED.fullmatch(n))]
        for name in unwanted:
            self.files.remove(name)
        return unwanted

    def tables(
        self,
        columns: Sequence[str] | None = None,
        parts: Mapping[int, str] | None = None,
        where: Mapping[str, str] | None = None,
    ) -> Iterator[Any]:
        """Yield the intact parts as arrow tables in the order of their units, a few read ahead; pass `parts` if they are known.

        `where` keeps the rows with these values, such as {"variant": "clean"}; of a joined part, only those are decoded.
        """
        names = list(dict.fromkeys(name for _, name in sorted((self.parts() if parts is None else parts).items())))
        with ThreadPoolExecutor(READERS) as pool:
            for first in range(0, len(names), READERS):
                yield from pool.map(lambda name: self._rows(name, columns, where), names[first : first + READERS])

    def _rows(self, name: str, columns: Sequence[str] | None, where: Mapping[str, str] | None) -> Any:
        """Return a part as an arrow table; ValueError naming it if it is intact but not a table with the store's columns."""
        import pyarrow as pa

        try:
            table = _table(self.files.read(name), columns, where)
        except (pa.ArrowException, KeyError) as error:
            raise ValueError(f"{self.place}/{name}: not a part of a run ({' '.join(str(error).split())[:200]})") from None
        wanted = schema()
        for column in columns or wanted.names:
            kind = table.schema.field(column).type if column in table.schema.names else "missing"
            if kind != wanted.field(column).type:
                raise ValueError(f"{self.place}/{name}: the column {column!r} is {kind}, not {wanted.field(column).type}")
        return table

    def read(self, columns: Sequence[str] | None = None):
        """Return all rows as a pandas table, part by part; those of one variant and detector in the order of units."""
        import pyarrow as pa

        tables = list(self.tables(columns))
        return pa.concat_tables(tables).to_pandas() if tables else schema().empty_table().to_pandas()


def _table(data: bytes, columns: Sequence[str] | None = None, where: Mapping[str, str] | None = None) -> Any:
    """Return a part's content; see `Store.tables`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kept = [(column, "=", value) for column, value in (where or {}).items()]
    return pq.read_table(
        pa.BufferReader(data), columns=list(columns) if columns else None, filters=kept or None, use_threads=False
    )
