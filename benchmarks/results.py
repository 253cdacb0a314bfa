"""From a run's store to its results: AP per class and variant, its interval, what restoring brought back, quality, time."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from vocbench.benchmarks.sample import open_data
from vocbench.benchmarks.settings import RunSettings
from vocbench.benchmarks.store import Store
from vocbench.detection.average_precision import Evaluation, evaluate
from vocbench.detection.detections import Detections, Objects

RESAMPLES = 1000


@dataclass(frozen=True)
class Finished:
    """A run as its folder holds it."""

    folder: Path
    record: dict[str, Any]
    table: Any  # the store as a pandas table
    truth: dict[str, Objects]  # by image id

    @property
    def settings(self) -> RunSettings:
        given = dict(self.record["settings"])
        given["restorers"], given["detectors"] = tuple(given["restorers"]), tuple(given["detectors"])
        return RunSettings(**given)

    @property
    def detectors(self) -> list[str]:
        return list(dict.fromkeys(self.table["detector"]))

    @property
    def variants(self) -> list[str]:
        return list(dict.fromkeys(self.table["variant"]))


def load_run(folder: str | Path) -> Finished:
    """The run in `folder`; FileNotFoundError or ValueError where there is none or it is not finished."""
    folder = Path(folder)
    if not (folder / "run.json").is_file():
        raise FileNotFoundError(f"{folder}: holds no run (no run.json); `vocbench runs` lists runs")
    record = json.loads((folder / "run.json").read_text())
    table = Store(record.get("store") or folder / "store").read()
    given = record["settings"]
    data = open_data(given["data"], given["split"])
    ids = data.ids[: given["limit"]]
    missing = len(set(ids) - set(table["image"]))
    if missing:
        raise ValueError(f"{folder}: {missing} of {len(ids)} photos are not computed yet; go on with `vocbench run --resume`")
    return Finished(folder, record, table, {image: data.objects(image) for image in ids})


def failed_images(run: Finished) -> list[str]:
    """Images on which a restorer failed, left out of every variant alike."""
    return sorted(set(run.table.loc[run.table["error"].notna(), "image"]))


def predictions(run: Finished, variant: str, detector: str) -> tuple[dict[str, Detections], dict[str, Objects], list[str]]:
    """Detections and ground truth by (image, draw) key, in the order of the split, and each key's image."""
    skipped = set(failed_images(run))
    table = run.table
    chosen = table[(table["variant"] == variant) & (table["detector"] == detector) & ~table["image"].isin(skipped)]
    found, truth, images = {}, {}, []
    for row in chosen.itertuples():
        key = f"{row.image}#{row.draw}"
        labels = np.asarray(row.labels, np.int64)
        boxes = np.asarray(row.boxes, np.float32).reshape(-1, 4)
        found[key] = Detections(boxes, np.asarray(row.scores, np.float32), labels)  # type: ignore[arg-type]
        truth[key] = run.truth[row.image]
        images.append(row.image)
    return found, truth, images


def evaluations(run: Finished, detector: str) -> dict[str, tuple[Evaluation, list[str]]]:
    """Each variant's evaluation and the images behind its keys."""
    result = {}
    for variant in run.variants:
        found, truth, images = predictions(run, variant, detector)
        result[variant] = (evaluate(found, truth, run.settings.protocol), images)
    return result


def _mean(values) -> float | None:
    """Mean of the finite numbers, None of nothing."""
    numbers = [float(value) for value in values if value is not None and math.isfinite(value)]
    return float(np.mean(numbers)) if numbers else None


def _interval(evaluation: Evaluation, images: list[str], seed: int) -> list[float | None]:
    if evaluation.protocol == "coco" or evaluation.map is None:
        return [None, None]  # pycocotools gives no matches to draw again
    return list(evaluation.bootstrap(RESAMPLES, seed, images))


def _difference(value: float | None, base: float | None) -> float | None:
    return None if value is None or base is None else value - base


def _recovered(value: float | None, clean: float | None, distorted: float | None) -> float | None:
    lost, gained = _difference(clean, distorted), _difference(value, distorted)
    return None if gained is None or not lost else gained / lost


def results(run: Finished, detector: str) -> dict[str, Any]:
    """The content of results.json for one detector."""
    evaluated = evaluations(run, detector)
    settings = run.settings
    clean, distorted = (evaluated[name][0].map for name in ("clean", "distorted"))
    variants = {}
    for name, (evaluation, images) in evaluated.items():
        rows = run.table[(run.table["variant"] == name) & (run.table["detector"] == detector)]
        variants[name] = {
            "map": evaluation.map,
            "map_ci95": _interval(evaluation, images, settings.seed),
            "ap": evaluation.ap,
            "delta_map": _difference(evaluation.map, distorted),
            "recovered": _recovered(evaluation.map, clean, distorted),
            "psnr": _mean(rows["psnr"]),
            "ssim": _mean(rows["ssim"]),
            "seconds": {stage: _mean(rows[f"seconds_{stage}"]) for stage in ("degrade", "restore", "detect")},
        }
    skipped = failed_images(run)
    counted = [objects for image, objects in run.truth.items() if image not in set(skipped)]
    return {
        "protocol": settings.protocol,
        "iou": None if settings.protocol == "coco" else 0.5,
        "dataset": {
            "name": run.record["dataset"]["name"],
            "split": settings.split,
            "images": len(counted),
            "objects": int(sum((~objects.difficult).sum() for objects in counted)),
        },
        "recipe": settings.recipe if settings.levels is None else json.loads(settings.levels),
        "seed": settings.seed,
        "draws": settings.draws,
        "detector": {"name": detector, "weights_sha256": run.record["weights_sha256"].get(detector)},
        "variants": variants,
        "skipped": skipped,
        "chosen": _notes(run, detector),
        "busy": busy(run.folder),
    }


def _notes(run: Finished, detector: str) -> dict[str, Mapping[str, int]]:
    """How often a restorer told the same of itself, such as RL-Restore's sequences of tools."""
    rows = run.table[(run.table["detector"] == detector) & run.table["note"].notna()]
    counted: dict[str, dict[str, int]] = {}
    for variant, note in zip(rows["variant"], rows["note"], strict=True):
        group = counted.setdefault(variant, {})
        group[note] = group.get(note, 0) + 1
    return {name: dict(sorted(group.items(), key=lambda pair: (-pair[1], pair[0]))) for name, group in counted.items()}


def busy(folder: Path) -> dict[str, float]:
    """The share of the run's wall time that each stage took in the main process."""
    path = folder / "timing.json"
    if not path.is_file():
        return {}
    spent = json.loads(path.read_text())
    wall = spent.pop("wall")
    return {stage: seconds / wall for stage, seconds in spent.items()} | {"wall_seconds": wall}
