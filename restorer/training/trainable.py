"""The trainable restorers: how each is built, loaded and run fast while it learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn
from vocbench.restorer.engines import native
from vocbench.restorer.networks.owan_files import NETWORKS, RELEASED_TILING, begin_from, build, load_owan
from vocbench.restorer.weight_files import check_state, read_facts, save_weights


@dataclass(frozen=True)
class Trainable:
    """A network of `vocbench train`: fresh, from a file, and an equal faster form for training on a device (or None)."""

    build: Callable[[], nn.Module]
    load: Callable[[Path], nn.Module]
    begin: Callable[[Path], nn.Module]  # from a file of it, or of OWAN at another resolution
    fast: Callable[[nn.Module, torch.device], nn.Module | None] = lambda network, device: None
    tiling: str = RELEASED_TILING


def _compiled_owan(network: nn.Module, device: torch.device) -> nn.Module | None:
    return native.NativeOwan(network) if device.type == "cpu" and native.available() else None  # type: ignore[arg-type]


def _build_dncnn() -> nn.Module:
    from vocbench.restorer.networks.dncnn import DnCNN, start_near_identity

    return start_near_identity(DnCNN())


def _load_dncnn(path: Path) -> nn.Module:
    from vocbench.restorer.networks.dncnn import load_dncnn

    return load_dncnn(path)


def _owan(network: str) -> Trainable:
    tiling = RELEASED_TILING if NETWORKS[network][1] == 1 else "whole"
    load = partial(load_owan, network=network)
    return Trainable(partial(build, network), load, partial(begin_from, network), _compiled_owan, tiling)


TRAINABLE: dict[str, Trainable] = {
    **{network: _owan(network) for network in NETWORKS},
    "dncnn": Trainable(_build_dncnn, _load_dncnn, _load_dncnn, tiling="whole"),
}


def average(first: Path, second: Path, share: float, out: Path) -> None:
    """Write (1 - share) of the first file's weights plus `share` of the second's (Wortsman et al., CVPR 2022, WiSE-FT).

    The first is a file of `vocbench train`, whose tiling, recipe and ceilings are kept; the second any file of its network, the
    authors' among them, which has no ceilings. Raises ValueError for files of other networks; FileNotFoundError and OSError as
    reading and writing do.
    """
    for path in (first, out):
        if path.suffix != ".safetensors":
            raise ValueError(f"{path}: the first file and `out` must end in .safetensors, as files of `vocbench train` do")
    if not first.is_file():
        raise FileNotFoundError(f"{first}: no such weights file; give one that `vocbench train` wrote")
    facts = read_facts(first)
    if facts.network not in TRAINABLE:
        raise ValueError(f"{first}: does not name its network; give a .safetensors file that `vocbench train` wrote")
    kind = TRAINABLE[facts.network]
    first_state, second_state = kind.load(first).state_dict(), kind.load(second).state_dict()
    check_state(second, facts.network, first_state, second_state)
    mixed = {
        name: torch.lerp(one, second_state[name], share) if one.is_floating_point() and name != "ceilings" else one
        for name, one in first_state.items()
    }
    recipe = {"recipe": facts.more["recipe"]} if "recipe" in facts.more else {}
    save_weights(out, mixed, facts.network, facts.tiling or kind.tiling, **recipe)
