"""`vocbench train`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from vocbench.benchmarks.cli.options import Command, Named, device_option
from vocbench.pipeline.names import TRAINABLE
from vocbench.pipeline.specs import choose_device
from vocbench.restorer.files import make_folder

if TYPE_CHECKING:
    from vocbench.restorer.training.settings import Training

FOLDER = click.Path(path_type=Path)
DEFAULT_MIXTURE = "voc=0.6,moderate=0.3,clean=0.1"


@click.command(
    cls=Command,
    examples=[
        "vocbench train owan-half --clean photos --out trained --minutes 60",
        "vocbench train owan --init owan.safetensors --clean photos --recipe voc=0.7,clean=0.3 --out trained",
    ],
)
@click.argument("network", type=Named("network", TRAINABLE), metavar="NETWORK")
@click.option("--clean", "folders", multiple=True, required=True, type=FOLDER, help="Folder of clean photos; repeatable.")
@click.option("--recipe", default=DEFAULT_MIXTURE, show_default=True, metavar="NAME=SHARE,…", help="Mixture of recipes.")
@click.option("--out", required=True, type=FOLDER, help="Folder of weights, curve and checkpoint.")
@click.option("--steps", type=int, help="Budget in steps.")
@click.option("--minutes", type=float, help="Budget in minutes of training.")
@click.option("--init", type=FOLDER, help="Weights to start from; for OWAN, those of any resolution.")
@click.option("--patch", default="63", show_default=True, metavar="SIZE,…", help="Patch sizes in pixels, one drawn per step.")
@click.option("--batch", default=32, show_default=True, help="Patches per step, of the first size.")
@click.option("--learning-rate", default=1e-3, show_default=True)
@click.option(
    "--gates-factor",
    default=10.0,
    show_default=True,
    help="Factor on the learning rate for the gates of owan-half and owan-quarter.",
)
@click.option("--only", default="", metavar="PREFIX", help="Train only parameters whose names begin with this, such as gates.")
@click.option("--warmup", default=0, show_default=True, help="Steps of linear learning-rate warm-up.")
@click.option("--betas", nargs=2, type=float, default=(0.9, 0.99), show_default=True, help="Betas of Adam.")
@click.option("--clip", default=1.0, show_default=True, help="Largest norm of the gradient; 0: no clipping.")
@click.option("--ema", default=0.999, show_default=True, help="Decay of the averaged weights.")
@click.option(
    "--task-weight", default=0.04, show_default=True, help="Weight of the detector's feature loss beside L1; 0: L1 alone."
)
@click.option(
    "--task-detector",
    "detectors",
    multiple=True,
    metavar="mobilenet-ssd|FILE.pt",
    help="Detector of that loss, which then also chooses the best weights; repeatable.",
)
@click.option("--trust-weights", is_flag=True, help="Allow .pt files, which may run code when loaded.")
@click.option("--drawn", default=0.0, show_default=True, help="Share of flat, smooth and drawn pictures among the patches.")
@click.option("--scales", metavar="SCALE,…", help="Scales of the photos that patches are cut from; default: 1, 2/3 and 1/3.")
@click.option("--held", default=20, show_default=True, help="Hold out about one in this many photos for validation.")
@click.option("--memory", default=2.0, show_default=True, help="GiB of decoded photos kept in memory.")
@click.option("--validate", default=250, show_default=True, help="Steps between validations and checkpoints.")
@click.option("--seed", default=0, show_default=True)
@device_option
@click.option("--resume", is_flag=True, help="Resume from the checkpoint in --out.")
@click.option("--tile", metavar="SIZE:STRIDE|whole", help="Tiling saved with the weights.")
def train(network, recipe, out, init, device, resume, tile, detectors, trust_weights, **given) -> None:
    """Train a restorer on degraded patches of clean photos.

    Several processes or GPUs: torchrun --nproc_per_node=N -m vocbench.benchmarks train ….
    """
    from vocbench.restorer.training import trainable
    from vocbench.restorer.training.checkpoint import check_beginning
    from vocbench.restorer.training.trainer import Process, Trainer
    from vocbench.restorer.weight_files import save_weights

    chosen, settings = trainable.TRAINABLE[network], _settings(network, recipe, **given)
    if not trust_weights and (risky := next((name for name in detectors if name.endswith(".pt")), None)):
        raise ValueError(f"--task-detector {risky}: may run code when it is loaded; add --trust-weights if you trust it")
    check_beginning(out, resume)
    process = Process.start(choose_device(device))
    made = chosen.begin(init) if init else _fresh(chosen, settings.seed)
    make_folder(out)

    def save(path, state, row) -> None:
        save_weights(path, state, network, tile or chosen.tiling, recipe=recipe, validation=row)

    def say(text: str) -> None:
        if process.rank == 0:
            click.echo(text)

    task = _task_loss(detectors or ("mobilenet-ssd",), process.device) if settings.task_weight else None
    score = _task_score(detectors, settings, tile or chosen.tiling, str(process.device)) if detectors else None
    trainer = Trainer(made, settings, out, save, process, chosen.fast(made, process.device), task, score)
    if resume:
        trainer.resume()
        say(f"resumed at step {trainer.step}")
    rates = trainer.rates()  # by every process: their steps wait for each other
    say("patches a second: " + ", ".join(f"{name} {value:.1f}" for name, value in rates.items()))
    for row in trainer.run():
        say(_line(row))
    process.finish()
    say(f"Weights in {out / network}.safetensors")


def _settings(network, recipe, folders, patch, scales, memory, **given) -> Training:
    """Return the settings of a training from the options that decide what is learnt."""
    from vocbench.restorer.training.patches import parse_mixture
    from vocbench.restorer.training.settings import Training

    if scales:
        given["scales"] = _scales(scales)
    return Training(
        network=network,
        clean=tuple(str(folder) for folder in folders),
        mixture=tuple(parse_mixture(recipe).items()),
        patch=_sizes(patch),
        memory=int(memory * 2**30),
        **given,
    )


def _line(row: Mapping[str, float]) -> str:
    """Return what is printed of a row of the curve."""
    quality = ", ".join(f"{k.removeprefix('psnr_')} {v:.2f} dB" for k, v in row.items() if k.startswith("psnr_"))
    found = f", {row['task_score']:.1%} of the clean photos' detections" if "task_score" in row else ""
    return f"step {row['step']}, {row['minutes']:.1f} min, loss {row['loss']:.4f}: {quality}{found}"


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise ValueError(f"--patch {text!r}: expected sizes in pixels, such as 63,96") from None


def _fresh(chosen, seed: int):
    import torch

    torch.manual_seed(seed)
    return chosen.build()


def _scales(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(scale) for scale in text.split(","))
    except ValueError:
        raise ValueError(f"--scales {text!r}: expected parts of the photos' sides, such as 1,0.5") from None


def _task_loss(detectors, device):
    from vocbench.pipeline.task_loss import DetectorLoss, view

    return DetectorLoss(*map(view, detectors)).to(device)


def _task_score(detectors, settings, tile, device):
    from vocbench.pipeline.models import Options, build_detector, parse_detector
    from vocbench.pipeline.task_score import CleanRecall
    from vocbench.restorer.tiling import Tiled, Tiling

    names = [f"ultralytics:{name}" if name.endswith(".pt") else name for name in detectors]
    options = Options(device=device, trust_weights=True)  # what may run code was refused before
    built = [build_detector(parse_detector(name), options) for name in names]
    recall = CleanRecall(built, dict(settings.mixture), settings.seed, device)
    tiling = Tiling.parse(tile)
    return lambda network, photos: recall(Tiled(network, tiling, 8 if tiling.size else 1), photos)
