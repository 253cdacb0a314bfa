"""The paper's Figures 7 and 8: how OWAN's attention weights depend on the distortion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from vocbench.restorer.degradations.recipes import level_degrade
from vocbench.restorer.images import read_image
from vocbench.restorer.networks.owan import OPERATIONS, Owan
from vocbench.restorer.training.photos import list_photos

SIZE = 63  # pixels of a patch
# One distortion at a time, its level uniform within the range.
SETS = {"blur": (0.5, 5.0), "noise": (10.0, 50.0), "jpeg": (10, 60)}
CLEAN = "clean"


@dataclass(frozen=True)
class AttentionStatistics:
    """Mean and variance (sets, 40 layers, 8 operations) of the attention weights over the patches of each set."""

    sets: list[str]
    mean: np.ndarray
    variance: np.ndarray

    @property
    def difference(self) -> np.ndarray:
        """Each set's mean minus the mean over all sets: Figure 8."""
        return self.mean - self.mean.mean(0)


def _patches(folder: Path, limit: int, seed: int) -> list[torch.Tensor]:
    photos = list_photos([folder])
    random = np.random.default_rng(seed)
    cut = []
    for number in range(limit):
        photo = read_image(photos[number % len(photos)])
        if min(photo.shape[1:]) < SIZE:
            raise ValueError(f"{photos[number % len(photos)]}: smaller than a patch of {SIZE} pixels")
        top, left = (int(random.integers(side - SIZE + 1)) for side in photo.shape[1:])
        cut.append(photo[:, top : top + SIZE, left : left + SIZE])
    return cut


@torch.inference_mode()
def measure_attention(
    network: Owan, folder: Path, limit: int, seed: int, step: Callable[[str], None] = lambda name: None
) -> AttentionStatistics:
    """Statistics over `limit` patches of the folder's photos, for each set of `SETS` and the clean patches.

    `step` is called after each patch with the name of its set.
    """
    patches = _patches(folder, limit, seed)
    random = np.random.default_rng([seed, 1])
    means, variances, names = [], [], [CLEAN, *SETS]
    for name in names:
        weights = []
        for number, patch in enumerate(patches):
            if name != CLEAN:
                patch = level_degrade(patch, {name: float(random.uniform(*SETS[name]))}, seed, f"{name}{number}")
            weights.append(network.with_attention(patch[None])[1][0])  # (40, 8)
            step(name)
        stacked = torch.stack(weights).double().numpy()
        means.append(stacked.mean(0))
        variances.append(stacked.var(0))
    return AttentionStatistics(names, np.stack(means), np.stack(variances))


def _heatmaps(arrays: dict[str, np.ndarray], path: Path, title: str, colours: str, centred: bool) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.1 * len(arrays) + 1, 9), layout="constrained")
    limit = max(np.abs(array).max() for array in arrays.values())
    for axis, (name, array) in zip(figure.subplots(1, len(arrays), sharey=True), arrays.items(), strict=True):
        drawn = axis.imshow(array, aspect="auto", cmap=colours, vmin=-limit if centred else 0, vmax=limit)
        axis.set_title(name)
        axis.set_xticks(range(len(OPERATIONS)), OPERATIONS, rotation=90)
        axis.set_yticks(range(0, len(array), 4), range(1, len(array) + 1, 4))
        axis.set_xlabel("operation")
    figure.axes[0].set_ylabel("layer")
    figure.colorbar(drawn, ax=figure.axes, shrink=0.6)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def write_figures(found: AttentionStatistics, out: Path) -> list[Path]:
    """attention.npz, figure7.png (mean and variance) and figure8.png (difference from the mean); gives their paths."""
    arrays = {"mean": found.mean, "variance": found.variance, "difference": found.difference}
    names = {"sets": np.array(found.sets), "operations": np.array(OPERATIONS)}
    np.savez(out / "attention.npz", **(names | arrays))  # type: ignore[arg-type]
    seventh = {f"{name}: mean": found.mean[i] for i, name in enumerate(found.sets)}
    _heatmaps(seventh, out / "figure7_mean.png", "Mean attention weight", "viridis", False)
    spread = {f"{name}: variance": found.variance[i] for i, name in enumerate(found.sets)}
    _heatmaps(spread, out / "figure7_variance.png", "Variance of the attention weight", "viridis", False)
    eighth = {name: found.difference[i] for i, name in enumerate(found.sets)}
    _heatmaps(eighth, out / "figure8.png", "Mean attention weight minus the mean over the sets", "RdBu_r", True)
    return [out / name for name in ("attention.npz", "figure7_mean.png", "figure7_variance.png", "figure8.png")]
