"""Units of a run computed by actors on Ray: several GPUs of one machine, or many machines.

Each actor holds the models and writes the parts of its units itself; the driver hands out units, at most `IN_HAND` to an actor,
so that it reads and degrades one while it computes another and memory stays flat. A unit is computed as in one process, and a
unit of an actor that dies goes to another one, so neither placement nor faults change a result.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from vocbench.benchmarks.classes import labelled
from vocbench.benchmarks.running.artist import Artist
from vocbench.benchmarks.running.clock import Clock, peak_memory
from vocbench.benchmarks.running.local_workers import Crew, Plan
from vocbench.benchmarks.running.prepared import prepare
from vocbench.benchmarks.running.unit import Equipment, build_models, compute
from vocbench.benchmarks.sample import open_data
from vocbench.benchmarks.settings import RunSettings, file_digest
from vocbench.benchmarks.storage.pictures import Pictures
from vocbench.benchmarks.storage.row import Row
from vocbench.benchmarks.storage.store import Store

IN_HAND = 2  # units that an actor has at a time
ATTEMPTS = 4  # workers that may die over one unit, or in a row while starting, before the run stops
CORES = 4  # of a worker on the CPU, where no number is given
PATIENCE = 300.0  # seconds without an answer from any worker before the run stops; on a busy machine starting takes minutes


@dataclass(frozen=True)
class Unit:
    """A unit of photos as it is sent to a worker, with everything that it needs beside the settings."""

    number: int
    images: list[str]
    digests: list[str]  # SHA-256 of each photo
    store: str
    artist: Artist
    classes: tuple[str, ...]  # that labels index
    levels: str | None = None  # of this run, where a sweep has several
    known: list[Row] = field(default_factory=list)  # what clean photos gave in another run of a sweep


class Worker:
    """The actor: models of its own, one unit computed while the next is prepared."""

    def __init__(self, settings: RunSettings, threads: int):
        self.settings, self.threads = settings, threads
        self.turn = threading.Lock()
        self.artist: Artist | None = None  # the first unit's: it knows what it has drawn
        self.shown = settings  # whose pictures it draws
        self.measurer = ThreadPoolExecutor(1)

    def answer(self) -> None:
        """Return at once, to show that the worker has started, whether or not its models are built."""

    def begin(self) -> Equipment:
        """Build the models and return what they are."""
        torch.set_num_threads(self.threads)
        self.data = open_data(self.settings.data, self.settings.split, self.settings.upright)
        self.models = build_models(self.settings)
        return self.models.equipment(self.settings)

    def compute(self, given: Unit) -> tuple[Pictures, Clock]:
        """Compute a unit into the store; returns its pictures, the seconds of each stage and this worker's peak memory."""
        photos = [(image, self.data.photo(image)) for image in given.images]
        for (_, path), digest in zip(photos, given.digests, strict=True):
            if file_digest(path) != digest:
                raise ValueError(f"{path}: differs from the photo on the driver's machine; give all machines the same data")
        settings = replace(self.settings, levels=given.levels)
        items = prepare(settings, photos)
        with self.turn:
            torch.set_num_threads(self.threads)  # of this thread
            if self.artist is None:
                self.data = labelled(self.data, self.settings.classes, given.classes)
                self.models = self.models.labelled_by(given.classes)
            if self.artist is None or settings != self.shown:
                self.artist, self.shown = given.artist, settings
            clock = Clock()
            computed = compute(settings, given.number, items, self.models, clock, self.measurer, known=given.known)
            clock.note_batches(self.models.batches())
            pictures = self.artist.draw(computed.variants, computed.detections, self.data.objects)
        Store(given.store).write(given.number, computed.rows.finish(clock))  # while the other unit in hand is computed
        clock.note(peak_memory())
        return pictures, clock


@dataclass(frozen=True)
class OnRay:
    """Workers on Ray.

    address: of a running cluster (`auto`, ray://HOST:PORT); None starts one on this machine, for the length of the run.
    workers: number of actors, 0 for as many as the cluster's GPUs or cores allow.
    gpus, cpus: what each actor takes; by default one GPU where the device is CUDA, and an equal share of the cores.
    """

    address: str | None = None
    workers: int = 0
    gpus: float | None = None
    cpus: float | None = None

    @contextmanager
    def open(self, settings: RunSettings) -> Iterator[Crew]:
        ray = _import_ray()
        begun_here = not ray.is_initialized()
        if begun_here:
            _begin(ray, self.address)
        try:
            crew = _RayCrew(ray, settings, _share(self, settings, [n for n in ray.nodes() if n["Alive"]]))
            try:
                crew.start()
                yield crew
            finally:
                crew.stop()
        finally:
            if begun_here:
                ray.shutdown()


