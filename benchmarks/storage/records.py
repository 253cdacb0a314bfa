"""The JSON files of a run's folder as typed records, checked as they are read: an error names the file in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
import msgspec.structs
from msgspec import UNSET, Meta, Struct, UnsetType
from vocbench.benchmarks.settings import RunSettings
from vocbench.pipeline.names import PROTOCOLS

T = TypeVar("T")
Number = int | float  # a whole number stays one
Seconds = Annotated[float, Meta(ge=0)]
SHOWN = 60  # characters of a wrong value in a message
EARLIER = {"guard": False}  # settings of runs begun before there was a choice, where today's default is another


class Photos(Struct, frozen=True, kw_only=True):
    """The photos of a run."""

    name: str
    split: str = ""
    images: int
    sha256: str  # of the inventory, as JSON with sorted keys


class Execution(Struct, frozen=True, kw_only=True):
    """How a network is executed."""

    engine: str | None = None
    tile: str
    batch: int | None = None
    halved_to: int | UnsetType = UNSET  # tiles at a time after memory ran out


class Accepted(Struct, frozen=True, kw_only=True):
    """Changes of software or hardware with which a run was resumed."""

    at: str  # ISO 8601
    changes: list[str]


class RunRecord(Struct, frozen=True, kw_only=True):
    """The content of run.json: everything needed to repeat a run, written before anything is computed."""

    settings: RunSettings
    dataset: Photos
    weights_sha256: dict[str, str | None]  # by the label of a restorer or detector
    execution: dict[str, Execution]
    classes: list[str] | None = None  # that labels index; None: VOC's
    lacking: dict[str, list[str]] = {}  # by detector: the classes that it does not know
    id: str | None = None
    store: str | None = None  # where predictions are, where that is not the run's folder
    versions: dict[str, str] = {}
    git_commit: str | None = None
    code_sha256: str | None = None  # of vocbench; None: of a version that did not record it, as for the following
    sources_sha256: dict[str, str | None] | None = None  # of the files that a user's own models come from, by label
    hardware: str | None = None
    accepted: list[Accepted] = []
    started: str  # ISO 8601


class Digests(NamedTuple):
    """SHA-256 of a photo and of its annotation."""

    photo: str
    annotation: str


Inventory = dict[str, Digests]  # the content of inventory.json, by image id


SPENT = ("prepare", "restore", "detect", "measure")  # stages of the driver
WORKED = ("workers_read", "workers_degrade", "workers_measure")  # what workers did beside it


class Timing(Struct, frozen=True, kw_only=True):
    """The content of timing.json: seconds of driver and workers in all sessions, and the peak memory of each session."""

    prepare: Seconds = 0.0
    restore: Seconds = 0.0
    detect: Seconds = 0.0
    measure: Seconds = 0.0
    workers_read: Seconds = 0.0
    workers_degrade: Seconds = 0.0
    workers_measure: Seconds = 0.0
    wall: Seconds = 0.0
    peak_memory_bytes: tuple[int, ...] = ()
    peak_cuda_bytes: tuple[int, ...] = ()


class Changed(Struct, frozen=True, kw_only=True):
    """The content of a gallery's change.json: objects that a restored variant regained and lost in a photo."""

    regained: int
    lost: int
    variant: str = ""  # missing in runs of early versions


def read_json(path: Path, kind: type[T]) -> T:
    """Return the content of a file as `kind`; ValueError naming it where it is anything else. Further keys are ignored."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"{path}: {error}") from None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable as JSON ({str(error) or type(error).__name__})") from None


def parse_json(text: str, kind: type[T], what: str) -> T:
    """Return a text of JSON as `kind`; ValueError, naming `what` it is, for anything else."""
    try:
        return msgspec.convert(json.loads(text), kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"{what}: {error}, got {text[:SHOWN]}") from None
    except (ValueError, RecursionError):
        raise ValueError(f"{what} is not JSON: {text[:SHOWN]!r}") from None


def read_record(path: Path) -> RunRecord:
    """Return a run.json; ValueError naming it where keys are missing, of another type, or of settings that no run has."""
    record, given = read_json(path, RunRecord), read_json(path, _Settings).settings
    unknown = given.keys() - RunSettings.__dataclass_fields__.keys()
    missing: dict[str, Any] = {name: value for name, value in EARLIER.items() if name not in given}
    try:
        if unknown:
            raise ValueError(f"there is no setting {min(unknown)!r}; the run is of a newer version")
        _check(record.settings)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return msgspec.structs.replace(record, settings=replace(record.settings, **missing))


class _Settings(Struct):
    settings: dict[str, object]


def _check(settings: RunSettings) -> None:
    """Raise ValueError for settings that `run` would refuse."""
    if settings.protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {settings.protocol!r}")
    if settings.levels is not None:
        parse_json(settings.levels, dict[str, Number], "the setting 'levels'")
