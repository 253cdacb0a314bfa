"""Measure how much a restorer changes pictures that need no restoring: flat, smooth, drawn, letterboxed ones, and clean photos.

`python -m vocbench.benchmarks.experiments.harmlessness --restorer NAME[:WEIGHTS]` prints one row per picture, worst first; with
`--data FOLDER` of clean photos, their mean, the flattest photos and the worst ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from vocbench.detection.datasets.read import read_dataset
from vocbench.pipeline.names import DEFAULT_RESTORER
from vocbench.restorer.images import from_uint8, read_image
from vocbench.restorer.training.drawn import drawing, gradient, letterboxed

SIDE = 256  # pixels
COLOURS = {
    "black": (0, 0, 0), "grey 64": (64, 64, 64), "grey 114": (114, 114, 114), "grey 128": (128, 128, 128),
    "grey 200": (200, 200, 200), "white": (255, 255, 255), "red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255),
    "cyan": (0, 255, 255), "yellow": (255, 255, 0), "sky": (135, 190, 235), "grass": (70, 120, 50), "skin": (220, 170, 140),
}  # fmt: skip
BLOCK = 16  # pixels, of which the mean is compared
FLATTEST = 20  # photos that are listed separately
WORST = 5  # photos that are named


@dataclass(frozen=True)
class Harm:
    """How much restoring changed a picture that needed none."""

    name: str
    psnr: float  # dB, at most 100
    largest: float  # of 1, the largest change of a pixel
    block: float  # of 1, the largest change of the mean of a block of 16x16 pixels


def pictures(photo: Tensor | None = None, seed: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Yield names and pictures (3, 256, 256) in [0, 1]; a `photo` (3, H, W) of at least that size is letterboxed too."""
    for name, values in COLOURS.items():
        yield name, torch.tensor(values).float().div(255)[:, None, None].expand(3, SIDE, SIDE).contiguous()
    random = np.random.default_rng(seed)
    for kind, make in (("gradient", gradient), ("drawing", drawing)):
        for number in range(8):
            yield f"{kind} {number}", from_uint8(make(SIDE, random).round().clip(0, 255).astype(np.uint8))
    if photo is not None:
        crop = (photo[:, :SIDE, :SIDE].permute(1, 2, 0).numpy() * 255).round()
        for number in range(4):
            yield f"letterbox {number}", from_uint8(letterboxed(crop, random).astype(np.uint8))


def harm(name: str, picture: Tensor, restored: Tensor) -> Harm:
    """Return how much restoring changed a picture (3, H, W)."""
    change = restored - picture
    error = change.double().square().mean().item()
    blocks = avg_pool2d(change[None], min(BLOCK, *picture.shape[1:]))
    psnr = min(100.0, -10 * np.log10(error)) if error else 100.0
    return Harm(name, float(psnr), change.abs().max().item(), blocks.abs().max().item())


def measure(restorer: nn.Module, photo: Tensor | None = None) -> list[Harm]:
    """Return how much a restorer changes each of the pictures, the worst first."""
    from vocbench.pipeline.chain import restore_images

    rows = [harm(name, picture, restore_images(restorer, [picture])[0]) for name, picture in pictures(photo)]
    return sorted(rows, key=lambda row: row.psnr)


@dataclass(frozen=True)
class PhotoHarm(Harm):
    """How much restoring changed a clean photo."""

    detail: float  # mean absolute difference of neighbouring pixels, of 1: the flattest photos have least


def detail(photo: Tensor) -> float:
    """Return the mean absolute difference of the horizontal and vertical neighbours of (3, H, W)."""
    return float((photo.diff(dim=1).abs().mean() + photo.diff(dim=2).abs().mean()) / 2)


def measure_photos(restorer: nn.Module, paths: Iterable[Path]) -> list[PhotoHarm]:
    """Return how much a restorer changes each of the photos, the flattest first."""
    from vocbench.pipeline.chain import restore_images

    rows = []
    for path in paths:
        photo = read_image(path)
        row = harm(path.stem, photo, restore_images(restorer, [photo])[0])
        rows.append(PhotoHarm(row.name, row.psnr, row.largest, row.block, detail(photo)))
    return sorted(rows, key=lambda row: row.detail)


def line(row: Harm) -> str:
    """Return a row as text."""
    return f"{row.name:<14} {row.psnr:6.1f} dB   largest {row.largest:.3f}   block mean {row.block:.3f}"


def summary(photos: list[PhotoHarm]) -> list[str]:
    """Return lines with the means over clean photos (sorted by detail), the flattest of them and the worst ones."""
    flattest = photos[:FLATTEST]
    lines = [
        f"{len(photos)} photos: {sum(row.psnr for row in photos) / len(photos):.1f} dB on average, "
        f"{min(row.psnr for row in photos):.1f} dB at least, block means off by {max(row.block for row in photos):.3f} at most",
        f"{len(flattest)} flattest: {min(row.psnr for row in flattest):.1f} dB at least",
    ]
    worst = sorted(photos, key=lambda row: row.psnr)[:WORST]
    return lines + [line(row) for row in worst]


@click.command()
@click.option("--restorer", default=DEFAULT_RESTORER, show_default=True, metavar="NAME[:WEIGHTS]")
@click.option("--tile", metavar="SIZE:STRIDE|whole", help="Tiling in place of that of the weights.")
@click.option("--engine", default="auto", show_default=True)
@click.option("--guard/--no-guard", default=False, show_default=True, help="Put the guard behind the restorer.")
@click.option("--data", type=click.Path(exists=True), help="Data set of clean photos, in place of the drawn pictures.")
@click.option("--split", metavar="NAME", help="Its split.")
def main(restorer: str, tile: str | None, engine: str, guard: bool, data: str | None, split: str | None) -> None:
    """Show how much a restorer changes pictures that need no restoring, worst first."""
    from vocbench.pipeline.models import Options, build_restorer, parse_restorer

    model = build_restorer(parse_restorer(restorer), Options(tile=tile, engine=engine, guard=guard))
    if data is None:
        lines = [line(row) for row in measure(model)]
    else:
        photos = read_dataset(data, split)
        lines = summary(measure_photos(model, map(photos.photo, photos.ids)))
    click.echo("\n".join(lines))


if __name__ == "__main__":
    main()
