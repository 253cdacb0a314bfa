"""One row of a run's store beside the columns it is stored in."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class Row(Struct, frozen=True, kw_only=True):
    """The stored result for one photo, draw, variant and detector; `schema` has the columns of the same names."""

    unit: int
    image: str
    draw: int
    variant: str
    detector: str
    boxes: list[float]  # x1, y1, x2, y2 of one box after the other
    scores: list[float]
    labels: list[int]
    psnr: float | None = None  # dB
    ssim: float | None = None
    levels: str | None = None  # JSON: the level of each degradation
    note: str | None = None  # JSON: what a restorer notes of the photo, such as the tools it chose
    error: str | None = None  # of a restorer that failed
    seconds_degrade: float | None = None
    seconds_restore: float | None = None
    seconds_detect: float | None = None


def schema() -> Any:
    """Return the columns of a store's parts, a field of `Row` each."""
    import pyarrow as pa

    number = pa.float64()
    return pa.schema(
        [
            ("unit", pa.int64()),
            ("image", pa.string()),
            ("draw", pa.int64()),
            ("variant", pa.string()),
            ("detector", pa.string()),
            ("boxes", pa.list_(pa.float32())),
            ("scores", pa.list_(pa.float32())),
            ("labels", pa.list_(pa.int16())),
            ("psnr", number),
            ("ssim", number),
            ("levels", pa.string()),
            ("note", pa.string()),
            ("error", pa.string()),
            ("seconds_degrade", number),
            ("seconds_restore", number),
            ("seconds_detect", number),
        ]
    )
