"""Beginnings for the paper's two ablations (OWAN, section 4.4): trained weights with attention held at its mean over photos.

`python -m vocbench.benchmarks.experiments.ablations WEIGHTS --clean FOLDER --out FOLDER` writes one file for each ablation of
the network in WEIGHTS. Both compute what the network would with the mean attention of every layer; `vocbench train … --init`
goes on from there, so that after equal steps the ablations lack nothing but attention that depends on the input.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click
import torch
from torch import Tensor
from vocbench.benchmarks.experiments.ceilings import degraded, spread
from vocbench.restorer.networks.owan import CHANNELS, GROUPS, OPERATIONS, Group, OperationLayer, Owan
from vocbench.restorer.networks.owan_files import NETWORKS, build, load_owan
from vocbench.restorer.training.photos import list_photos
from vocbench.restorer.training.trainable import TRAINABLE
from vocbench.restorer.weight_files import open_weights, save_weights

GIVEN = {"none": 1.0, "fixed": 1 / len(OPERATIONS)}  # attention weight of every operation in a fresh ablation


@torch.no_grad()
def mean_attention(network: Owan, images: Iterable[Tensor]) -> Tensor:
    """Return the mean attention weights (groups, layers, operations) over images (1, 3, H, W) in [0, 1]."""
    weights = torch.stack([network.with_attention(image)[1][0] for image in images])  # (N, groups * layers, operations)
    return weights.mean(0).unflatten(0, (GROUPS, -1))


def _name(kind: str, network: Owan) -> str:
    """Return the name of an ablation of a network; ValueError where `NETWORKS` has none."""
    name = next((name for name, made in NETWORKS.items() if made == (kind, network.factor)), None)
    if name is None:
        raise ValueError(f"a network at 1/{network.factor} of the resolution has no ablations; give owan or owan-half")
    return name


@torch.no_grad()
def hold_attention(network: Owan, weights: Tensor, kind: str) -> Owan:
    """Return the ablation `none` or `fixed` of a network whose attention weights are held at (groups, layers, operations).

    The weights go into each layer's 1x1 convolution, which follows them linearly.
    """
    held = build(_name(kind, network))
    state = {name: tensor for name, tensor in network.state_dict().items() if ".attention." not in name}
    held.load_state_dict(held.state_dict() | state)
    for group, of_group in zip(held.groups, weights, strict=True):
        assert isinstance(group, Group)
        for layer, of_layer in zip(group.layers, of_group, strict=True):
            assert isinstance(layer, OperationLayer)
            layer.join.weight.mul_((of_layer / GIVEN[kind]).repeat_interleave(CHANNELS)[None, :, None, None])
    return held.eval()


@click.command()
@click.argument("weights", type=click.Path(exists=True, dir_okay=False))
@click.option("--clean", multiple=True, required=True, type=click.Path(exists=True), help="Folder of clean photos; repeatable.")
@click.option("--photos", default=30, show_default=True, type=click.IntRange(min=1), help="How many of each folder.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder that the files go to.")
def main(weights: str, clean: tuple[str, ...], photos: int, out: Path) -> None:
    """Write beginnings for the ablations of a trained network, its attention held at the mean over photos."""
    file = open_weights(weights)
    network = load_owan(file)
    try:
        names = [_name(kind, network) for kind in GIVEN]
    except ValueError as error:
        raise click.ClickException(f"{weights}: {error}") from None
    chosen = [path for folder in clean for path in spread(list_photos([folder]), photos)]
    mean = mean_attention(network, degraded(chosen))
    out.mkdir(parents=True, exist_ok=True)
    for kind, name in zip(GIVEN, names, strict=True):
        path = out / f"{name}.safetensors"
        tiling = file.facts.tiling or TRAINABLE[name].tiling
        save_weights(path, hold_attention(network, mean, kind).state_dict(), name, tiling, **file.facts.more)
        click.echo(f"wrote {path}")


if __name__ == "__main__":
    main()
