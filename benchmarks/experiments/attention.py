"""The paper's Figures 7 and 8: how OWAN's attention weights depend on the distortion.

Each set of patches has one distortion, as in the paper's Table 3. Blur, noise, JPEG and motion blur are applied here; others,
such as raindrops, need photos that have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from vocbench.restorer.degradations.recipes import level_degrade
from vocbench.restorer.images import read_image
from vocbench.restorer.networks.owan import OPERATIONS, Owan
from vocbench.restorer.training.photos import list_photos

SIZE = 128  # pixels of a patch, the paper's
# One distortion at a time, its level uniform within the range: those of the paper's Table 3, and blur, which it lacks.
SETS = {"blur": (0.5, 5.0), "noise": (10.0, 30.0), "jpeg": (15, 35), "motion": (10.0, 80.0)}
CLEAN = "clean"


@dataclass(frozen=True)
class AttentionStatistics:
    """Mean and variance (sets, 40 layers, 8 operations) of the attention weights over the patches of each set."""

    sets: list[str]
    mean: np.ndarray
    variance: np.ndarray

    @property
    def difference(self) -> np.ndarray:
        """Return each set's mean minus the mean over all sets: Figure 8."""
        return self.mean - self.mean.mean(0)


def _patches(folder: Path, size: int, limit: int, seed: int) -> Iterator[torch.Tensor]:
    """Yield patches (3, size, size) of the folder's photos in turn."""
    photos = list_photos([folder])
    random = np.random.default_rng(seed)
    for number in range(limit):
        path = photos[number % len(photos)]
        photo = read_image(path)
        if min(photo.shape[1:]) < size:
            raise ValueError(f"{path}: smaller than a patch of {size} pixels; remove it, or give a smaller `patch`")
        top, left = (int(random.integers(side - size + 1)) for side in photo.shape[1:])
        yield photo[:, top : top + size, left : left + size]


@dataclass(frozen=True)
class Patches:
    """The patches of all sets: cut from clean photos, which are then distorted, and from photos that are distorted already."""

    clean: Path  # folder of photos
    distorted: Mapping[str, Path]  # by the set's name
    size: int = SIZE
    limit: int = 200  # of each set
    seed: int = 0

    @property
    def names(self) -> list[str]:
        """Return the sets in their order."""
        return [CLEAN, *SETS, *self.distorted]

    def cut(self, name: str) -> Iterator[torch.Tensor]:
        """Yield the patches of one set."""
        folder = self.distorted.get(name, self.clean)
        for number, patch in enumerate(_patches(folder, self.size, self.limit, self.seed)):
            if name in SETS:
                level = float(np.random.default_rng([self.seed, number]).uniform(*SETS[name]))
                patch = level_degrade(patch, {name: level}, self.seed, f"{name}{number}")
            yield patch


@torch.inference_mode()
def measure_attention(
    network: Owan, patches: Patches, step: Callable[[str], None] = lambda name: None
) -> AttentionStatistics:  # fmt: skip
    """Return statistics of the attention weights over the patches of each set.

    `step` is called after each patch with the name of its set.
    """
    taken = [name for name in patches.distorted if name == CLEAN or name in SETS]
    if taken:
        raise ValueError(f"{patches.distorted[taken[0]]}: a set is called {taken[0]!r} already; rename the folder")
    means, variances = [], []
    for name in patches.names:
        weights = []
        for patch in patches.cut(name):
            weights.append(network.with_attention(patch[None])[1][0])  # (40, 8)
            step(name)
        stacked = torch.stack(weights).double().numpy()
        means.append(stacked.mean(0))
        variances.append(stacked.var(0))
    return AttentionStatistics(patches.names, np.stack(means), np.stack(variances))


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


def write_figures(statistics: AttentionStatistics, out: Path) -> list[Path]:
    """Write attention.npz, figure7 (mean and variance) and figure8 (difference from the mean) and return their paths."""
    arrays = {"mean": statistics.mean, "variance": statistics.variance, "difference": statistics.difference}
    names = {"sets": np.array(statistics.sets), "operations": np.array(OPERATIONS)}
    np.savez(out / "attention.npz", **(names | arrays))  # type: ignore[arg-type]
    seventh = {f"{name}: mean": statistics.mean[i] for i, name in enumerate(statistics.sets)}
    _heatmaps(seventh, out / "figure7_mean.png", "Mean attention weight", "viridis", False)
    spread = {f"{name}: variance": statistics.variance[i] for i, name in enumerate(statistics.sets)}
    _heatmaps(spread, out / "figure7_variance.png", "Variance of the attention weight", "viridis", False)
    eighth = {name: statistics.difference[i] for i, name in enumerate(statistics.sets)}
    _heatmaps(eighth, out / "figure8.png", "Mean attention weight minus the mean over the sets", "RdBu_r", True)
    return [out / name for name in ("attention.npz", "figure7_mean.png", "figure7_variance.png", "figure8.png")]