def _import_ray():
    try:
        import ray
    except ImportError:
        raise ValueError("`runner=ray` needs Ray; pip install '.[ray]'") from None
    return ray


def _begin(ray: Any, address: str | None) -> None:
    """Connect to a running cluster, or start Ray on this machine; OSError where that fails."""
    try:
        ray.init(address=address or "local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # Ray raises it bare, among others where it did not start within its own 30 s
        ray.shutdown()
        if address:
            raise OSError(f"`address={address}`: no Ray there ({_line(error)}); start it with `ray start`") from None
        raise OSError(
            f"Ray did not start on this machine ({_line(error)}); try again when it is less busy, or start Ray with "
            "`ray start --head` and give `address=auto`"
        ) from None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _share(asked: OnRay, settings: RunSettings, nodes: list[dict[str, Any]]) -> OnRay:
    """Return the number of workers and what each takes, for the nodes of a cluster; ValueError where no node can hold one."""
    cores = [node["Resources"].get("CPU", 0.0) for node in nodes]
    devices = [node["Resources"].get("GPU", 0.0) for node in nodes]
    gpus = asked.gpus if asked.gpus is not None else (1.0 if settings.device.startswith("cuda") else 0.0)
    if gpus:
        workers = asked.workers or sum(int(count / gpus) for count in devices)
        cpus = asked.cpus or 1.0
    else:
        cpus = asked.cpus or (min(CORES, max(min(cores), 1.0)) if not asked.workers else sum(cores) / asked.workers)
        if cpus > 1:  # whole cores, and not more than the smallest node has
            cpus = max(float(int(min(cpus, min(cores)))), 1.0)
        else:  # Ray counts in ten thousandths
            cpus = int(cpus * 10000) / 10000
        workers = asked.workers or sum(int(count / cpus) for count in cores)
    if workers < 1 or not any(g >= gpus and c >= cpus for g, c in zip(devices, cores, strict=True)):
        raise ValueError(
            f"no node of the Ray cluster has the {gpus:g} GPUs and {cpus:g} cores of a worker (nodes have {devices} GPUs and "
            f"{cores} cores); give other `gpus_per_worker` and `cpus_per_worker`"
        )
    return replace(asked, workers=workers, gpus=gpus, cpus=cpus)


@dataclass
class _RayCrew:
    ray: Any
    settings: RunSettings
    shape: OnRay
    equipment: Equipment = field(default_factory=lambda: Equipment({}, {}, ""))
    starting: dict[Any, Any] = field(default_factory=dict)  # reference to `begin` -> actor
    ready: list[Any] = field(default_factory=list)
    deaths: int = 0  # in a row, of workers that were starting

    def _hire(self) -> None:
        shape = self.shape
        remote = self.ray.remote(Worker).options(num_cpus=shape.cpus, num_gpus=shape.gpus, max_concurrency=IN_HAND)
        actor = remote.remote(self.settings, max(1, int(shape.cpus or 1)))
        self.starting[actor.begin.remote()] = actor

    def start(self) -> None:
        """Start the workers and wait for the first of them; building its models and compiling have no time limit."""
        for _ in range(self.shape.workers):
            self._hire()
        if not self.any_answers(PATIENCE):
            raise OSError(f"no worker started on Ray within {PATIENCE:.0f} s; see `ray status`")
        while not self.ready:
            done, _ = self.ray.wait(list(self.starting))
            self._arrived(done[0])

    def any_answers(self, patience: float) -> bool:
        """Return whether any worker whose models are not built yet answers within `patience` seconds."""
        asked = [actor.answer.remote() for actor in self.starting.values()]
        return bool(asked) and bool(self.ray.wait(asked, timeout=patience)[0])

    def stop(self) -> None:
        for actor in [*self.starting.values(), *self.ready]:
            self.ray.kill(actor)

    def _arrived(self, reference: Any) -> Any | None:
        """Return a worker that finished starting; for one that died, start another and return None."""
        actor = self.starting.pop(reference)
        try:
            equipment = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            raise _cause(error) from None
        except self.ray.exceptions.RayActorError as error:
            self.deaths += 1
            if self.deaths >= ATTEMPTS:
                raise OSError(f"{ATTEMPTS} workers in a row died on Ray while starting: {_line(error)}") from None
            self._hire()
            return None
        self.deaths = 0
        self.equipment = replace(equipment, hardware=f"{self.shape.workers} workers on Ray, {equipment.hardware}")
        self.ready.append(actor)
        return actor

    def compute(self, plan: Plan, waiting: Sequence[int], advance: Callable[[int], None], clock: Clock) -> None:
        units = _Handed(self, plan, deque(waiting))
        for _ in range(IN_HAND):
            for actor in self.ready:
                units.give(actor)
        while units.waiting or units.in_hand:
            for reference in units.done():
                if reference in self.starting:
                    came = self._arrived(reference)
                    for _ in range(IN_HAND if came else 0):
                        units.give(came)
                    continue
                actor, unit, result = units.take(reference)
                if result is not None:
                    plan.artist.keep(result[0])
                    self._add(clock, result[1])
                    advance(unit)
                    units.give(actor)

    def _add(self, clock: Clock, of_unit: Clock) -> None:
        """Count what a unit took: its stages as shares of the time of all workers, which compute beside each other."""
        clock.note(of_unit.peaks)
        clock.note_batches(of_unit.batches)
        for stage, seconds in of_unit.spent.items():
            clock.spent[stage] += seconds / self.shape.workers
        clock.note_work(**of_unit.worked)

    def rehire(self, actor: Any) -> None:
        """Hire another worker in place of one that died, which each of its units tells."""
        if actor in self.ready:
            self.ready.remove(actor)
            self._hire()


@dataclass
class _Handed:
    """The units of a run on their way through the workers."""

    crew: _RayCrew
    plan: Plan
    waiting: deque[int]
    in_hand: dict[Any, tuple[Any, int]] = field(default_factory=dict)  # reference to a unit's result -> (actor, unit)
    died: Counter[int] = field(default_factory=Counter)  # by unit: the workers that died over it
    lonely_since: float | None = None  # when there was no worker any more

    def give(self, actor: Any) -> None:
        """Hand a worker the next unit, where one waits."""
        if self.waiting:
            unit = self.waiting.popleft()
            self.in_hand[actor.compute.remote(self._unit(unit))] = actor, unit

    def done(self) -> list[Any]:
        """Return the references of results and of workers that started since; OSError where all workers are gone."""
        done, _ = self.crew.ray.wait([*self.in_hand, *self.crew.starting], timeout=5.0)
        self.lonely_since = (self.lonely_since or time.monotonic()) if not (done or self.in_hand) else None
        if self.lonely_since and time.monotonic() - self.lonely_since > PATIENCE and not self.crew.any_answers(5.0):
            raise OSError("all workers on Ray died and no new one starts; see `ray status`, then continue with `resume=True`")
        return done

    def take(self, reference: Any) -> tuple[Any, int, tuple[Pictures, Clock] | None]:
        """Return a worker, its unit and what it made of it; None where it died, and the unit waits again."""
        actor, unit = self.in_hand.pop(reference)
        try:
            return actor, unit, self.crew.ray.get(reference)
        except self.crew.ray.exceptions.RayTaskError as error:
            raise _cause(error) from None
        except self.crew.ray.exceptions.RayError as error:  # the worker or its machine died
            self._pass_on(actor, unit, error)
            return actor, unit, None

    def _pass_on(self, actor: Any, unit: int, error: BaseException) -> None:
        """Give the unit of a worker that died to another one; OSError where too many died over it."""
        self.died[unit] += 1
        if self.died[unit] >= ATTEMPTS:
            images = ", ".join(self.plan.units[unit])
            raise OSError(f"{ATTEMPTS} workers on Ray died at the photos {images}: {_line(error)}") from None
        self.waiting.appendleft(unit)
        self.crew.rehire(actor)
        for other in self.crew.ready:
            if sum(holder is other for holder, _ in self.in_hand.values()) < IN_HAND:
                self.give(other)

    def _unit(self, unit: int) -> Unit:
        plan, images = self.plan, self.plan.units[unit]
        digests, levels, known = [plan.inventory[i].photo for i in images], plan.settings.levels, plan.known.get(unit, [])
        return Unit(unit, images, digests, plan.store.place, plan.artist, plan.data.classes, levels, known)


def _cause(error: Any) -> BaseException:
    """Return the exception that a worker raised, without Ray's wrapper."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else OSError(_line(error))
