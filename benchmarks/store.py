"""Where a run's results are kept as they come: one parquet file per unit of work, named by what it holds.

`part-UNIT-HASH.parquet` carries the first 16 hex digits of its own SHA-256, so a truncated or damaged part is found when it is
read, never used, and computed again. A part is written under another name and renamed when it is complete.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

PART = re.compile(r"part-(\d{6,})-([0-9a-f]{16})\.parquet")
KEY = ("unit", "image", "draw", "variant", "detector")


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


class Store:
    """The parts of one run, in `folder`."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def write(self, unit: int, rows: Sequence[dict[str, Any]]) -> Path:
        """Write the rows of a unit; whole or not at all. OSError where the disk is full or read-only."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(list(rows), schema()), sink, compression="zstd")
        data = sink.getvalue().to_pybytes()
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"part-{unit:06d}-{_digest(data)}.parquet"
        part = self.folder / f".{uuid.uuid4().hex}.part"
        try:
            with open(part, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise OSError(
                f"{path}: could not be written ({error.strerror}); free some space and resume with --resume"
            ) from error
        return path

    def parts(self) -> dict[int, Path]:
        """The sound part of each unit; damaged ones are passed over."""
        found: dict[int, Path] = {}
        if not self.folder.is_dir():
            return found
        for path in sorted(self.folder.iterdir()):
            named = PART.fullmatch(path.name)
            if named and _digest(path.read_bytes()) == named[2]:
                found[int(named[1])] = path
        return found

    def clear(self, keep: Iterable[Path]) -> list[str]:
        """Remove unfinished and damaged files, keeping the given parts; returns the names removed."""
        kept = {path.name for path in keep}
        removed = []
        if self.folder.is_dir():
            for path in sorted(self.folder.iterdir()):
                if path.name not in kept and (PART.fullmatch(path.name) or path.name.endswith(".part")):
                    path.unlink(missing_ok=True)
                    removed.append(path.name)
        return removed

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Every row of every sound part, unit by unit."""
        import pyarrow.parquet as pq

        for _, path in sorted(self.parts().items()):
            yield from pq.read_table(path, columns=list(columns) if columns else None).to_pylist()

    def read(self, columns: Sequence[str] | None = None):
        """All rows as a pandas table, in the order of units and, within one, as written."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        paths = [path for _, path in sorted(self.parts().items())]
        if not paths:
            return schema().empty_table().to_pandas()
        chosen = list(columns) if columns else None
        return pa.concat_tables([pq.read_table(path, columns=chosen) for path in paths]).to_pandas()
