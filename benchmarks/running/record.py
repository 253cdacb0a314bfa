"""The record of a run, written before anything is computed, and what a resumed run must have in common with it.

What determines the results (settings, weights, engines and photos) must be the same. Versions of libraries, vocbench's own
code, the hardware and the source of a user's own models may change a result: if they differ, a run is resumed only if the
change is accepted, and the record then lists both states.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec import UNSET
from msgspec.structs import replace
from vocbench.benchmarks.running.unit import Equipment
from vocbench.benchmarks.settings import (
    RunSettings,
    code_digest,
    differences,
    git_commit,
    json_bytes,
    plain,
    versions,
)
from vocbench.benchmarks.storage.records import Accepted, Execution, Inventory, Photos, RunRecord
from vocbench.benchmarks.storage.run_folder import RunFolder
from vocbench.benchmarks.storage.store import Store
from vocbench.detection.datasets.contract import Dataset

HARMLESS = ("python", "platform", "pycocotools")  # versions that change no prediction; results are computed again anyway
PLACES = re.compile(r"^\d+ workers on Ray, |, \d+ cores$")  # their numbers change no result
UNFINISHED = re.compile(r"\.(run|inventory)\.json\.[0-9a-f]{16}")  # as `restorer.files.replacing` names a file it writes

NO_GUARD = ". Version 0.1 had no guard: `guard=False` resumes its runs"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Begun:
    """A run about to be computed: its record, its photos' checksums, and whether an existing run may be resumed."""

    record: RunRecord
    inventory: Inventory
    resume: bool
    accept_changes: bool


def make_record(
    settings: RunSettings,
    data: Dataset,
    equipment: Equipment,
    inventory: Inventory,
    store: str | None,
    lacking: dict[str, list[str]],
) -> RunRecord:
    """Return the record of a run that begins now; `lacking` has the classes that a detector does not know."""
    listing = json.dumps(inventory, sort_keys=True).encode()
    return RunRecord(
        settings=settings,
        dataset=Photos(
            name=data.name,
            split=data.split,
            images=len(inventory),
            sha256=hashlib.sha256(listing).hexdigest(),
        ),
        classes=list(data.classes),
        lacking=lacking,
        weights_sha256=equipment.weights_sha256,
        execution=equipment.execution,
        id=uuid.uuid4().hex,
        store=Store(store).place if store else None,
        versions=versions(),
        git_commit=git_commit(),
        code_sha256=code_digest(),
        sources_sha256=equipment.sources_sha256,
        hardware=equipment.hardware,
        started=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    )


def listed(out: Path) -> Inventory:
    """Return the inventory of the run in `out`, empty for a new one or one that was killed before it had a record."""
    folder = RunFolder(out)
    return folder.read_inventory() if folder.is_begun else {}


def begin(out: Path, begun: Begun) -> RunRecord:
    """Return the run's record: a new run's is written, a resumed run's is checked against the one in the folder."""
    folder = RunFolder(out)
    if not folder.is_begun:
        return _begin_new(out, begun)
    if not begun.resume:
        raise ValueError(f"{out}: already holds a run; continue it with `resume=True` or choose another `out`")
    then = folder.read_record()
    _check_same(out, begun, then)
    _clear_unfinished(out)
    return _accepted(out, begun, then)


def _begin_new(out: Path, begun: Begun) -> RunRecord:
    folder = RunFolder(out)
    leftovers = sorted(p.name for p in out.iterdir() if p != folder.lock and not _of_killed_run(p, begun.inventory))
    if leftovers:
        raise ValueError(f"{out}: not empty ({leftovers[0]}) and holds no run; choose another `out`")
    _clear_unfinished(out)
    if begun.record.store and begun.record.id:
        Store(begun.record.store).claim(begun.record.id, new=True)
    folder.write_inventory(begun.inventory)
    folder.write_record(begun.record)
    return begun.record


def _clear_unfinished(out: Path) -> None:
    """Remove files that a killed run had not finished writing."""
    for path in list(out.iterdir()):
        if UNFINISHED.fullmatch(path.name):
            path.unlink()


def _of_killed_run(path: Path, inventory: Inventory) -> bool:
    """Return whether a file is one that this run writes before its record, complete or not."""
    if UNFINISHED.fullmatch(path.name):
        return True
    return path == RunFolder(path.parent).inventory and json_bytes(inventory).startswith(path.read_bytes())


