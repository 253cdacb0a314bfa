"""Restoration tables (the paper's 1, 3 and 4): PSNR and SSIM on patches cut as RL-Restore cuts them, or on folders of pairs."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from vocbench.pipeline.chain import restore_images
from vocbench.restorer.degradations.recipes import degrade
from vocbench.restorer.images import read_image
from vocbench.restorer.quality import psnr, ssim
from vocbench.restorer.training.patches import SCALES, list_photos

Pair = tuple[Tensor, Tensor]  # degraded and clean, each (3, H, W)


def cut_patches(folder: Path, recipe: str, size: int, limit: int, seed: int) -> list[Pair]:
    """Up to `limit` patches of a recipe, evenly from all photos, scales and places; a photo is degraded before it is cut."""
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
    """Pairs of two folders in the order of their names; ValueError where they do not fit together."""
    left, right = list_photos([inputs]), list_photos([targets])
    if len(left) != len(right):
        raise ValueError(f"{inputs} holds {len(left)} pictures and {targets} {len(right)}; they must pair up by name order")
    pairs = [(read_image(one), read_image(two)) for one, two in zip(left, right, strict=True)]
    for path, (degraded, clean) in zip(left, pairs, strict=True):
        if degraded.shape != clean.shape:
            raise ValueError(f"{path}: its size differs from its target's, {tuple(degraded.shape)} and {tuple(clean.shape)}")
    return pairs


def _row(name: str, restorer: str, images: list[Tensor], pairs: list[Pair]) -> dict[str, Any]:
    values = [
        (psnr(image[None], clean[None]).clamp(max=100).item(), ssim(image[None], clean[None]).item())
        for image, (_, clean) in zip(images, pairs, strict=True)
    ]
    means = torch.tensor(values, dtype=torch.float64).mean(0).tolist()
    return {"set": name, "restorer": restorer, "psnr": means[0], "ssim": means[1], "patches": len(pairs)}


def measure(name: str, pairs: list[Pair], models: Mapping[str, nn.Module]) -> list[dict[str, Any]]:
    """One row for the input and one per restorer: mean PSNR (dB, identical patches count as 100) and SSIM."""
    inputs = [degraded for degraded, _ in pairs]
    rows = [_row(name, "input", inputs, pairs)]
    for label, model in models.items():
        rows.append(_row(name, label, restore_images(model, inputs), pairs))
    return rows


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """Restorers down, sets across, PSNR / SSIM in each cell, as the paper's Table 1."""
    sets, restorers = (list(dict.fromkeys(row[key] for row in rows)) for key in ("set", "restorer"))
    cells = {(row["restorer"], row["set"]): f"{row['psnr']:.2f} / {row['ssim']:.4f}" for row in rows}
    lines = ["| PSNR dB / SSIM | " + " | ".join(sets) + " |", "| --- |" + " ---: |" * len(sets)]
    lines += ["| " + " | ".join([name, *(cells[name, one] for one in sets)]) + " |" for name in restorers]
    return "\n".join(lines)


def write(out: Path, rows: list[dict[str, Any]]) -> None:
    (out / "quality.json").write_text(json.dumps(rows, indent=2) + "\n")
    (out / "quality.md").write_text(to_markdown(rows) + "\n")
    with open(out / "quality.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
