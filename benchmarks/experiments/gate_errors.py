"""How often the gate of `pipeline.gate` errs on photos of a split: the table of docs/embedding.md.

python -m vocbench.benchmarks.experiments.gate_errors --data VOCdevkit/VOC2012 --split val --limit 200
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
from PIL import Image
from torch import Tensor
from vocbench.detection.datasets.voc import read_voc
from vocbench.pipeline.gate import LIMITS, Limits, fit, needs_restoring
from vocbench.restorer.degradations.recipes import degrade, level_degrade
from vocbench.restorer.images import from_uint8, read_image, to_uint8

FITTED = ("voc", "moderate", "mild")  # recipes of the degraded photos that limits are fitted to
RECIPES = ("clean", "voc", "moderate", "mild", "severe")
LEVELS = {"blur": (1, 1.5, 2, 3), "noise": (5, 10, 20, 30, 50), "jpeg": (60, 40, 25)}
CAMERA_NOISE = (0, 10, 20, 30)


def conditions(seed: int) -> dict[str, Callable[[Tensor, str], Tensor]]:
    """Return the degradations to test the gate with, by name: functions of a clean image (3, H, W) and its id."""

    def by_recipe(recipe: str) -> Callable[[Tensor, str], Tensor]:
        return lambda image, name: degrade(image, recipe, seed, name)[0]

    def at_level(kind: str, level: float) -> Callable[[Tensor, str], Tensor]:
        return lambda image, name: level_degrade(image, {kind: level}, seed, name)

    def by_camera(level: float) -> Callable[[Tensor, str], Tensor]:
        return lambda image, name: stored(level_degrade(image, {"noise": level}, seed, name))

    cameras = {f"noise {level:g}, camera JPEG": by_camera(level) for level in CAMERA_NOISE}
    alone = {f"{kind} {level:g}": at_level(kind, level) for kind, levels in LEVELS.items() for level in levels}
    return {recipe: by_recipe(recipe) for recipe in RECIPES} | alone | cameras


def stored(image: Tensor, quality: int = 90) -> Tensor:
    """Return an image (3, H, W) in [0, 1] as cameras store it: a JPEG with colour at half the resolution."""
    file = io.BytesIO()
    Image.fromarray(to_uint8(image)).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return from_uint8(np.asarray(Image.open(file)))


def photos(data: str, split: str, limit: int) -> Iterator[tuple[str, Tensor]]:
    """Return the first photos of a split, by id."""
    data_set = read_voc(data, split)
    return ((name, read_image(data_set.photo(name))) for name in data_set.ids[:limit])


def fitted(data: str, split: str, limit: int, seed: int) -> Limits:
    """Return the limits for the first photos of a split."""
    clean = list(photos(data, split, limit))
    return fit(
        [image for _, image in clean], [degrade(image, recipe, seed, name)[0] for name, image in clean for recipe in FITTED]
    )


def shares(data: str, split: str, limit: int, seed: int, limits: Limits) -> tuple[dict[str, float], float]:
    """Return the share of photos restored under each condition, and the median seconds of one decision."""
    tried = conditions(seed)
    restored = dict.fromkeys(tried, 0)
    spent, count = [], 0
    for name, image in photos(data, split, limit):
        count += 1
        for condition, change in tried.items():
            seen = change(image, name)
            begun = time.perf_counter()
            restored[condition] += needs_restoring(seen, limits)
            spent.append(time.perf_counter() - begun)
    return {condition: times / count for condition, times in restored.items()}, float(np.median(spent))


@click.command()
@click.option("--data", required=True, type=click.Path(path_type=Path), help="A VOC20xx folder.")
@click.option("--split", default="val", show_default=True)
@click.option("--limit", default=200, show_default=True, type=click.IntRange(1), help="Only the first N photos.")
@click.option("--seed", default=0, show_default=True)
@click.option("--fit", "other", metavar="SPLIT", help="Fit the limits to this split's photos in place of those that are kept.")
def main(data: Path, split: str, limit: int, seed: int, other: str | None) -> None:
    """Show the share of photos that the gate restores and passes, clean and degraded."""
    limits = fitted(str(data), other, limit, seed) if other else LIMITS
    if other:
        click.echo(f"{limits}\n")
    restored, seconds = shares(str(data), split, limit, seed, limits)
    click.echo("| photos | restored | passed |\n| --- | ---: | ---: |")
    for condition, share in restored.items():
        click.echo(f"| {condition} | {100 * share:.1f} % | {100 * (1 - share):.1f} % |")
    click.echo(f"\n{1000 * seconds:.1f} ms a decision")


if __name__ == "__main__":
    main()
