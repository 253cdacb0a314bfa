"""The page of `vocbench demo`, built with Gradio, and the computation behind it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image
from vocbench.benchmarks.sample import PHOTOS, photo_path
from vocbench.benchmarks.words import counted
from vocbench.detection.changes import find_changes
from vocbench.detection.detections import Detections, classes_of
from vocbench.detection.drawing import draw_change
from vocbench.pipeline.chain import detect_photos, restore_photo
from vocbench.pipeline.models import build_detector, build_restorer, parse_detector, parse_restorer
from vocbench.pipeline.specs import Options
from vocbench.restorer.degradations.recipes import level_degrade
from vocbench.restorer.images import from_uint8, grey_as, to_uint8

LARGEST = 1280  # pixels of the longer side; larger pictures are shrunk
UNTOUCHED = 100  # JPEG quality at which nothing is compressed
ABOUT = """# vocbench: restore before you detect
Drop a photo, or take one of the examples and degrade it with the sliders. Boxes: **+** came with restoring, **-** went, grey
ones stayed. There is no ground truth here: boxes that came may be wrong."""


@dataclass
class Workshop:
    """Restorers and detectors by specification, built when they are first used."""

    restorers: tuple[str, ...]
    detectors: tuple[str, ...]
    options: Options
    built: dict[tuple[str, str], Any] = field(default_factory=dict)

    def restorer(self, text: str) -> Any:
        return self._built("restorer", text, lambda: build_restorer(parse_restorer(text), self.options))

    def detector(self, text: str) -> Any:
        return self._built("detector", text, lambda: build_detector(parse_detector(text), self.options))

    def _built(self, kind: str, text: str, build: Any) -> Any:
        if (kind, text) not in self.built:
            self.built[kind, text] = build()
        return self.built[kind, text]


@dataclass(frozen=True)
class Tried:
    """Both pictures (H, W, 3) uint8 with boxes, a sentence, and a row for each object that came, went or stayed."""

    pictures: tuple[np.ndarray, np.ndarray]
    sentence: str
    rows: list[list[str]]


def attempt(
    workshop: Workshop, picture: np.ndarray, restorer: str, detector: str, score: float, levels: dict[str, float]
) -> Tried:
    """Degrade a picture (H, W, 3) uint8 at the given levels, restore it, and detect before and after."""
    restore, detect = workshop.restorer(restorer), workshop.detector(detector)
    image = from_uint8(_shrunk(picture))
    if levels:
        image = level_degrade(image, levels, 0, "demo")
    begun = time.perf_counter()
    restored = grey_as(image, restore_photo(restorer, restore, "the picture", image))
    seconds = time.perf_counter() - begun
    before, after = detect_photos(detector, detect, ["the picture", "the restored picture"], [image, restored])
    seconds_both = time.perf_counter() - begun - seconds
    changes = find_changes(before, after, score)
    kept, names = list(zip(*changes.kept, strict=True)) or [(), ()], classes_of(detect)
    pictures = (
        draw_change(to_uint8(image), before, kept[0], changes.went, False, names),
        draw_change(to_uint8(restored), after, kept[1], changes.came, True, names),
    )
    counts = [counted(len(changes.kept) + len(changed), "object") for changed in (changes.went, changes.came)]
    size = f"{image.shape[2]}x{image.shape[1]} pixels"
    times = f"Restoring took {seconds:.2f} s, detecting {seconds_both / 2:.2f} s ({size})."
    sentence = f"**{counts[0]} before, {counts[1]} after.** {times}"
    rows = [["+", *_row(after, i, names)] for i in changes.came] + [["-", *_row(before, i, names)] for i in changes.went]
    return Tried(pictures, sentence, rows + [["", *_row(after, j, names)] for _, j in changes.kept])


def _row(detections: Detections, i: int, classes: Sequence[str]) -> list[str]:
    return [classes[int(detections.labels[i])], f"{float(detections.scores[i]):.2f}"]


def _shrunk(picture: np.ndarray) -> np.ndarray:
    """Return the picture, not larger than `LARGEST`."""
    image = Image.fromarray(picture)
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    return np.asarray(image)


def build_page(workshop: Workshop) -> gr.Blocks:
    """Return the page: inputs on the left, results on the right."""

    def pressed(picture, restorer, detector, score, blur, noise, jpeg):
        if picture is None:
            raise gr.Error("Drop a picture first, or choose an example.", print_exception=False)
        levels = {"blur": blur, "noise": noise} | ({"jpeg": jpeg} if jpeg < UNTOUCHED else {})
        try:
            tried = attempt(
                workshop, picture, restorer, detector, score, {name: level for name, level in levels.items() if level}
            )
        except (ValueError, OSError) as error:
            raise gr.Error(" ".join(str(error).split()), print_exception=False) from None
        return tried.pictures, tried.sentence, tried.rows

    with gr.Blocks(title="vocbench demo", analytics_enabled=False) as page:
        gr.Markdown(ABOUT)
        with gr.Row():
            with gr.Column(scale=2, min_width=280):
                picture = gr.Image(label="Photo", sources=["upload", "clipboard"], height=260, buttons=[])
                gr.Examples([[str(path)] for name in PHOTOS if (path := photo_path(name))], [picture], label="Examples")
                with gr.Accordion("Degrade it first", open=True):
                    blur = gr.Slider(0, 10, 0, step=0.5, label="Blur, sigma in pixels")
                    noise = gr.Slider(0, 60, 0, step=1, label="Noise, sigma of 255")
                    jpeg = gr.Slider(5, UNTOUCHED, UNTOUCHED, step=1, label=f"JPEG quality, {UNTOUCHED}: none")
                restorer = gr.Dropdown(list(workshop.restorers), value=workshop.restorers[0], label="Restorer")
                detector = gr.Dropdown(list(workshop.detectors), value=workshop.detectors[0], label="Detector")
                score = gr.Slider(0.05, 0.95, 0.3, step=0.05, label="Score threshold")
                button = gr.Button("Restore and detect", variant="primary", elem_id="go")
            with gr.Column(scale=3, min_width=320):
                slider = gr.ImageSlider(
                    label="Before | after", type="numpy", interactive=False, max_height=640, elem_id="slider"
                )
                sentence = gr.Markdown(elem_id="sentence")
                table = gr.Dataframe(
                    headers=["", "object", "score"], interactive=False, label="What came (+) and went (-)", buttons=[]
                )
        given = [picture, restorer, detector, score, blur, noise, jpeg]
        button.click(pressed, given, [slider, sentence, table], api_name="restore")
    return page


def serve(workshop: Workshop, host: str, port: int, browser: bool) -> tuple[gr.Blocks, str]:
    """Serve the page in threads of this process; return the page, for the caller to close, and its address."""
    page = build_page(workshop)
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    _, address, _ = page.launch(
        server_name=host, server_port=port or None, inbrowser=browser, share=False, quiet=True, prevent_thread_lock=True,
        ssr_mode=False, theme=theme, footer_links=[], max_file_size="50mb", show_error=True,
        allowed_paths=sorted({str(path.parent) for name in PHOTOS if (path := photo_path(name))}),
    )  # fmt: skip
    return page, address
