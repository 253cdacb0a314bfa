"""The checkpoint of a training, from which a run resumes to the same curve; only this module reads and writes it."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from vocbench.restorer.files import closest_name, replacing


def checkpoint_of(out: Path) -> Path:
    """Return the file of a training's checkpoint."""
    return out / "checkpoint.pt"


def check_beginning(out: Path, resume: bool) -> None:
    """Refuse to start a training in a folder that already holds one, and to resume in a folder that holds none.

    Raises FileNotFoundError if there is no checkpoint to resume from, and ValueError if there is one and `resume` is not set.
    """
    is_there = checkpoint_of(out).is_file()
    if resume and not is_there:
        question = "" if out.exists() else closest_name(out)
        raise FileNotFoundError(
            f"{out}: holds no checkpoint to resume from{question}; correct `out`, or start without `resume=True`"
        )
    if is_there and not resume:
        raise ValueError(f"{out}: already holds a checkpoint; continue with `resume=True` or choose another `out`")


def read_checkpoint(out: Path, device: torch.device) -> dict[str, Any]:
    """Return what `write_checkpoint` wrote, tensors on a device; never runs code from it.

    Raises FileNotFoundError where there is none and ValueError, naming the file, for a damaged one.
    """
    check_beginning(out, resume=True)
    path = checkpoint_of(out)
    try:
        kept = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError):
        raise ValueError(f"{path}: damaged, or no checkpoint of a training; start again with another `out`") from None
    if not isinstance(kept, dict) or not isinstance(kept.get("settings"), dict):
        raise ValueError(f"{path}: no checkpoint of a training; start again with another `out`")
    return kept


def write_checkpoint(out: Path, kept: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all."""
    with replacing(checkpoint_of(out)) as part:
        torch.save(dict(kept), part)
