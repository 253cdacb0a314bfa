"""The time that a run spends in each stage, and its peak memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from vocbench.benchmarks.memory import resident_peak
from vocbench.benchmarks.storage.records import SPENT, WORKED

T = TypeVar("T")


def peak_memory() -> dict[str, int]:
    """Return the peak memory so far in bytes: resident, of this process or an ended child, and of CUDA where it is used."""
    resident = [peak for children in (False, True) if (peak := resident_peak(children=children)) is not None]
    peaks = {"peak_memory_bytes": max(resident)} if resident else {}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        peaks["peak_cuda_bytes"] = max(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count()))
    return peaks


@dataclass
class Clock:
    """Seconds that the driver spent in each stage, and the peak memory of the processes seen.

    Workers read, degrade and measure in parallel: `prepare` and `measure` are the seconds that the driver waited for them,
    `worked` has the seconds that they spent on each of the three, summed over all workers.
    """

    spent: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SPENT, 0.0))
    worked: dict[str, float] = field(default_factory=lambda: dict.fromkeys(WORKED, 0.0))
    peaks: dict[str, int] = field(default_factory=dict)
    batches: dict[str, int] = field(default_factory=dict)  # of each network's tiles, the fewest seen

    def note_batches(self, batches: Mapping[str, int]) -> None:
        """Record the tiles per batch of a process's networks."""
        self.batches |= {name: min(count, self.batches.get(name, count)) for name, count in batches.items()}

    def note_work(self, **seconds: float) -> None:
        """Add seconds that workers spent, by the names in `WORKED`."""
        for name, count in seconds.items():
            self.worked[name] += count

    def note(self, peaks: Mapping[str, int]) -> None:
        """Record the peak memory of a process."""
        self.peaks |= {name: max(count, self.peaks.get(name, 0)) for name, count in peaks.items()}

    def time(self, stage: str, work: Callable[[], T]) -> tuple[T, float]:
        """Return what `work` gives and the seconds it took, which count for a stage."""
        begun = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - begun
        self.spent[stage] += seconds
        return result, seconds
