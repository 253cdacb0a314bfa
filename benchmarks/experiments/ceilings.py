"""Measure the ceilings of OWAN's features on photos (`owan.measure_ceilings`).

`python -m vocbench.benchmarks.experiments.ceilings WEIGHTS --clean FOLDER --out FILE` writes the same weights with ceilings
measured on photos as they are and degraded by each of the recipes that the networks are trained on. Of a network that restores
tiles, one random tile of each photo is measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import numpy as np
from torch import Tensor
from vocbench.restorer.degradations.recipes import degrade
from vocbench.restorer.images import read_image
from vocbench.restorer.networks.owan import measure_ceilings
from vocbench.restorer.networks.owan_files import load_owan
from vocbench.restorer.tiling import Tiling
from vocbench.restorer.training.photos import list_photos
from vocbench.restorer.weight_files import open_weights, save_weights

RECIPES = ("clean", "voc", "moderate", "severe")


def degraded(paths: list[Path], seed: int = 0) -> Iterator[Tensor]:
    """Yield each photo degraded by each recipe: (1, 3, H, W) in [0, 1]."""
    for path in paths:
        photo = read_image(path)
        for recipe in RECIPES:
            yield degrade(photo, recipe, seed, path.stem)[0][None]


def spread(paths: list[Path], number: int) -> list[Path]:
    """Return `number` evenly spaced paths, or all if there are fewer."""
    return [paths[i * len(paths) // number] for i in range(number)] if number < len(paths) else paths


def tiles(images: Iterable[Tensor], size: int | None, seed: int = 0) -> Iterator[Tensor]:
    """Yield a random tile of each image (1, 3, H, W), as large as the image allows; the images themselves without a `size`."""
    random = np.random.default_rng(seed)
    for image in images:
        if size:
            top, left = (int(random.integers(max(1, side - size + 1))) for side in image.shape[2:])
            image = image[..., top : top + size, left : left + size]
        yield image


@click.command()
@click.argument("weights", type=click.Path(exists=True, dir_okay=False))
@click.option("--clean", multiple=True, required=True, type=click.Path(exists=True), help="Folder of clean photos; repeatable.")
@click.option("--photos", default=100, show_default=True, type=click.IntRange(min=1), help="Photos per folder.")
@click.option(
    "--margin",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Factor on the measured ceilings.",
)
@click.option("--out", required=True, type=click.Path(dir_okay=False), help="Weights file to write.")
def main(weights: str, clean: tuple[str, ...], photos: int, margin: float, out: str) -> None:
    """Measure the ceilings of a network's features on photos and save them with its weights."""
    file = open_weights(weights)
    network, facts = load_owan(file), file.facts
    if not (facts.network and facts.tiling):
        raise click.ClickException(
            f"{weights}: does not name its network; give a .safetensors file that `vocbench train` wrote"
        )
    chosen = [path for folder in clean for path in spread(list_photos([folder]), photos)]
    ceilings = measure_ceilings(network, tiles(degraded(chosen), Tiling.parse(facts.tiling).size), margin)
    save_weights(out, network.state_dict(), facts.network, facts.tiling, **facts.more)
    click.echo(f"{len(chosen)} photos: " + ", ".join(f"{value:.2f}" for value in ceilings.tolist()))


if __name__ == "__main__":
    main()
