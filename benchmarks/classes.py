"""The classes that a run evaluates: those of its data set, chosen and renamed, that at least one detector knows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from vocbench.detection.datasets.classes import ClassIndex
from vocbench.detection.datasets.contract import Choice, Dataset, choose_classes
from vocbench.detection.datasets.files import load_json, read_text

D = TypeVar("D", bound=Dataset)
FILES = (".json", ".yaml", ".yml", ".txt")


def parse_choice(text: str) -> str:
    """Return a choice of classes as JSON: a list of names, or {own name: new name}.

    `text` is `a,b`, or a file: JSON or YAML of such a list or mapping, or a text file with a name on each line. ValueError,
    naming the file, for anything else.
    """
    path = Path(text)
    if path.suffix.lower() in FILES:
        return json.dumps(_checked(path, _content(path)))
    return json.dumps(_checked(text, [name.strip() for name in text.split(",") if name.strip()]))


def _content(path: Path) -> object:
    if path.suffix.lower() == ".json":
        return load_json(path)
    if path.suffix.lower() == ".txt":
        return [line.strip() for line in read_text(path).splitlines() if line.strip()]
    import yaml

    try:
        return yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from None


def _checked(whence: object, given: object) -> list[str] | dict[str, str]:
    """Return a list or mapping of class names; ValueError for anything else."""
    named = list(given.values()) + list(given) if isinstance(given, Mapping) else given
    if not isinstance(named, list) or not named or not all(isinstance(name, str) and name.strip() for name in named):
        raise ValueError(f"{whence}: expected class names, as a list or as a mapping from the data set's names to new ones")
    return dict(given) if isinstance(given, Mapping) else named


def choose(data: D, choice: str | None) -> D:
    """Return the data set with the classes of a choice (see `parse_choice`), or unchanged without a choice."""
    return choose_classes(data, json.loads(choice)) if choice else data


def labelled(data: D, choice: str | None, classes: Sequence[str]) -> D:
    """Return the data set labelled by exactly these classes, renamed as the choice says."""
    given = json.loads(choice) if choice else []
    return replace(data, choice=Choice(tuple(classes), given if isinstance(given, dict) else {}))


def count_known(data: D, choice: str | None, known: Mapping[str, Sequence[str]]) -> tuple[D, dict[str, list[str]]]:
    """Return the data set labelled by the classes that any detector knows, and for each detector the classes that it lacks.

    `known` has the names of each detector's classes. Raises ValueError if no class is known, or a chosen one is not.
    """
    asked = choose(data, choice).classes
    lacking = {label: [name for name in asked if ClassIndex(names)(name) is None] for label, names in known.items()}
    classes = [name for name in asked if any(name not in missing for missing in lacking.values())]
    strange = [name for name in asked if name not in classes] if choice or not classes else []
    if strange:
        has = "; ".join(f"{label} knows {_some(names)}" for label, names in known.items())
        raise ValueError(
            f"no detector knows {'the class' if len(strange) == 1 else 'the classes'} {_some(strange)} of {data.name}; "
            f"{has}: choose or rename classes with `classes`, or use a detector trained on them"
        )
    unknown = {label: [name for name in missing if name in classes] for label, missing in lacking.items()}
    return labelled(data, choice, classes), {label: missing for label, missing in unknown.items() if missing}


def _some(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
