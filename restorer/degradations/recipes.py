"""The degradations by name and the recipes that draw their levels.

A degradation is `f(image, level, generator) -> image` on a float32 RGB image (3, H, W) in [0, 1]; a recipe draws one level per
degradation. Levels and noise come from a generator seeded by (run seed, image id) alone, so an image's degradation never
depends on order, batch, worker or machine.

Sources: the levels of `mild`, `moderate` and `severe` are those of RL-Restore's training code (Yu et al., CVPR 2018); `voc` is
section 4.3 of the OWAN paper (Suganuma et al., CVPR 2019), `mix`, `novel-train` and `novel-test` its sections 4.4 and 4.5.
Order: motion blur, blur, noise, JPEG.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from itertools import product

import numpy as np
from numpy.random import Generator
from torch import Tensor
from vocbench.restorer.degradations import corruptions
from vocbench.restorer.degradations.blur_noise_jpeg import gaussian_blur, gaussian_noise, jpeg
from vocbench.restorer.degradations.motion_blur import motion_blur

Levels = dict[str, float]

# Applied in this order, whichever of them a recipe draws.
DEGRADATIONS: dict[str, Callable[..., Tensor]] = {
    "motion": motion_blur,
    "blur": gaussian_blur,
    "noise": gaussian_noise,
    "jpeg": jpeg,
}
UNITS = {
    "motion": "length of the trajectory in pixels",
    "blur": "sigma in pixels",
    "noise": "sigma of 255",
    "jpeg": "quality 1 to 100",
}

# RL-Restore's ten levels of each degradation are the bins between these edges.
BLUR_EDGES = tuple(0.5 * i for i in range(11))
NOISE_EDGES = tuple(5.0 * i for i in range(11))
JPEG_EDGES = (100.0, 80.0, 60.0, 50.0, 40.0, 35.0, 30.0, 25.0, 20.0, 15.0, 10.0)


def _level_triples(lowest: int, highest: int) -> list[tuple[int, int, int]]:
    """Return all (blur, noise, JPEG) levels 1 to 10 whose sum minus 2 lies in [lowest, highest]."""
    levels = range(1, 11)
    return [triple for triple in product(levels, levels, levels) if lowest <= sum(triple) - 2 <= highest]


def _draw_triples(lowest: int, highest: int) -> Callable[[Generator], Levels]:
    triples = _level_triples(lowest, highest)

    def draw(generator: Generator) -> Levels:
        blur, noise, quality = triples[generator.integers(len(triples))]
        return {
            "blur": _within(BLUR_EDGES, blur, generator),
            "noise": _within(NOISE_EDGES, noise, generator),
            "jpeg": round(_within(JPEG_EDGES, quality, generator)),
        }

    return draw


def _within(edges: tuple[float, ...], level: int, generator: Generator) -> float:
    low, high = sorted(edges[level - 1 : level + 1])
    return float(generator.uniform(low, high))


def _uniform(**ranges: tuple[float, float]) -> Callable[[Generator], Levels]:
    """Return a function that draws the level of each named degradation uniformly in its range; JPEG's quality is an integer."""

    def draw(generator: Generator) -> Levels:
        drawn = {name: float(generator.uniform(*ranges[name])) for name in DEGRADATIONS if name in ranges}
        return {name: round(level) if name == "jpeg" else level for name, level in drawn.items()}

    return draw


def _some_of(draw: Callable[[Generator], Levels]) -> Callable[[Generator], Levels]:
    """Return a function that keeps a random number, at least one, of the degradations that `draw` draws."""

    def draw_some(generator: Generator) -> Levels:
        levels = draw(generator)
        count = int(generator.integers(1, len(levels) + 1))
        kept = set(generator.permutation(list(levels))[:count])
        return {name: level for name, level in levels.items() if name in kept}

    return draw_some


def _only(draw: Callable[[Generator], Levels], *names: str) -> Callable[[Generator], Levels]:
    """Return a function that draws as `draw` does and keeps only the named degradations."""
    return lambda generator: {name: level for name, level in draw(generator).items() if name in names}


def _draw_clean(generator: Generator) -> Levels:
    return {}


_draw_voc = _uniform(blur=(0, 10), noise=(30, 60), jpeg=(10, 50))

RECIPES: dict[str, Callable[[Generator], Levels]] = {
    "voc": _draw_voc,
    "voc-blur": _only(_draw_voc, "blur"),  # what a perfect denoiser and de-JPEG would leave of `voc`, at the same seed
    "mild": _draw_triples(9, 11),
    "moderate": _draw_triples(12, 17),
    "severe": _draw_triples(18, 20),
    # Tables 3 and 4; the raindrop photos of Table 3 are pairs that the user brings.
    "mix": _some_of(_uniform(motion=(10, 80), noise=(10, 30), jpeg=(15, 35))),
    "novel-train": _uniform(motion=(10, 40), noise=(0, 20), jpeg=(60, 100)),
    "novel-test": _uniform(motion=(40, 80), noise=(20, 40), jpeg=(15, 60)),
    "clean": _draw_clean,
}


def image_generator(seed: int, image_id: str) -> Generator:
    """Return the generator of one image of one run, a function of the run's seed and the image's id only."""
    digest = hashlib.sha256(f"{seed}:{image_id}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def draw_levels(recipe: str, generator: Generator) -> Levels:
    if recipe not in RECIPES:
        raise ValueError(f"unknown recipe {recipe!r}; choose one of {', '.join(RECIPES)}")
    return RECIPES[recipe](generator)


def apply_levels(image: Tensor, levels: Mapping[str, float], generator: Generator) -> Tensor:
    """Apply the named degradations in the order of `DEGRADATIONS`; a level is in the unit of `UNITS`.

    After them come those called `corruption:NAME`, at a severity of 1 to 5: see the module `corruptions`.
    """
    common = [name for name in levels if name.startswith(corruptions.PREFIX)]
    unknown = sorted(set(levels) - set(DEGRADATIONS) - set(common))
    if unknown:
        raise ValueError(f"unknown degradation {unknown[0]!r}; choose from {', '.join(DEGRADATIONS)}")
    for name, degradation in DEGRADATIONS.items():
        if name in levels:
            image = degradation(image, levels[name], generator)
    for name in common:
        image = corruptions.corrupt(image, name.removeprefix(corruptions.PREFIX), levels[name], generator)
    return image


def degrade(image: Tensor, recipe: str, seed: int, image_id: str) -> tuple[Tensor, Levels]:
    """Return the degraded image (3, H, W) and the levels drawn for it by `recipe`, from (seed, image_id) alone."""
    generator = image_generator(seed, image_id)
    levels = draw_levels(recipe, generator)
    return apply_levels(image, levels, generator), levels


def level_degrade(image: Tensor, levels: Mapping[str, float], seed: int, image_id: str) -> Tensor:
    """Return the image degraded at fixed levels; its noise comes from (seed, image_id) alone."""
    return apply_levels(image, levels, image_generator(seed, image_id))
