"""The driver of a run: settings first, then unit by unit, resumable at any moment, and the results from the store.

Photos of the coming units are read and degraded by workers while this process restores and detects. A run killed at any
moment goes on with `--resume` and ends in the same numbers.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from torch import nn
from vocbench.benchmarks import settings as records
from vocbench.benchmarks.examples import Examples
from vocbench.benchmarks.settings import RunSettings, differences, file_digest, plain, write_json
from vocbench.benchmarks.store import Store
from vocbench.benchmarks.units import Clock, compute, prepare
from vocbench.detection.average_precision import PROTOCOLS
from vocbench.detection.voc import VOCSplit, read_voc
from vocbench.pipeline.names import Options, build_detector, build_restorer, parse_detector, parse_restorer
from vocbench.restorer.degradations import RECIPES

AHEAD = 2  # units prepared beyond the one being computed, for each worker


def open_data(data: str, split: str) -> VOCSplit:
    if data == "sample":
        from vocbench.benchmarks.sample import sample_split

        return sample_split(split)
    return read_voc(data, split)


def _models(settings: RunSettings) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
    options = Options(settings.tile, settings.engine, settings.device, settings.batch, settings.trust_weights)
    restorers, detectors = {}, {}
    for text in settings.restorers:
        spec = parse_restorer(text)
        if spec.label in restorers:
            raise ValueError(f"two restorers are called {spec.label!r}; name them with LABEL=NAME")
        restorers[spec.label] = build_restorer(spec, options)
    for text in settings.detectors:
        spec = parse_detector(text)
        if spec.label in detectors:
            raise ValueError(f"two detectors are called {spec.label!r}; name them with LABEL=NAME")
        detectors[spec.label] = build_detector(spec, options)
    return restorers, detectors


def _check_names(settings: RunSettings) -> None:
    if settings.recipe not in RECIPES and settings.levels is None:
        raise ValueError(f"unknown recipe {settings.recipe!r}; choose one of {', '.join(RECIPES)}")
    if settings.protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {settings.protocol!r}; choose one of {', '.join(PROTOCOLS)}")


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the folder for this run; a second run into it is refused. The lock goes when the process does."""
    fresh = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        handle = open(out / ".lock", "w")  # noqa: SIM115 - held by the with below
    except OSError as error:
        raise OSError(f"{out}: cannot be written to ({error.strerror}); choose another --out") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"{out}: another run is writing here; wait for it or choose another --out") from None
        try:
            yield
        finally:
            if fresh and [path.name for path in out.iterdir()] == [".lock"]:  # nothing came of it: leave nothing behind
                (out / ".lock").unlink()
                out.rmdir()


def _inventory(data: VOCSplit, ids: list[str]) -> dict[str, list[str]]:
    """SHA-256 of every photo and annotation by image id; raises for what is missing or malformed."""
    found = {}
    for image in ids:
        data.annotation(image)
        annotation = data.folder / "Annotations" / f"{image}.xml"
        found[image] = [file_digest(data.photo(image)), file_digest(annotation)]
    return found


