"""Weights files: safetensors with metadata, or a `.pth` of plain tensors; never a pickle that runs code."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save_file
from torch import Tensor
from vocbench.restorer.files import replacing

# Keys under which checkpoints save the network beside the optimiser's state and the like; the averaged weights first.
WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "net")
DEPTH = 3  # wrappers inside each other
PREFIXES = ("module.", "_orig_mod.")  # of torch.nn.DataParallel and of torch.compile

FACTS = "vocbench"  # the one key of the metadata: safetensors shuffles several, and equal weights would differ in checksum


def _present(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file; `vocbench weights list` names the known ones")
    return path


@dataclass(frozen=True)
class WeightsFacts:
    """What a weights file says about itself; texts are empty where it does not."""

    network: str = ""  # whose weights it holds
    tiling: str = ""  # the cutting policy
    more: Mapping[str, object] = field(default_factory=dict)  # such as the recipe of its training


@dataclass(frozen=True)
class WeightsFile:
    """A weights file, opened once: what it says about itself and its tensors by name."""

    path: Path
    sha256: str
    facts: WeightsFacts
    state: dict[str, Tensor]


def _facts(metadata: Mapping[str, str]) -> WeightsFacts:
    told = json.loads(metadata[FACTS]) if FACTS in metadata else dict(metadata)
    if not isinstance(told, dict) or not all(isinstance(told.get(name, ""), str) for name in ("network", "tiling")):
        raise ValueError(f"its metadata {FACTS!r} should hold the network and its tiling as text")
    return WeightsFacts(told.pop("network", ""), told.pop("tiling", ""), told)


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path}: not a readable safetensors file ({error}); fetch or copy it again")


def read_facts(path: str | Path) -> WeightsFacts:
    """Return what a safetensors file says about itself, without reading its tensors; other files say nothing."""
    path = _present(path)
    if path.suffix != ".safetensors":
        return WeightsFacts()
    try:
        with safe_open(path, "pt") as file:
            return _facts(file.metadata() or {})
    except (SafetensorError, ValueError) as error:
        raise _unreadable(path, error) from None


def open_weights(source: str | Path | WeightsFile) -> WeightsFile:
    """Open a `.safetensors` or `.pth` file without running code from it; an open `WeightsFile` is returned as it is.

    Tensors may be inside one of `WRAPPERS`, and prefixes of `PREFIXES` are removed from their names. Raises FileNotFoundError
    for a missing file and ValueError, naming it, for a damaged one or one with other content.
    """
    if isinstance(source, WeightsFile):
        return source
    path = _present(source)
    content = path.read_bytes()
    facts, state = _from_safetensors(path, content) if path.suffix == ".safetensors" else _from_pickle(path, content)
    return WeightsFile(path, hashlib.sha256(content).hexdigest(), facts, _without_prefixes(state))


def _from_safetensors(path: Path, content: bytes) -> tuple[WeightsFacts, Mapping[str, Tensor]]:
    try:
        state = load(content)
        length = int.from_bytes(content[:8], "little")  # of the header, which `load` does not give
        return _facts(json.loads(content[8 : 8 + length]).get("__metadata__") or {}), state
    except (SafetensorError, ValueError) as error:
        raise _unreadable(path, error) from None


def _from_pickle(path: Path, content: bytes) -> tuple[WeightsFacts, Mapping[str, Tensor]]:
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            f"{path}: not a PyTorch state dict of plain tensors (it holds objects that could run code); "
            "save only model.state_dict(), best as .safetensors"
        ) from None
    except Exception:  # torch raises a different type for every kind of damage
        raise ValueError(
            f"{path}: not a PyTorch state dict of plain tensors (damaged, or another kind of file); fetch or copy it again"
        ) from None
    for _ in range(DEPTH):
        wrapper = next((key for key in WRAPPERS if _is_state(state.get(key))), None) if isinstance(state, Mapping) else None
        state = state if wrapper is None else state[wrapper]
    if not isinstance(state, Mapping):
        raise ValueError(f"{path}: expected a state dict of tensors, got {type(state).__name__}; save model.state_dict()")
    odd = next((key for key, value in state.items() if not (isinstance(key, str) and isinstance(value, Tensor))), None)
    if odd is not None:
        raise ValueError(f"{path}: expected a state dict of tensors, but {odd!r} is none; save only model.state_dict()")
    return WeightsFacts(), state


def _is_state(value: object) -> bool:
    return isinstance(value, Mapping) and bool(value)


def _without_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the same tensors without a prefix that all their names share."""
    for prefix in PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return dict(state)


def check_state(path: str | Path, name: str, expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Raise ValueError, naming file and network, unless both hold the same tensor names and shapes."""
    wanted = {key: tuple(tensor.shape) for key, tensor in expected.items()}
    got = {key: tuple(tensor.shape) for key, tensor in state.items()}
    odd = sorted(key for key in wanted.keys() | got.keys() if wanted.get(key) != got.get(key))
    if odd:
        raise ValueError(
            f"{path}: not weights of {name}: {len(odd)} tensors differ (file has {len(got)}, {name} has {len(wanted)}), first "
            f"{odd[0]!r} (expected {wanted.get(odd[0])}, got {got.get(odd[0])}); give the file to its own network"
        )


def save_weights(path: str | Path, state: Mapping[str, Tensor], network: str, tiling: str, **facts: object) -> None:
    """Write weights as safetensors, atomically, with what a reader must know in the metadata; equal weights, equal bytes."""
    metadata = json.dumps({"network": network, "tiling": tiling} | facts, sort_keys=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    try:
        with replacing(path) as part:
            save_file(tensors, part, {FACTS: metadata})
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(
            f"{path}: the weights could not be written ({reason}); free some space or choose another folder"
        ) from None
