"""Where the units of a run are computed: in this process, or by workers on Ray (`ray_workers`)."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol

from vocbench.benchmarks.reporting.examples import Examples, Pictures
from vocbench.benchmarks.running.unit import Clock, Equipment, Models, Prepared, build_models, compute, prepare
from vocbench.benchmarks.settings import RunSettings
from vocbench.benchmarks.storage.store import Store
from vocbench.detection.datasets.voc import VOCSplit

AHEAD = 2  # units prepared beyond the one being computed, for each worker


@dataclass(frozen=True)
class Plan:
    """What is to be computed, and where it goes."""

    settings: RunSettings
    data: VOCSplit
    units: list[list[str]]  # image ids; a photo is in exactly one unit
    inventory: dict[str, list[str]]  # SHA-256 of each image's photo and annotation
    store: Store
    examples: Examples

    def photos(self, unit: int) -> list[tuple[str, Path]]:
        return [(image, self.data.photo(image)) for image in self.units[unit]]


class Crew(Protocol):
    """Models that stand ready to compute units."""

    @property
    def equipment(self) -> Equipment: ...

    def compute(self, plan: Plan, waiting: Sequence[int], advance: Callable[[int], None], clock: Clock) -> None:
        """Compute the units `waiting` into the plan's store, calling `advance` with the photos of each."""


class Runner(Protocol):
    def open(self, settings: RunSettings) -> AbstractContextManager[Crew]:
        """Build the models and get ready; everything is let go at the end."""


def compute_and_store(
    plan: Plan, unit: int, items: list[Prepared], models: Models, clock: Clock
) -> Pictures:  # fmt: skip
    """Compute a unit, write its part, and return what it has to show."""
    drawn: list[Pictures] = []
    rows = compute(plan.settings, unit, items, models, clock, lambda *unit: drawn.append(plan.examples.draw(*unit)))
    plan.store.write(unit, rows)
    return drawn[0]


@dataclass(frozen=True)
class Here:
    """This process restores and detects; `workers` processes (0: a thread) read and degrade the photos of coming units."""

    workers: int = 0

    @contextmanager
    def open(self, settings: RunSettings) -> Iterator[Crew]:
        models = build_models(settings)
        yield _Local(models, models.equipment(settings.device), self.workers)


@dataclass(frozen=True)
class _Local:
    models: Models
    equipment: Equipment
    workers: int

    def compute(self, plan: Plan, waiting: Sequence[int], advance: Callable[[int], None], clock: Clock) -> None:
        pool = self._executor()
        try:
            pending: dict[int, Future[list[Prepared]]] = {}
            queue = list(waiting)
            for number in waiting:
                while queue and len(pending) < AHEAD * max(self.workers, 1):
                    coming = queue.pop(0)
                    pending[coming] = pool.submit(prepare, plan.settings, plan.photos(coming))
                items = pending.pop(number).result()
                plan.examples.keep(compute_and_store(plan, number, items, self.models, clock))
                advance(len(plan.units[number]))
        except BrokenExecutor:
            photos = ", ".join(plan.units[number])
            raise OSError(
                f"a worker died over the photos {photos} or those after, perhaps for want of memory; "
                "go on with `resume=True`, with fewer `workers`"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _executor(self) -> Executor:
        if self.workers == 0:
            return ThreadPoolExecutor(1)  # reading and degrading let go of the interpreter most of the time
        # A terminal's Ctrl-C goes to every process; this one tells the workers when to stop.
        ignoring = (signal.SIGINT, signal.SIG_IGN)
        return ProcessPoolExecutor(self.workers, get_context("spawn"), initializer=signal.signal, initargs=ignoring)
