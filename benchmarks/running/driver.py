"""The driver of a run: settings first, then unit by unit into the store, resumable at any moment.

A run that is killed at any moment can be resumed and gives the same results, wherever its units are computed.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool
from pathlib import Path

from msgspec.structs import replace
from vocbench.benchmarks.classes import count_known
from vocbench.benchmarks.running.artist import Hire
from vocbench.benchmarks.running.clock import Clock, peak_memory
from vocbench.benchmarks.running.local_workers import Crew, Here, Plan, Runner
from vocbench.benchmarks.running.meter import Meter, Progress
from vocbench.benchmarks.running.record import Begun, begin, listed, make_record, note_batches
from vocbench.benchmarks.sample import open_data
from vocbench.benchmarks.settings import RunSettings, file_digest
from vocbench.benchmarks.storage.records import Digests, Inventory, RunRecord, Timing
from vocbench.benchmarks.storage.row import Row
from vocbench.benchmarks.storage.run_folder import RunFolder
from vocbench.benchmarks.storage.store import READERS, ROWS, Store
from vocbench.benchmarks.variants import is_clean
from vocbench.benchmarks.voc_folder import check_size
from vocbench.detection.average_precision import PROTOCOLS
from vocbench.detection.datasets.contract import Dataset, DataWarning, read_objects
from vocbench.restorer.degradations.recipes import RECIPES
from vocbench.restorer.images import check_image


def _check_names(settings: RunSettings) -> None:
    if settings.recipe not in RECIPES and settings.levels is None and not settings.as_they_are:
        raise ValueError(f"unknown recipe {settings.recipe!r}; choose one of {', '.join(RECIPES)}, or none")
    if settings.protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {settings.protocol!r}; choose one of {', '.join(PROTOCOLS)}")


logger = logging.getLogger(__name__)


def _log_objects(data: Dataset, ids: list[str], lacking: Mapping[str, list[str]]) -> None:
    """Log how many boxes were clipped, which objects the run leaves out, and which classes a detector lacks."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        read_objects(data, ids)
    for one in caught:
        logger.warning("%s", one.message)
    for label, names in lacking.items():
        logger.warning("%s does not know %s; its tables leave them out", label, ", ".join(names))


def _inventory(data: Dataset, ids: list[str], known: Inventory) -> Inventory:
    """Return the SHA-256 of every photo and annotation by image id; raises for what is missing or malformed.

    The files of `known` images were checked when those were listed; if they changed since then, their checksums differ.
    """

    def digests(image: str) -> Digests:
        photo = data.photo(image)
        if image not in known:
            check_size(photo, check_image(photo), data.size(image), data.upright)
        return Digests(file_digest(photo), data.digest(image))

    with ThreadPool(READERS) as pool:  # reading and hashing release the GIL
        listed = dict(zip(ids, pool.imap(digests, ids, chunksize=64), strict=True))
    return listed


@dataclass
class Shared:
    """What the runs of a sweep share: the built models, the checked photos, and the results on clean photos.

    The runs differ in `levels` alone.
    """

    runner: Runner
    inventory: Inventory | None = None
    known: dict[int, list[Row]] = field(default_factory=dict)  # by unit, of the variants of clean photos
    crew: Crew | None = None
    stack: ExitStack = field(default_factory=ExitStack)

    @contextmanager
    def open(self, settings: RunSettings) -> Iterator[Crew]:
        """Build the models for the first run; they are kept until `close`."""
        if self.crew is None:
            self.crew = self.stack.enter_context(self.runner.open(settings))
        yield self.crew

    def close(self) -> None:
        """Release the models."""
        self.stack.close()

    def keep(self, inventory: Inventory, store: Store) -> None:
        """Keep the inventory of a finished run and its results on clean photos."""
        self.inventory = inventory
        if not self.known:
            for table in store.tables():
                for row in table.to_pylist():
                    if is_clean(row["variant"]):
                        self.known.setdefault(row["unit"], []).append(Row(**row))


def chosen_photos(settings: RunSettings) -> tuple[Dataset, list[str]]:
    """Return the data set of a run and the ids of its photos; ValueError for an unknown recipe or protocol."""
    _check_names(settings)
    data = open_data(settings.data, settings.split, settings.upright)
    return data, settings.choose(data.ids)


