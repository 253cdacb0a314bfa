"""Draw boxes with class and score on a picture, and the boxes that came and went between two pictures of one photo."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from vocbench.detection.detections import VOC_CLASSES, Detections

KEPT, CAME, WENT = (225, 225, 225), (60, 220, 190), (255, 150, 60)  # distinguishable for the colour-blind
GAP = 8  # pixels between pictures side by side
HUES = 20  # distinguishable ones; further classes share them


def class_colour(label: int) -> tuple[int, int, int]:
    """Return a colour per class, evenly around the hues."""
    red, green, blue = colorsys.hsv_to_rgb((label * 7 % HUES) / HUES, 0.85, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _font(height: int, lines: int = 26) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Return a font of which `lines` lines fill the height of a picture."""
    return ImageFont.load_default(max(10, round(height / lines)))


def draw_boxes(
    picture: np.ndarray, detections: Detections, least: float = 0.3, lines: int = 26, classes: Sequence[str] = VOC_CLASSES
) -> np.ndarray:
    """Return a copy of the picture (H, W, 3) uint8 with boxes of score `least` and above; labels index `classes`.

    The text is so large that `lines` lines fill the height of the picture.
    """
    image = Image.fromarray(picture)
    canvas, font = ImageDraw.Draw(image), _font(image.height, lines)
    width = max(2, round(image.height / 160))
    order = np.argsort(np.asarray(detections.scores))
    for i in order:
        score, label = float(detections.scores[i]), int(detections.labels[i])
        if score < least:
            continue
        text = f"{classes[label]} {score:.2f}"
        _box(canvas, detections.boxes[i].tolist(), text, class_colour(label), width, font, image.size)
    return np.array(image)


def draw_change(
    picture: np.ndarray,
    detections: Detections,
    kept: Iterable[int],
    changed: Iterable[int],
    came: bool,
    classes: Sequence[str] = VOC_CLASSES,
) -> np.ndarray:
    """Return a copy of the picture (H, W, 3) uint8 with the boxes of these indices: kept ones thin, changed ones thick.

    What came is marked with a plus, what went with a minus.
    """
    image = Image.fromarray(picture)
    canvas, font = ImageDraw.Draw(image), _font(image.height)
    width = max(2, round(image.height / 200))
    colour, sign = (CAME, "+") if came else (WENT, "-")
    drawn = [(i, KEPT, "", width) for i in kept] + [(i, colour, f"{sign} ", 2 * width) for i in changed]
    for i, shade, mark, thick in drawn:
        text = f"{mark}{classes[int(detections.labels[i])]} {float(detections.scores[i]):.2f}"
        _box(canvas, detections.boxes[i].tolist(), text, shade, thick, font, image.size)
    return np.array(image)


def side_by_side(pictures: list[np.ndarray]) -> np.ndarray:
    """Return pictures (H, W, 3) uint8 of one height in a row, white between them."""
    gap = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    row = [part for picture in pictures for part in (picture, gap)]
    return np.concatenate(row[:-1], 1)


def _box(
    canvas: ImageDraw.ImageDraw, box: list[float], text: str, colour: Any, width: int, font: Any, size: tuple[int, int]
) -> None:
    """Draw a box [x1, y1, x2, y2] with its label, inside the picture of this size; nothing where it is outside."""
    x1, y1, x2, y2 = box
    x1, x2 = max(x1, 0), min(x2, size[0]) - 1
    y1, y2 = max(y1, 0), min(y2, size[1]) - 1
    if x2 > x1 and y2 > y1:
        canvas.rectangle((x1, y1, x2, y2), outline=colour, width=width)
        _tag(canvas, (x1, y1), text, colour, font, size)


def _tag(canvas: ImageDraw.ImageDraw, corner: Any, text: str, colour: Any, font: Any, size: tuple[int, int]) -> None:
    """Draw a label on its own ground, above the box where there is room and inside the picture always."""
    left, top, right, bottom = canvas.textbbox((0, 0), text, font=font)
    width, height = right - left + 4, bottom - top + 4
    x = min(max(corner[0], 0), max(size[0] - width, 0))
    y = corner[1] - height if corner[1] >= height else corner[1]
    canvas.rectangle((x, y, x + width, y + height), fill=colour)
    canvas.text((x + 2 - left, y + 2 - top), text, fill=(0, 0, 0), font=font)


def write_caption(picture: np.ndarray, title: str, lines: int = 26) -> np.ndarray:
    """Return the picture (H, W, 3) uint8 with a strip with a line of text above it. See `draw_boxes` for `lines`."""
    font = _font(picture.shape[0], lines)
    _, top, _, bottom = font.getbbox("Ág")  # one height for every title
    strip = Image.new("RGB", (picture.shape[1], round(bottom - top) + 12), (255, 255, 255))
    ImageDraw.Draw(strip).text((4, 6 - top), title, fill=(0, 0, 0), font=font)
    return np.concatenate([np.array(strip), picture])