def _record(settings: RunSettings, data: VOCSplit, ids: list[str], models: dict, inventory: dict) -> dict:
    import hashlib

    restorers, detectors = models["restorers"], models["detectors"]
    listing = json.dumps(inventory, sort_keys=True).encode()
    return {
        "settings": plain(settings),
        "dataset": {"name": data.name, "split": data.split, "images": len(ids), "sha256": hashlib.sha256(listing).hexdigest()},
        "weights_sha256": {name: model.weights_sha256 for group in (restorers, detectors) for name, model in group.items()},
        "versions": records.versions(),
        "git_commit": records.git_commit(),
        "hardware": records.hardware(settings.device),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _begin(out: Path, record: dict, inventory: dict, resume: bool) -> None:
    """Write the record of a new run, or make sure that a resumed one is the same run."""
    path = out / "run.json"
    if not path.is_file():
        leftovers = [p.name for p in out.iterdir() if p.name not in (".lock",)]
        if leftovers:
            raise ValueError(f"{out}: not empty ({leftovers[0]}) and holds no run; choose another --out")
        write_json(out / "inventory.json", inventory)
        write_json(path, record)
        return
    if not resume:
        raise ValueError(f"{out}: already holds a run; continue it with --resume or choose another --out")
    then = json.loads(path.read_text())
    for group in ("settings", "weights_sha256"):
        changed = differences(record[group], then[group])
        if changed:
            raise ValueError(f"{out}: was begun with other {group}: {'; '.join(changed)}; use the same or another --out")
    before = json.loads((out / "inventory.json").read_text())
    changed = [name for name in inventory if inventory[name] != before.get(name)] + [n for n in before if n not in inventory]
    if changed:
        raise ValueError(f"{out}: the photo or annotation of {changed[0]} changed since the run was begun; restore it")


@dataclass
class Progress:
    """What a driver tells while it works; the command line shows it as a bar."""

    total: int
    done: int
    advance: Callable[[int], None] = lambda photos: None


def _executor(workers: int) -> Executor:
    if workers == 0:
        return ThreadPoolExecutor(1)  # reading and degrading let go of the interpreter most of the time
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


def run(
    settings: RunSettings,
    out: str | Path,
    resume: bool = False,
    workers: int = 0,
    progress: Callable[[int, int], Callable[[int], None]] | None = None,
) -> Path:
    """Compute a run into the folder `out` and write its results; returns `out`.

    `progress(total, done)` is called once with numbers of photos and gives a function to be called with every few photos done.
    Raises ValueError and OSError with a message for people; what was computed before stays and can be resumed.
    """
    out = Path(out)
    _check_names(settings)
    data = open_data(settings.data, settings.split)
    ids = data.ids[: settings.limit]
    with _locked(out):
        inventory = _inventory(data, ids)
        restorers, detectors = _models(settings)
        models = {"restorers": restorers, "detectors": detectors}
        _begin(out, _record(settings, data, ids, models, inventory), inventory, resume)
        store = Store(out / "store")
        sound = store.parts()
        store.clear(sound.values())
        units = [ids[first : first + settings.unit] for first in range(0, len(ids), settings.unit)]
        waiting = [number for number in range(len(units)) if number not in sound]
        advance = progress(len(ids), len(ids) - sum(len(units[n]) for n in waiting)) if progress else (lambda photos: None)
        examples = Examples(out / "examples", {image: i for i, image in enumerate(ids[: settings.examples])}, data)
        _compute(settings, data, units, waiting, restorers, detectors, store, workers, advance, examples, out)
        from vocbench.benchmarks.outputs import write_outputs

        write_outputs(out)
    return out


def _compute(settings, data, units, waiting, restorers, detectors, store, workers, advance, examples, out) -> None:
    clock, begun = Clock(), time.perf_counter()
    pool = _executor(workers)
    try:
        pending: dict[int, object] = {}
        queue = list(waiting)
        for number in waiting:
            while queue and len(pending) < AHEAD * max(workers, 1):
                coming = queue.pop(0)
                photos = [(image, data.photo(image)) for image in units[coming]]
                pending[coming] = pool.submit(prepare, settings, photos)
            items = pending.pop(number).result()  # type: ignore[attr-defined]
            store.write(number, compute(settings, number, items, restorers, detectors, clock, examples.save))
            advance(len(units[number]))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        if waiting:
            _add_timing(out, clock, time.perf_counter() - begun)


def _add_timing(out: Path, clock: Clock, wall: float) -> None:
    """Sum the stages' seconds over this and earlier sittings of the run."""
    path = out / "timing.json"
    kept = json.loads(path.read_text()) if path.is_file() else {}
    total = {name: kept.get(name, 0.0) + seconds for name, seconds in {**clock.spent, "wall": wall}.items()}
    try:
        write_json(path, total)
    except OSError:
        if not os.access(out, os.W_OK):
            return
        raise