def compute_run(
    settings: RunSettings,
    out: Path,
    photos: tuple[Dataset, list[str]],
    hire: Hire,
    resume: bool = False,
    runner: Runner | None = None,
    progress: Progress | None = None,
    store: str | None = None,
    accept_changes: bool = False,
    shared: Shared | None = None,
) -> None:
    """Compute the rows of a run's `chosen_photos` into the folder `out`, which is locked; `hire` returns the artist.

    The other arguments and errors are those of `vocbench.benchmarks.experiments.run.run`.
    """
    data, ids = photos
    inventory = (shared and shared.inventory) or _inventory(data, ids, listed(out))
    with (shared or runner or Here()).open(settings) as crew:
        data, lacking = count_known(data, settings.classes, crew.equipment.classes)
        _log_objects(data, ids, lacking)
        made = make_record(settings, data, crew.equipment, inventory, store, lacking)
        record = begin(out, Begun(made, inventory, resume, accept_changes))
        kept = RunFolder(out).open_store(record)
        sound = kept.parts()
        kept.clear(sound.values())
        units = [ids[first : first + settings.unit] for first in range(0, len(ids), settings.unit)]
        waiting = [number for number in range(len(units)) if number not in sound]
        report = progress(len(ids), len(ids) - sum(len(units[n]) for n in waiting)) if progress else (lambda photos, note: None)
        meter = Meter(settings, units, report)
        advance = _joining(meter.finish, kept, settings, units)
        artist = hire(RunFolder(out), {image: i for i, image in enumerate(ids[: settings.examples])}, data.classes)
        known = shared.known if shared else {}
        plan = Plan(settings, data, units, inventory, kept, artist, known, meter.step)
        _compute(plan, waiting, crew, advance, out, record)
        kept.join(together(settings))
        _keep_one_of_each(kept, units)
        if shared:
            shared.keep(inventory, kept)


def _compute(
    plan: Plan, waiting: Sequence[int], crew: Crew, advance: Callable[[int], None], out: Path, record: RunRecord
) -> None:
    """Compute the units `waiting` and record this session's times, also after an error."""
    clock, begun = Clock(), time.perf_counter()
    try:
        crew.compute(plan, waiting, advance, clock)
    except BaseException:
        with suppress(OSError):  # the disk may be full: the first error is the one to report
            _add_session(out, record, clock, time.perf_counter() - begun)
        raise
    if waiting:
        _add_session(out, record, clock, time.perf_counter() - begun)


def together(settings: RunSettings) -> int:
    """Return how many units go into one part of the store."""
    restored = len(settings.restorers)
    variants = 1 + settings.draws * (1 + restored) + settings.do_no_harm * restored
    return max(1, ROWS // (settings.unit * variants * len(settings.detectors)))


def _joining(
    advance: Callable[[int], None], store: Store, settings: RunSettings, units: list[list[str]]
) -> Callable[[int], None]:
    """Return a function that calls `advance`, and joins the store's parts whenever enough photos for a joined part are done."""
    done = 0

    def advanced(unit: int) -> None:
        nonlocal done
        advance(unit)
        done += len(units[unit])
        if done >= together(settings) * settings.unit:
            done = 0
            store.join(together(settings))

    return advanced


def _keep_one_of_each(store: Store, units: list[list[str]]) -> None:
    """Check that every unit has a part, and remove duplicates: a worker may die, or outlive its driver, after writing one."""
    sound = store.parts()
    lost = [unit for unit in range(len(units)) if unit not in sound]
    if lost:
        raise OSError(
            f"{store.place}: {len(lost)} parts that workers wrote are not visible here, first that of {units[lost[0]][0]}; "
            "use a folder that all machines share, or a URL as `store`"
        )
    store.clear(sound.values())


def _add_session(out: Path, record: RunRecord, clock: Clock, wall: float) -> None:
    """Record what is known only after a session: its times, and batches that were halved because memory ran out."""
    note_batches(out, record, clock.batches)
    _add_timing(out, clock, wall)


def _add_timing(out: Path, clock: Clock, wall: float) -> None:
    """Add this session of the run to the earlier ones: the stages' seconds in sums, the peak memory of each in a list."""
    folder = RunFolder(out)
    kept = folder.read_timing() or Timing()
    clock.note(peak_memory())
    total = {name: getattr(kept, name) + seconds for name, seconds in {**clock.spent, **clock.worked, "wall": wall}.items()}
    peaks = {name: (*getattr(kept, name), count) for name, count in clock.peaks.items()}
    folder.write_timing(replace(kept, **total, **peaks))
