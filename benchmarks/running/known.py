"""What another run of a sweep stored of clean photos, as it would be computed."""

from __future__ import annotations

import torch
from vocbench.benchmarks.storage.row import Row
from vocbench.detection.detections import Detections


def stored_detections(rows: list[Row], detector: str) -> list[Detections]:
    """Return what the rows of one variant say that a detector found, photo by photo."""
    return [
        Detections(
            torch.tensor(row.boxes, dtype=torch.float32).reshape(-1, 4),
            torch.tensor(row.scores, dtype=torch.float32),
            torch.tensor(row.labels, dtype=torch.int64),
        )
        for row in rows
        if row.detector == detector
    ]
