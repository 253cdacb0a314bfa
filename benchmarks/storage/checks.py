"""Checks of the rows of a run's store as they are read: a valid checksum does not guarantee valid content.

Every error is a ValueError that names the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from vocbench.benchmarks.settings import RunSettings
from vocbench.benchmarks.storage.records import T, parse_json
from vocbench.benchmarks.variants import AS_IS, on_clean
from vocbench.detection.columns import places
from vocbench.pipeline.models import parse_detector, parse_restorer


def expected_names(settings: RunSettings) -> tuple[list[str], list[str]]:
    """Return the variants and detectors that a run of these settings stores."""
    labels = [parse_restorer(text).label for text in settings.restorers]
    harmed = [on_clean(label) for label in labels] if settings.do_no_harm else []
    unrestored = [AS_IS] if settings.as_they_are else ["clean", "distorted"]
    return [*unrestored, *labels, *harmed], [parse_detector(text).label for text in settings.detectors]


def check_names(place: str, variants: Sequence[str], detectors: Sequence[str], settings: RunSettings) -> None:
    """Refuse rows of variants or detectors that the run does not have."""
    for names, expected, kind in zip((variants, detectors), expected_names(settings), ("variant", "detector"), strict=True):
        strange = [name for name in names if name not in expected]
        if strange:
            raise ValueError(f"{place}: holds the {kind} {strange[0]!r}; the run has {', '.join(expected)}")


def check_rows(table: Any, place: str, classes: int) -> None:
    """Refuse rows without photo or boxes, and boxes, scores and labels that are no detections of that many classes."""
    for column in ("image", "draw", "boxes", "scores", "labels"):
        if table[column].null_count:
            raise ValueError(f"{place}: holds a row without {column}")
    for batch in table.to_batches():
        wrong = _wrong_lengths(*(batch[column] for column in ("boxes", "scores", "labels")))
        if wrong is not None:
            raise ValueError(f"{place}: {batch['image'][wrong]}: there must be 4 box values, 1 score and 1 label per detection")
        for column, most in (("boxes", np.inf), ("scores", np.inf), ("labels", classes)):
            _check_values(batch[column].flatten(), most, f"{place}: holds {column}")


def _wrong_lengths(boxes: Any, scores: Any, labels: Any) -> int | None:
    """Return the first row whose lists differ in length."""
    of_boxes, of_scores, of_labels = (column.value_lengths().to_numpy() for column in (boxes, scores, labels))
    wrong = np.flatnonzero((of_boxes != 4 * of_scores) | (of_labels != of_scores))
    return int(wrong[0]) if len(wrong) else None


def _check_values(values: Any, most: float, subject: str) -> None:
    numbers = values.to_numpy(zero_copy_only=False)
    if values.null_count or not np.isfinite(numbers).all():
        raise ValueError(f"{subject} that are not finite")
    if most < np.inf and len(numbers) and not 0 <= numbers.min() <= numbers.max() < most:
        raise ValueError(f"{subject} outside 0..{most - 1}: {numbers.min()} to {numbers.max()}")


def check_keys(keys: Sequence[str], count: int, place: str) -> dict[str, int]:
    """Return the place of each key; refuses one that comes twice, and another number of them than the run's photos give."""
    try:
        index = places(keys)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
    if len(index) != count:
        raise ValueError(f"{place}: {len(index)} rows, where the run's photos give {count}")
    return index


def decode(text: str, kind: type[T], column: str, place: str) -> T:
    """Return a value of a column of JSON."""
    return parse_json(text, kind, f"{place}: a value of the column {column!r}")
