"""The JSON files of a run's folder, checked as they are read: whatever is wrong with one is told with its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from vocbench.benchmarks.settings import RunSettings
from vocbench.pipeline.names import PROTOCOLS

# What is expected of a value: a type, several of them, `[form]` for a list, `[form, form]` for one of two, `{key: form}` for an
# object with these keys at least, `Each(form)` for an object of any keys, None for anything.
Form = Any


@dataclass(frozen=True)
class Maybe:
    """The form of a key that may be missing."""

    form: Form


@dataclass(frozen=True)
class Each:
    """An object of any keys, every value of this form, that has these keys at least."""

    form: Form
    keys: tuple[str, ...] = ()


NUMBER = (int, float)
MAYBE_NUMBER, MAYBE_TEXT = (int, float, type(None)), (str, type(None))
TYPES: dict[str, Form] = {
    "str": str,
    "int": int,
    "bool": bool,
    "str | None": MAYBE_TEXT,
    "int | None": (int, type(None)),
    "tuple[str, ...]": [str],
}
SETTINGS = {
    one.name: TYPES[str(one.type)] if one.default is MISSING else Maybe(TYPES[str(one.type)]) for one in fields(RunSettings)
}
RUN = {
    "settings": SETTINGS,
    "dataset": {"name": str, "images": int, "sha256": str},
    "weights_sha256": Each(MAYBE_TEXT),
    "execution": Each({"engine": MAYBE_TEXT, "tile": str, "batch": int}),
    "classes": Maybe([str]),
    "lacking": Maybe(Each([str])),
    "id": Maybe(str),
    "store": Maybe(MAYBE_TEXT),
    "versions": Maybe(Each(str)),
    "git_commit": Maybe(MAYBE_TEXT),
    "code_sha256": Maybe(str),
    "sources_sha256": Maybe(Each(MAYBE_TEXT)),
    "hardware": Maybe(str),
    "accepted": Maybe([{"at": str, "changes": [str]}]),
    "started": str,
}
VARIANT = {
    "map": MAYBE_NUMBER,
    "delta_map": MAYBE_NUMBER,
    "delta_map_ci95": [MAYBE_NUMBER, MAYBE_NUMBER],
    "recovered": Maybe(MAYBE_NUMBER),
}
RESULTS = {"variants": Each(VARIANT, ("clean", "distorted"))}
CHANGE = {"regained": int, "lost": int, "variant": Maybe(str)}
INVENTORY = Each([str, str])  # SHA-256 of photo and annotation
TIMING = {
    "restore": NUMBER,
    "detect": NUMBER,
    "measure": NUMBER,
    "prepare": Maybe(NUMBER),
    "wall": NUMBER,
    "peak_memory_bytes": Maybe([int]),
    "peak_cuda_bytes": Maybe([int]),
}
NAMES = {dict: "an object", list: "a list", str: "text", int: "a whole number", float: "a number", bool: "true or false",
         type(None): "null"}  # fmt: skip


def read_json(path: Path, form: Form) -> Any:
    """The content of a file of this form; ValueError naming it where it is anything else. Further keys are let be."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable as JSON ({str(error) or type(error).__name__})") from None
    wrong = mismatch(content, form, "the content")
    if wrong:
        raise ValueError(f"{path}: {wrong}")
    return content


def mismatch(value: Any, form: Form, place: str) -> str | None:
    """What of a value is not of its form, None where all is."""
    if isinstance(form, Maybe):
        form = form.form
    kinds = _kinds(form)
    if form is not None and type(value) not in kinds:
        return f"{place} should be {' or '.join(NAMES[kind] for kind in kinds)}, got {json.dumps(value)[:60]}"
    if form is None or isinstance(form, (type, tuple)):
        return None  # nothing inside has a form
    missing = next((key for key in _needed(form) if key not in value), None)
    if missing is not None:
        return f"{place} has no {missing!r}"
    if isinstance(form, list) and len(form) > 1 and len(value) != len(form):
        return f"{place} should be a list of {len(form)}, got {json.dumps(value)[:60]}"
    return next((wrong for member in _members(value, form, place) if (wrong := mismatch(*member))), None)


def _kinds(form: Form) -> tuple[type, ...]:
    if isinstance(form, (dict, Each)):
        return (dict,)
    if isinstance(form, list):
        return (list,)
    return form if isinstance(form, tuple) else (form,)


def _needed(form: Form) -> list[str]:
    """The keys that an object must have."""
    if isinstance(form, dict):
        return [key for key, one in form.items() if not isinstance(one, Maybe)]
    return list(form.keys) if isinstance(form, Each) else []


def _members(value: Any, form: Form, place: str) -> Iterator[tuple[Any, Form, str]]:
    """What is inside a value that has a form of its own, and where."""
    if isinstance(form, dict):
        yield from ((value[key], one, f"{key!r} of {place}") for key, one in form.items() if key in value)
    elif isinstance(form, Each):
        yield from ((member, form.form, f"{key!r} of {place}") for key, member in value.items())
    elif isinstance(form, list):
        yield from ((member, form[0], f"what is in {place}") for member in value)


def settings_of(record: dict[str, Any]) -> RunSettings:
    """The settings that a run.json tells; ValueError for some that no run has."""
    given = dict(record["settings"])
    strange = next((name for name in given if name not in SETTINGS), None)
    if strange is not None:
        raise ValueError(f"there is no setting {strange!r}")
    made = RunSettings(**given | {name: tuple(given[name]) for name in ("restorers", "detectors")})
    if made.protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {made.protocol!r}")
    if made.levels is not None and mismatch(json.loads(made.levels), Each(NUMBER), "levels"):
        raise ValueError(f"levels should be an object of numbers as JSON, got {made.levels[:60]}")
    return made


def read_record(path: Path) -> dict[str, Any]:
    """A run.json; ValueError naming it where keys are missing, of another type, or of settings that no run has."""
    record = read_json(path, RUN)
    try:
        settings_of(record)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from None
    return record
