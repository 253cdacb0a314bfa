"""Restoration tables (the paper's 1, 3 and 4): PSNR and SSIM on patches cut as RL-Restore cuts them, or on folders of pairs."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from msgspec import Struct
from msgspec.structs import asdict
from torch import Tensor, nn
from torch.nn.functional import interpolate
from vocbench.benchmarks.settings import write_json
from vocbench.pipeline.chain import restore_images
from vocbench.restorer.degradations.recipes import degrade
from vocbench.restorer.files import find_photos, photos_by_place
from vocbench.restorer.images import read_image
from vocbench.restorer.quality import psnr, ssim
from vocbench.restorer.training.patches import SCALES
from vocbench.restorer.training.photos import list_photos

TOGETHER = 16  # patches that a restorer gets at once
Pair = tuple[Tensor, Tensor]  # degraded and clean, each (3, H, W)


def cut_patches(folder: Path, recipe: str, size: int, limit: int, seed: int) -> list[Pair]:
    """Return up to `limit` patches of a recipe, evenly from all photos, scales and places; photos are degraded whole."""
    pairs: list[Pair] = []
    for path in list_photos([folder]):
        photo = read_image(path)
        for number, scale in enumerate(SCALES):
            sides = [round(side * scale) for side in photo.shape[1:]]
            if min(sides) < size:
                continue
            clean = photo
            if scale != 1:
                clean = interpolate(photo[None], sides, mode="bicubic", align_corners=False, antialias=True)[0].clamp(0, 1)
            degraded, _ = degrade(clean, recipe, seed, f"{path.stem}@{number}")
            for top in range(0, sides[0] - size + 1, size):
                for left in range(0, sides[1] - size + 1, size):
                    place = (slice(None), slice(top, top + size), slice(left, left + size))
                    pairs.append((degraded[place].clone(), clean[place].clone()))
    if not pairs:
        raise ValueError(f"{folder}: no photo is as large as a patch of {size} pixels")
    step = max(1, len(pairs) / limit)
    return [pairs[int(i * step)] for i in range(min(limit, len(pairs)))]


def read_pairs(inputs: Path, targets: Path) -> list[Pair]:
    """Return the pairs of two folders, of any depth: pictures of one name, whatever their suffix.

    ValueError names what has no partner, and pictures of different sizes.
    """
    left, right = (photos_by_place(find_photos([folder])) for folder in (inputs, targets))
    for own, other, place in ((left, right, targets), (right, left, inputs)):
        if alone := sorted(own.keys() - other.keys()):
            more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
            raise ValueError(f"{own[alone[0]].source}: {place} holds no picture {alone[0]!r}{more}; pairs have the same name")
    return [_read_pair(Path(left[name].source), Path(right[name].source)) for name in sorted(left)]


def _read_pair(one: Path, two: Path) -> Pair:
    degraded, clean = read_image(one), read_image(two)
    if degraded.shape != clean.shape:
        sizes = " and ".join(f"{image.shape[2]}x{image.shape[1]}" for image in (degraded, clean))
        raise ValueError(f"{one}: its size differs from its target's, {sizes}")
    return degraded, clean


class Quality(Struct, frozen=True, kw_only=True):
    """The mean PSNR and SSIM of one restorer over the patches of one set."""

    set: str
    restorer: str  # or `input`
    psnr: float  # dB
    ssim: float
    patches: int


def _row(name: str, restorer: str, images: list[Tensor], pairs: list[Pair]) -> Quality:
    values = [
        (psnr(image[None], clean[None]).clamp(max=100).item(), ssim(image[None], clean[None]).item())
        for image, (_, clean) in zip(images, pairs, strict=True)
    ]
    means = torch.tensor(values, dtype=torch.float64).mean(0).tolist()
    return Quality(set=name, restorer=restorer, psnr=means[0], ssim=means[1], patches=len(pairs))


def measure(
    name: str,
    pairs: list[Pair],
    models: Mapping[str, nn.Module],
    step: Callable[[str, int], None] = lambda label, patches: None,
) -> list[Quality]:
    """Return one row for the input and one per restorer: mean PSNR (dB, identical patches count as 100) and SSIM.

    `step` is called after every few restored patches with their restorer's name and their number.
    """
    inputs = [degraded for degraded, _ in pairs]
    rows = [_row(name, "input", inputs, pairs)]
    for label, model in models.items():
        rows.append(_row(name, label, _restored(model, inputs, partial(step, label)), pairs))
    return rows


def _restored(model: nn.Module, inputs: list[Tensor], step: Callable[[int], None]) -> list[Tensor]:
    restored: list[Tensor] = []
    for first in range(0, len(inputs), TOGETHER):
        some = inputs[first : first + TOGETHER]
        restored += restore_images(model, some)
        step(len(some))
    return restored


def to_markdown(rows: list[Quality]) -> str:
    """Return a table of restorers down and sets across, PSNR / SSIM in each cell, as the paper's Table 1."""
    sets, restorers = dict.fromkeys(row.set for row in rows), dict.fromkeys(row.restorer for row in rows)
    cells = {(row.restorer, row.set): f"{row.psnr:.2f} / {row.ssim:.4f}" for row in rows}
    lines = ["| PSNR dB / SSIM | " + " | ".join(sets) + " |", "| --- |" + " ---: |" * len(sets)]
    lines += ["| " + " | ".join([name, *(cells[name, one] for one in sets)]) + " |" for name in restorers]
    return "\n".join(lines)


def write(out: Path, rows: list[Quality]) -> None:
    """Write quality.json, .md and .csv."""
    write_json(out / "quality.json", rows)
    (out / "quality.md").write_text(to_markdown(rows) + "\n")
    with open(out / "quality.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, Quality.__struct_fields__)
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