def _check_same(out: Path, begun: Begun, then: RunRecord) -> None:
    """Raise ValueError, naming the difference, unless settings, weights, engines, store and photos are the record's."""
    now = begun.record
    settings = differences(plain(now.settings), plain(then.settings))
    weights = differences(now.weights_sha256, then.weights_sha256)
    for what, changed in (("settings", settings), ("weights_sha256", weights)):
        if changed:
            told = f"{out}: was begun with other {what}: {'; '.join(changed)}; use the same or another `out`"
            raise ValueError(told + (NO_GUARD if now.settings.guard and not then.settings.guard else ""))
    if then.classes not in (None, now.classes):
        raise ValueError(f"{out}: was begun with other classes; restore the annotations and detectors, or choose another `out`")
    changed = differences(_engines(now), _engines(then))
    if changed:
        raise ValueError(f"{out}: was begun with another engine: {'; '.join(changed)}; use the same or another `out`")
    if now.store and now.store != then.store:
        kept = then.store or RunFolder(out).store
        raise ValueError(f"{out}: its predictions are in {kept}, not in {now.store}; give the same `store` or none")
    before = listed(out)
    odd = [name for name in begun.inventory if begun.inventory[name] != before.get(name)]
    odd += [name for name in before if name not in begun.inventory]
    if odd:
        raise ValueError(f"{out}: the photo or annotation of {odd[0]} changed since the run was begun; restore it")
    if then.store and then.id:
        Store(then.store).claim(then.id, new=False)


def _engines(record: RunRecord) -> dict[str, str | None]:
    """Return how each network of a run is executed, as far as it may change a result."""
    return {label: execution.engine for label, execution in record.execution.items()}


def _accepted(out: Path, begun: Begun, then: RunRecord) -> RunRecord:
    """Return the record to resume with: changes are logged, and those that may change a result must be accepted."""
    harmful, harmless = changes(begun.record, then)
    if harmful and not begun.accept_changes:
        raise ValueError(
            f"{out}: changes since the run was begun may affect its results: {'; '.join(harmful)}; "
            "resume anyway with `accept_changes=True`, or use another `out`"
        )
    for one in (*harmful, *harmless):
        logger.warning("%s: changed since the run was begun: %s", out, one)
    if not harmful:
        return then
    now = {name: getattr(begun.record, name) for name in _DESCRIBED}
    changed = Accepted(at=begun.record.started, changes=[*harmful, *harmless])
    record = replace(then, **now, accepted=[*then.accepted, changed])
    RunFolder(out).write_record(record)
    return record


_DESCRIBED = ("versions", "git_commit", "code_sha256", "sources_sha256", "hardware")


def changes(now: RunRecord, then: RunRecord) -> tuple[list[str], list[str]]:
    """Return the differences in software and hardware between two records: those that may change a result, and the others.

    Entries that the earlier record lacks, being of an earlier version, are ignored; its code is then identified by its commit.
    """
    harmful: list[str] = []
    harmless: list[str] = []
    for phrase in differences({name: now.versions.get(name) for name in then.versions}, then.versions):
        (harmless if phrase.partition(":")[0] in HARMLESS else harmful).append(phrase)
    commits = differences({"git_commit": now.git_commit}, {"git_commit": then.git_commit})
    other_code = bool(then.git_commit and commits) if then.code_sha256 is None else then.code_sha256 != now.code_sha256
    if other_code:
        harmful.append(f"vocbench's code{' (' + commits[0] + ')' if commits else ''}")
    if then.sources_sha256 is not None:
        sources = now.sources_sha256 or {}
        harmful += [f"the source of {name}" for name in sources if sources[name] != then.sources_sha256.get(name)]
    if then.hardware is not None:
        machines = differences({"hardware": now.hardware}, {"hardware": then.hardware})
        alike = PLACES.sub("", now.hardware or "") == PLACES.sub("", then.hardware)
        (harmless if alike else harmful).extend(machines)
    return harmful, harmless


def note_batches(out: Path, record: RunRecord, batches: Mapping[str, int]) -> None:
    """Record which networks had their batches of tiles halved because memory ran out."""
    execution = {name: _halved(one, batches.get(name)) for name, one in record.execution.items()}
    if execution != record.execution:
        RunFolder(out).write_record(replace(record, execution=execution))


def _halved(execution: Execution, batch: int | None) -> Execution:
    if batch is None or execution.batch is None or batch >= execution.batch:
        return execution
    return replace(execution, halved_to=batch if execution.halved_to is UNSET else min(batch, execution.halved_to))
