"""The results on clean photos that another run of a sweep stored, in the form in which they are computed."""

from __future__ import annotations

import torch
from vocbench.benchmarks.storage.row import Row
from vocbench.detection.detections import Detections


def stored_detections(rows: list[Row], detector: str) -> list[Detections]:
    """Return a detector's detections from the rows of one variant, photo by photo."""
    return [
        Detections(
            torch.tensor(row.boxes, dtype=torch.float32).reshape(-1, 4),
            torch.tensor(row.scores, dtype=torch.float32),
            torch.tensor(row.labels, dtype=torch.int64),
        )
        for row in rows
        if row.detector == detector
    ]
