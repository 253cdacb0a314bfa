"""OWAN's networks by name, and their weights as files: the authors' `model_best.pth` and this project's safetensors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from vocbench.restorer.networks.owan import Owan
from vocbench.restorer.networks.owan_subpixel import SubpixelOwan, begin
from vocbench.restorer.weight_files import WeightsFile, check_state, open_weights

RELEASED_TILING = "63:42"  # of the authors' weights: their training patches, a third overlapping
NETWORKS = {  # kind of attention, and factor that divides the resolution
    "owan": ("input", 1),
    "owan-half": ("input", 2),
    "owan-quarter": ("input", 4),
    "owan-no-attention": ("none", 1),
    "owan-fixed-attention": ("fixed", 1),
    "owan-half-no-attention": ("none", 2),
    "owan-half-fixed-attention": ("fixed", 2),
}


def build(network: str) -> Owan:
    """Return a network with fresh weights by its name in `NETWORKS`."""
    if network not in NETWORKS:
        raise ValueError(f"unknown network {network!r}; choose one of {', '.join(NETWORKS)}")
    attention, factor = NETWORKS[network]
    return Owan(attention) if factor == 1 else SubpixelOwan(factor, attention)


# The released file's names, rewritten to ours in this order.
RELEASED_NAMES = (
    (r"^FEB\.", "head."),
    (r"^conv2\.", "tail."),
    (r"^layers\.(\d+)\.ca_fc\.0\.", lambda m: f"groups.{int(m[1]) // 2}.attention.squeeze."),
    (r"^layers\.(\d+)\.ca_fc\.2\.", lambda m: f"groups.{int(m[1]) // 2}.attention.expand."),
    (r"^layers\.(\d+)\.preprocess\.op\.0\.", lambda m: f"groups.{int(m[1]) // 2}.preprocess."),
    (r"^layers\.(\d+)\._ops\.(\d+)\._out\.0\.", lambda m: f"groups.{int(m[1]) // 2}.layers.{m[2]}.join."),
    (
        r"^layers\.(\d+)\._ops\.(\d+)\._ops\.(\d+)\.op\.(\d+)\.",
        lambda m: f"groups.{int(m[1]) // 2}.layers.{m[2]}.operations.{m[3]}.{m[4]}.",
    ),
)


def rename_released(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the released state dict under this module's names; names of this module stay as they are."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in RELEASED_NAMES:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


def guess_network(state: Mapping[str, Tensor]) -> str:
    """Return the name in `NETWORKS` whose tensors a state dict seems to hold."""
    if any(".attention.squeeze." in name for name in state):
        attention = "input"
    else:
        attention = "fixed" if any(".attention.logits" in name for name in state) else "none"
    head = state.get("head.0.weight")
    factor = math.isqrt(head.shape[1] // 3) if head is not None and head.ndim == 4 else 1
    return next((name for name, made in NETWORKS.items() if made == (attention, factor)), "owan")


def load_owan(source: str | Path | WeightsFile, network: str | None = None) -> Owan:
    """Return the network saved in the authors' `model_best.pth` or in a `.safetensors` of this project, in evaluation mode.

    Where `network` of `NETWORKS` is given, only that one. Raises FileNotFoundError for a missing file and ValueError for a
    damaged file or one of another network.
    """
    file = open_weights(source)
    state = rename_released(file.state)
    with torch.random.fork_rng(devices=[]):  # weights that are replaced at once draw nothing from the program's random numbers
        made = build(network or guess_network(state))
    state.setdefault("ceilings", made.ceilings)  # the authors' weights, and those trained before there were ceilings
    check_state(file.path, network or "OWAN", made.state_dict(), state)
    made.load_state_dict(state)
    return made.eval()


def begin_from(network: str, path: str | Path) -> Owan:
    """Return the network `network` of `NETWORKS` initialised from its own weights, or from those of OWAN at another resolution.

    Raises FileNotFoundError for a missing file and ValueError for a damaged file or one that cannot initialise it.
    """
    file = open_weights(path)
    state = rename_released(file.state)
    made = build(network)
    if not isinstance(made, SubpixelOwan) or guess_network(state) == network:
        return load_owan(file, network)
    try:
        return begin(made, state)
    except ValueError as error:
        raise ValueError(f"{path}: {network} cannot start from it: {error}") from None
