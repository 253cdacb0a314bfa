"""Where the units of a run are computed: in this process, or by workers on Ray (`ray_workers`)."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Protocol

from vocbench.benchmarks.running.artist import Artist
from vocbench.benchmarks.running.clock import Clock
from vocbench.benchmarks.running.measuring import Awaited
from vocbench.benchmarks.running.prepared import Prepared, prepare
from vocbench.benchmarks.running.unit import Equipment, Models, build_models, compute
from vocbench.benchmarks.settings import RunSettings
from vocbench.benchmarks.storage.records import Inventory
from vocbench.benchmarks.storage.row import Row
from vocbench.benchmarks.storage.store import Store
from vocbench.detection.datasets.contract import Dataset

AHEAD = 2  # units prepared beyond the one being computed, for each worker


@dataclass(frozen=True)
class Plan:
    """What is to be computed, and where it goes."""

    settings: RunSettings
    data: Dataset
    units: list[list[str]]  # image ids; a photo is in exactly one unit
    inventory: Inventory
    store: Store
    artist: Artist
    known: Mapping[int, list[Row]] = field(default_factory=dict)  # by unit: what clean photos gave in another run of a sweep
    step: Callable[[int, str, int], None] = field(default=lambda unit, variant, images: None)  # images of a unit restored since

    def photos(self, unit: int) -> list[tuple[str, Path]]:
        return [(image, self.data.photo(image)) for image in self.units[unit]]


class Crew(Protocol):
    """Built models that compute units."""

    @property
    def equipment(self) -> Equipment: ...

    def compute(self, plan: Plan, waiting: Sequence[int], advance: Callable[[int], None], clock: Clock) -> None:
        """Compute the units `waiting` into the plan's store, calling `advance` with each that is stored."""


class Runner(Protocol):
    def open(self, settings: RunSettings) -> AbstractContextManager[Crew]:
        """Build the models and get ready; everything is released at the end."""


@dataclass(frozen=True)
class Here:
    """This process restores and detects; `workers` processes (0: a thread) read and degrade the photos of coming units.

    They also measure restored photos while the next unit is computed, so that a run is as fast as its restorer.
    """

    workers: int = 0

    @contextmanager
    def open(self, settings: RunSettings) -> Iterator[Crew]:
        models = build_models(settings)
        crew = _Local(models, models.equipment(settings), self.workers)
        try:
            yield crew
        finally:
            crew.stop()


@dataclass
class _Local:
    models: Models
    equipment: Equipment
    workers: int
    pool: Executor | None = None  # of the runs that are computed one after the other

    def stop(self) -> None:
        """Shut the workers down."""
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)

    def compute(self, plan: Plan, waiting: Sequence[int], advance: Callable[[int], None], clock: Clock) -> None:
        pool = self.pool = self.pool or self._executor()
        models = self.models.labelled_by(plan.data.classes)
        unmeasured: deque[tuple[int, Awaited]] = deque()

        def store_oldest() -> None:
            unit, rows = unmeasured.popleft()
            plan.store.write(unit, rows.finish(clock))
            advance(unit)

        try:
            pending: dict[int, Future[list[Prepared]]] = {}
            queue = list(waiting)
            for number in waiting:
                while queue and len(pending) < AHEAD * max(self.workers, 1):
                    coming = queue.pop(0)
                    pending[coming] = pool.submit(prepare, plan.settings, plan.photos(coming))
                items, _ = clock.time("prepare", pending.pop(number).result)
                step, known = partial(plan.step, number), plan.known.get(number, [])
                computed = compute(plan.settings, number, items, models, clock, pool, step, known)
                clock.note_batches(models.batches())
                plan.artist.keep(plan.artist.draw(computed.variants, computed.detections, plan.data.objects))
                unmeasured.append((number, computed.rows))
                while len(unmeasured) > AHEAD * max(self.workers, 1) or (unmeasured and unmeasured[0][1].is_measured):
                    store_oldest()
            while unmeasured:
                number = unmeasured[0][0]
                store_oldest()
        except BrokenExecutor:
            photos = ", ".join(plan.units[number])
            raise OSError(
                f"a worker died at the photos {photos} or those after, perhaps because memory ran out; "
                "continue with `resume=True`, with fewer `workers`"
            ) from None

    def _executor(self) -> Executor:
        if self.workers == 0:
            return ThreadPoolExecutor(1)  # reading and degrading release the GIL most of the time
        return ProcessPoolExecutor(self.workers, get_context("spawn"), initializer=follow_driver)


def follow_driver() -> None:
    """Initialise a worker: it ignores Ctrl-C, which the driver handles, and exits when the driver has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    driver = parent_process()
    assert driver is not None

    def watch() -> None:
        driver.join()  # returns when the driver has ended, however it ended
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
