"""Write a run's results to experiment trackers, if they are installed: MLflow, Weights & Biases, TensorBoard.

Each gets the settings, the numbers of results.json as `VARIANT/map`, `VARIANT/psnr` and `VARIANT/ap/CLASS`, and, if it stores
files, the tables and the report. Their own configuration, such as MLFLOW_TRACKING_URI, says where they write to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

from vocbench.benchmarks.results.schema import Results, read_results
from vocbench.benchmarks.settings import plain, to_json
from vocbench.benchmarks.storage.run_folder import RunFolder


def numbers(results: Results) -> dict[str, float]:
    """Return every number of results.json that is not None, by a name such as `owan/ap/dog`."""
    values: dict[str, float | None] = {}
    for variant, entry in results.variants.items():
        for key in ("map", "map_all", "delta_map", "recovered", "psnr", "ssim"):
            values[f"{variant}/{key}"] = getattr(entry, key)
        values |= {f"{variant}/ap/{name}": value for name, value in entry.ap.items()}
        for stage in ("degrade", "restore", "detect"):
            values[f"{variant}/seconds/{stage}"] = getattr(entry.seconds, stage)
    return {name: float(value) for name, value in values.items() if value is not None}


def _mlflow(folder: Path, results: Results, settings: Mapping[str, object]) -> None:
    import mlflow

    allowed = {re.sub(r"[^\w\-. :/]", "_", name): value for name, value in numbers(results).items()}
    mlflow.set_experiment("vocbench")
    with mlflow.start_run(run_name=folder.name):
        mlflow.log_params({name: str(value)[:500] for name, value in settings.items()})
        mlflow.log_metrics(allowed)
        for path in _kept(folder):
            mlflow.log_artifact(str(path))


def _wandb(folder: Path, results: Results, settings: Mapping[str, object]) -> None:
    import wandb

    with wandb.init(project="vocbench", name=folder.name, config=dict(settings)) as run:
        run.summary.update(numbers(results))
        for path in _kept(folder):
            run.save(str(path), base_path=str(folder), policy="now")


def _tensorboard(folder: Path, results: Results, settings: Mapping[str, object]) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / "tensorboard")) as writer:
        writer.add_text("settings", f"```\n{to_json(settings)}\n```")
        writer.add_text("table", RunFolder(folder).table("md").read_text())
        for name, value in numbers(results).items():
            writer.add_scalar(name, value)


def _kept(folder: Path) -> Iterable[Path]:
    run = RunFolder(folder)
    return [path for path in (run.results(), run.table("md"), run.table("csv"), run.report(), run.record) if path.is_file()]


TRACKERS: dict[str, tuple[str, Callable[[Path, Results, Mapping[str, object]], None]]] = {
    "mlflow": ("mlflow", _mlflow),
    "wandb": ("wandb", _wandb),
    "tensorboard": ("tensorboard", _tensorboard),
}


def check_trackers(names: Iterable[str]) -> None:
    """Raise ValueError, before a run begins, for a tracker that is not installed."""
    for name in names:
        package = TRACKERS[name][0]
        if find_spec(package) is None:
            raise ValueError(f"the tracker {name}: the package {package} is not installed; pip install {package}")


def write_to(name: str, folder: Path) -> None:
    """Write a finished run to a tracker: the first detector's results."""
    settings = plain(RunFolder(folder).read_record().settings)
    TRACKERS[name][1](folder, read_results(RunFolder(folder).results()), settings)
