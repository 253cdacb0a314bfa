"""`vocbench evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

import click
from vocbench.benchmarks.cli.options import Named, only_split
from vocbench.pipeline.names import PROTOCOLS


@click.command("evaluate")
@click.option("--detections", required=True, type=click.Path(path_type=Path), help="JSON: by image id, or COCO results.")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="A VOC20xx folder or a JSON of annotations.")
@click.option("--split", help="Image set; for a JSON of annotations optional.")
@click.option("--protocol", default="voc07", show_default=True, type=Named("protocol", PROTOCOLS))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate_command(detections: Path, data: Path, split: str | None, protocol: str, as_json: bool) -> None:
    """Average precision of any detector's results under a named protocol.

    Detections are {image id: {"boxes": [[x1, y1, x2, y2]], "scores": [], "labels": ["dog"]}} in pixels from 0, or COCO results,
    whose image_id is VOC's id (or that of `file_name`) and whose category_id counts VOC's classes from 1 in alphabetical order.
    """
    from vocbench.detection.average_precision import PROTOCOLS as MEANINGS
    from vocbench.detection.average_precision import evaluate
    from vocbench.detection.datasets.voc import read_annotations_json, read_voc
    from vocbench.detection.exchange import read_detections

    if data.suffix == ".json":
        truth = read_annotations_json(data, split)
    else:
        found = read_voc(data, split or only_split(str(data)))
        truth = {image: found.objects(image) for image in found.ids}
    result = evaluate(read_detections(detections, list(truth)), truth, protocol)
    if as_json:
        click.echo(json.dumps({"protocol": protocol, "map": result.map, "ap": result.ap}))
        return
    click.echo(f"protocol {protocol}: {MEANINGS[protocol]}")
    for name, value in result.ap.items():
        click.echo(f"{name:12s} {'-' if value is None else f'{100 * value:5.1f}'}")
    click.echo(f"{'mAP':12s} {'-' if result.map is None else f'{100 * result.map:5.1f}'}")
