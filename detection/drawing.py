"""Draws boxes with class and score on a picture."""

from __future__ import annotations

import colorsys

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from vocbench.detection.detections import VOC_CLASSES, Detections


def class_colour(label: int) -> tuple[int, int, int]:
    """A colour per class, evenly around the hues."""
    red, green, blue = colorsys.hsv_to_rgb((label * 7 % len(VOC_CLASSES)) / len(VOC_CLASSES), 0.85, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _font(height: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(max(10, round(height / 26)))


def draw_boxes(picture: np.ndarray, detections: Detections, least: float = 0.3) -> np.ndarray:
    """A copy of the picture (H, W, 3) uint8 with the boxes of score `least` and above, lowest first."""
    image = Image.fromarray(picture)
    canvas, font = ImageDraw.Draw(image), _font(image.height)
    width = max(2, round(image.height / 160))
    order = np.argsort(np.asarray(detections.scores))
    for i in order:
        score, label = float(detections.scores[i]), int(detections.labels[i])
        if score < least:
            continue
        x1, y1, x2, y2 = (float(value) for value in detections.boxes[i])
        x1, x2 = max(x1, 0), min(x2, image.width) - 1
        y1, y2 = max(y1, 0), min(y2, image.height) - 1
        if x2 <= x1 or y2 <= y1:
            continue
        colour = class_colour(label)
        canvas.rectangle((x1, y1, x2, y2), outline=colour, width=width)
        _tag(canvas, (x1, y1), f"{VOC_CLASSES[label]} {score:.2f}", colour, font, image.size)
    return np.array(image)


def _tag(canvas: ImageDraw.ImageDraw, corner, text: str, colour, font, size: tuple[int, int]) -> None:
    """A label on its own ground, above the box where there is room and inside the picture always."""
    left, top, right, bottom = canvas.textbbox((0, 0), text, font=font)
    width, height = right - left + 4, bottom - top + 4
    x = min(max(corner[0], 0), max(size[0] - width, 0))
    y = corner[1] - height if corner[1] >= height else corner[1]
    canvas.rectangle((x, y, x + width, y + height), fill=colour)
    canvas.text((x + 2 - left, y + 2 - top), text, fill=(0, 0, 0), font=font)


def write_caption(picture: np.ndarray, title: str) -> np.ndarray:
    """The picture (H, W, 3) uint8 with a line of text above it; the result is a strip taller."""
    font = _font(picture.shape[0])
    _, top, _, bottom = font.getbbox("Ág")  # one height for every title
    strip = Image.new("RGB", (picture.shape[1], round(bottom - top) + 12), (255, 255, 255))
    ImageDraw.Draw(strip).text((4, 6 - top), title, fill=(0, 0, 0), font=font)
    return np.concatenate([np.array(strip), picture])
