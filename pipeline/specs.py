"""Specifications of the command line: `[LABEL=]NAME[:WEIGHTS]`.

NAME is one of the names of `models`, or `package.module:factory` for a user's own: a function without arguments that returns
the restorer or detector.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Spec:
    """One parsed specification; `label` is what tables call it."""

    label: str
    name: str
    weights: str | None = None


LABEL = re.compile(r"[\w.+\-]{1,64}")
OWN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
RESERVED = ("clean", "distorted")
MODEL_FILES = (".pt", ".onnx", ".yaml")  # what ultralytics opens


def parse_spec(text: str, names: tuple[str, ...] = ()) -> Spec:
    """`[LABEL=]NAME[:WEIGHTS]`, `[LABEL=]package.module:factory` or `[LABEL=]FILE.pt`; ValueError for a bad label."""
    label, given, rest = text.rpartition("=") if re.match(r"[^:/]*=", text) else ("", "", text)
    if given:
        label, _, rest = text.partition("=")
        if not label:
            raise ValueError(f"{text!r} has an empty label; expected [LABEL=]NAME[:WEIGHTS]")
    name, _, file = rest.partition(":")
    if name not in names and OWN.fullmatch(rest) and not file.lower().endswith(MODEL_FILES):
        name, file = rest, ""
    elif name not in names and rest.lower().endswith(MODEL_FILES):
        label = label or Path(rest).stem
        name, file = "ultralytics", rest
    if not name:
        raise ValueError(f"{text!r} names nothing; expected [LABEL=]NAME[:WEIGHTS]")
    label = label or re.sub(r"[^\w.+\-]", "-", name)
    if not LABEL.fullmatch(label):
        raise ValueError(f"the label {label!r} may hold letters, digits, '.', '_', '+' and '-', at most 64")
    if label in RESERVED or label.startswith("clean+"):
        raise ValueError(f"the label {label!r} is taken by a variant of every run; choose another")
    return Spec(label, name, file or None)
