"""Specifications of models, `[LABEL=]NAME[:WEIGHTS]`, and how they are executed. Imports nothing heavy.

NAME is one of the names of `models`, or `package.module:factory` or `FILE.py:factory` for a user's own: a function that returns
the restorer or detector, and is given `device` and `weights` where it has arguments of these names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vocbench.pipeline.names import ENGINES
from vocbench.restorer.cutting import Tiling


@dataclass(frozen=True)
class Spec:
    """One parsed specification; `label` is what tables call it."""

    label: str
    name: str
    weights: str | None = None


LABEL = re.compile(r"[\w.+\-]{1,64}")
OWN = re.compile(r"(?:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*|[^:=]+\.py):[A-Za-z_]\w*")
OWN_WITH_WEIGHTS = re.compile(rf"({OWN.pattern}):(.+)")
RESERVED = ("clean", "distorted", "as-is")
MODEL_FILES = (".pt", ".onnx", ".yaml")  # what ultralytics opens


def parse_spec(text: str, names: tuple[str, ...] = ()) -> Spec:
    """Read `[LABEL=]NAME[:WEIGHTS]`, `[LABEL=]FILE.py:factory[:WEIGHTS]` or `[LABEL=]FILE.pt`; ValueError for a bad label."""
    label, given, rest = text.rpartition("=") if re.match(r"[^:/]*=", text) else ("", "", text)
    if given:
        label, _, rest = text.partition("=")
        if not label:
            raise ValueError(f"{text!r} has an empty label; expected [LABEL=]NAME[:WEIGHTS]")
    name, _, file = rest.partition(":")
    own = OWN_WITH_WEIGHTS.fullmatch(rest) if name not in names else None
    if own:
        name, file = own[1], own[2]
    elif name not in names and OWN.fullmatch(rest) and not file.lower().endswith(MODEL_FILES):
        name, file = rest, ""
    elif name not in names and rest.lower().endswith(MODEL_FILES):
        label = label or Path(rest).stem
        name, file = "ultralytics", rest
    if not name:
        raise ValueError(f"{text!r} names nothing; expected [LABEL=]NAME[:WEIGHTS]")
    label = label or re.sub(r"[^\w.+\-]", "-", _short(name))
    if not LABEL.fullmatch(label):
        raise ValueError(f"the label {label!r} may hold letters, digits, '.', '_', '+' and '-', at most 64")
    if label in RESERVED or label.startswith("clean+"):
        raise ValueError(f"the label {label!r} is the name of a variant that every run has; choose another")
    return Spec(label, name, file or None)


def _short(name: str) -> str:
    """Return a name without the folders of a user's own file."""
    file, _, factory = name.rpartition(":")
    return f"{Path(file).stem}-{factory}" if file.endswith(".py") else name


@dataclass(frozen=True)
class Options:
    """How models are executed: tiling (None: that of the weights), engine, device, tiles per batch.

    The tiling is for OWAN, DnCNN, spandrel's networks and a user's own, the engine for OWAN.
    """

    tile: str | None = None
    engine: str = "auto"
    device: str = "cpu"
    batch: int = 0  # tiles at a time; 0: the number that is fastest here
    trust_weights: bool = False  # whether a file that runs code when loaded may be loaded
    guard: bool = True  # whether changes of colour that no degradation explains are undone (`vocbench.restorer.guard`)

    def check(self) -> None:
        """Raise ValueError for an invalid tiling or an unknown engine, whether a model uses it or not."""
        if self.engine not in ENGINES:
            raise ValueError(f"unknown engine {self.engine!r}; choose one of {', '.join(ENGINES)}")
        if self.tile is not None:
            Tiling.parse(self.tile)


def choose_device(device: str) -> str:
    """Return the device to compute on: `auto` is CUDA where PyTorch sees a GPU; ValueError for one that is not there."""
    if device == "cpu":
        return device
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda" if gpus else "cpu"
    if not re.fullmatch(r"cuda(:\d{1,3})?", device):
        raise ValueError(f"`device={device}`: expected auto, cpu, cuda or cuda:N")
    if not gpus:
        raise ValueError(f"`device={device}`: PyTorch sees no CUDA GPU here; use `device=cpu`")
    if int(device.partition(":")[2] or 0) >= gpus:
        raise ValueError(f"`device={device}`: PyTorch sees {gpus} CUDA GPUs here, counted from 0")
    return device
