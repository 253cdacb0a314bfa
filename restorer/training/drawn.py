"""Pictures that photo collections lack: flat, smooth, drawn and letterboxed ones, for training and for tests.

A network that has only seen photos may add colours and patterns to these.
Each kind is a function of a side in pixels and a generator.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

Generator = np.random.Generator
BARS = ((0, 0, 0), (255, 255, 255), (114, 114, 114))  # of films, of scans, and of ultralytics' letterbox


def colour(random: Generator) -> np.ndarray:
    """Return a colour (3,) in 0 to 255: with equal chance white or black, a grey, a saturated colour, or any other."""
    kind = int(random.integers(4))
    if kind == 0:
        return np.full(3, float(random.choice([0, 255])))
    if kind == 1:
        return np.full(3, float(random.integers(256)))
    if kind == 2:
        return random.choice([0.0, 255.0], 3)
    return random.uniform(0, 255, 3)


def flat(side: int, random: Generator) -> np.ndarray:
    """Return one colour everywhere: (side, side, 3) float64 of 0 to 255, as all kinds do."""
    return np.broadcast_to(colour(random), (side, side, 3)).copy()


def gradient(side: int, random: Generator) -> np.ndarray:
    """Return a linear or a radial gradient between two colours."""
    rows, columns = np.mgrid[0:side, 0:side] / side
    if random.random() < 0.5:
        angle = random.uniform(0, 2 * np.pi)
        along = rows * np.sin(angle) + columns * np.cos(angle)
    else:
        along = np.hypot(rows - random.random(), columns - random.random())
    along = (along - along.min()) / (np.ptp(along) + 1e-9)
    first, last = colour(random), colour(random)
    return first + along[..., None] * (last - first)


def drawing(side: int, random: Generator) -> np.ndarray:
    """Return filled shapes and lines of flat colours on a flat ground."""

    def shade() -> tuple[int, ...]:
        return tuple(int(value) for value in colour(random))

    picture = Image.new("RGB", (side, side), shade())
    pen = ImageDraw.Draw(picture)
    for _ in range(int(random.integers(2, 12))):
        left, top = random.uniform(-0.2, 1, 2) * side
        width, height = random.uniform(0.02, 0.6, 2) * side
        box = (left, top, left + width, top + height)
        kind = int(random.integers(4))
        if kind == 0:
            pen.rectangle(box, fill=shade())
        elif kind == 1:
            pen.ellipse(box, fill=shade())
        elif kind == 2:
            pen.line(box, fill=shade(), width=int(random.integers(1, 9)))
        else:
            pen.text((left, top), "vocbench 0123", fill=shade(), font_size=int(random.integers(8, 60)))
    return np.asarray(picture, dtype=np.float64)


def letterboxed(photo: np.ndarray, random: Generator) -> np.ndarray:
    """Return a photo (S, S, 3) with bars of one colour over one or both ends of an axis."""
    boxed = np.array(photo, dtype=np.float64)
    bar = np.asarray(BARS[int(random.integers(len(BARS)))] if random.random() < 0.75 else colour(random))
    first, last = random.uniform(0, 0.5, 2) * (random.random(2) < 0.75)
    side = len(boxed)
    lines = boxed if random.random() < 0.5 else boxed.transpose(1, 0, 2)
    lines[: int(first * side)] = bar
    lines[side - int(last * side) :] = bar
    return boxed


DRAWN: dict[str, Callable[[int, Generator], np.ndarray]] = {"flat": flat, "gradient": gradient, "drawing": drawing}


def draw(side: int, random: Generator) -> np.ndarray:
    """Return one of `DRAWN`: (side, side, 3) uint8."""
    names = list(DRAWN)
    return DRAWN[names[int(random.integers(len(names)))]](side, random).round().clip(0, 255).astype(np.uint8)
