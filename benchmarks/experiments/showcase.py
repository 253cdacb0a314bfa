"""One photo of the sample clean, distorted and restored side by side, with the boxes found in each: the README's picture.

`python -m vocbench.benchmarks.experiments.showcase --out docs/before-after.jpg` makes it again.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from PIL import Image
from torch import Tensor
from vocbench.benchmarks.reporting.photos import level_text
from vocbench.benchmarks.sample import PHOTOS, sample_split
from vocbench.detection.detections import VOC_CLASSES, Detections
from vocbench.detection.drawing import draw_boxes, side_by_side, write_caption
from vocbench.pipeline.chain import detect_photos, restore_photo
from vocbench.pipeline.models import build_detector, build_restorer, parse_detector, parse_restorer
from vocbench.pipeline.names import DEFAULT_RESTORER
from vocbench.pipeline.specs import Options
from vocbench.restorer.degradations.recipes import RECIPES, degrade
from vocbench.restorer.images import Photo, from_uint8, read_image, to_uint8, write_photo

SCORE = 0.3  # boxes below it are not drawn
LINES = 15  # of text per height of a panel: large enough to read where the picture is shown small
WIDTH = 1600  # pixels of the picture


def panel(title: str, image: Tensor, detections: Detections):
    """Return the image (3, H, W) as (h, W, 3) uint8 with its boxes and a title that names them."""
    kept = [i for i in detections.scores.argsort(descending=True).tolist() if detections.scores[i] >= SCORE]
    names = ", ".join(f"{VOC_CLASSES[int(detections.labels[i])]} {float(detections.scores[i]):.2f}" for i in kept)
    return write_caption(
        draw_boxes(to_uint8(image), detections, SCORE, LINES), f"{title}: {names or 'nothing detections'}", LINES
    )


@click.command()
@click.option("--photo", default="motorcycle_left", show_default=True, type=click.Choice(list(PHOTOS)))
@click.option("--recipe", default="voc", show_default=True, type=click.Choice(list(RECIPES)))
@click.option("--seed", default=0, show_default=True)
@click.option("--restorer", default=DEFAULT_RESTORER, show_default=True)
@click.option("--detector", default="mobilenet-ssd", show_default=True)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A .jpg or .png; one that is there is replaced.")
def main(photo: str, recipe: str, seed: int, restorer: str, detector: str, out: Path) -> None:
    """Draw the README's picture: a photo clean, distorted and restored, with the boxes found in each."""
    clean = read_image(sample_split().photo(photo))
    distorted, levels = degrade(clean, recipe, seed, photo)
    first, second = parse_restorer(restorer), parse_detector(detector)
    restored = restore_photo(first.label, build_restorer(first, Options()), photo, distorted)
    images = {"clean": clean, "distorted": distorted, f"restored by {first.label}": restored}
    detections = detect_photos(second.label, build_detector(second, Options()), list(images), list(images.values()))
    panels = [panel(title, image, one) for (title, image), one in zip(images.items(), detections, strict=True)]
    drawn = Image.fromarray(side_by_side(panels))
    drawn = drawn.resize((WIDTH, round(drawn.height * WIDTH / drawn.width)), Image.Resampling.LANCZOS)
    write_photo(out, Photo(from_uint8(np.asarray(drawn))), quality=85)
    click.echo(f"{out}: {photo}, {level_text(levels)}, {second.label}")


if __name__ == "__main__":
    main()
