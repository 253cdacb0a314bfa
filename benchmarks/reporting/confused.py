"""The confusion matrix as a table: classes that occur, cells shaded by their share of a row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from vocbench.detection.confusion import Confusion

SHOWN = 24  # classes; of more, those with the most objects and detections


@dataclass(frozen=True)
class Cell:
    """A count, and its share of the row in percent."""

    count: int
    share: int
    agrees: bool  # detected as its own class


@dataclass(frozen=True)
class Matrix:
    """One variant's matrix: rows are what is annotated, columns what was detected."""

    label: str
    columns: list[str]
    rows: list[tuple[str, list[Cell]]]
    left_out: int  # classes that occur and are not shown


def matrix(label: str, counted: Confusion, classes: list[str]) -> Matrix:
    """Return the matrix of the classes that occur, in their order; the last row is of detections without an object."""
    totals = counted.counts.sum(0)[:-1] + counted.counts.sum(1)[:-1]
    occurring = np.flatnonzero(totals)
    kept = np.sort(occurring[np.argsort(-totals[occurring], kind="stable")][:SHOWN])
    names, picked = [classes[i] for i in kept], [*kept.tolist(), len(classes)]
    rows = [
        (name, _cells(counted.counts[i][picked], k))
        for k, (name, i) in enumerate(zip([*names, "no object"], picked, strict=True))
    ]
    return Matrix(label, [*names, "missed"], rows, len(occurring) - len(kept))


def _cells(counts: np.ndarray, own: int) -> list[Cell]:
    total = max(int(counts.sum()), 1)
    last = len(counts) - 1
    return [Cell(count, round(100 * count / total), k == own and k < last) for k, count in enumerate(counts.tolist())]
