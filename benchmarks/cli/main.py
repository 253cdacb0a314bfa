"""The command line `vocbench`. Commands are imported when they are called, so that `vocbench --help` answers at once.

Exit codes: 0 done, 1 a check found something broken or training became NaN, 2 bad input or a failure on the way, which the
message names, 130 interrupted.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys

import click
from vocbench.benchmarks.cli.messages import Notices, in_options
from vocbench.benchmarks.cli.options import Group

# section: {name: (module:attribute, one line of help)}
SECTIONS = {
    "Your own photos": {
        "restore": ("photos:restore", "Restore photos."),
        "detect": ("photos:detect", "Detect objects in photos, restored first if wanted; --compare shows before and after."),
        "compare-detections": (
            "changes:compare_detections",
            "Show what came and went between two sets of detections, without labels.",
        ),
        "demo": ("demo:demo", "Try it in the browser: a dropped picture, sliders, before and after."),
        "video": ("video:video", "Restore a video or camera, detect in it, and save it with boxes."),
    },
    "The benchmark": {
        "run": ("run:run", "Distort, restore, detect, and report mAP per class."),
        "sweep": ("run:sweep", "Report mAP at fixed degradation levels, with mPC and rPC."),
        "report": ("report:report", "Write the outputs of finished runs again."),
        "compare": ("report:compare", "Show the difference between two runs, and whether it is more than chance."),
        "leaderboard": ("report:leaderboard", "Show runs on the same photos in one page: mAP against time per photo."),
        "runs": ("report:runs", "List runs with their headline."),
        "export-predictions": ("report:export_predictions", "Write a run's predictions for other programs."),
        "evaluate": ("evaluate:evaluate_command", "Compute average precision of any detector's results under a protocol."),
    },
    "Data, weights and this machine": {
        "data": ("files:data", "Fetch, check, repair, split or degrade data sets."),
        "weights": ("weights:weights", "List, fetch and verify weights."),
        "doctor": ("report:doctor", "Show device, versions, caches, and which optional packages are installed."),
    },
    "Networks": {
        "train": ("train:train", "Train a restorer."),
        "speed": ("speed:speed", "Measure milliseconds per photo under every engine, beside its peers."),
        "export": ("speed:export", "Write OWAN for ONNX, OpenVINO, TorchScript or torch.export."),
        "quality": ("paper:quality", "Measure PSNR and SSIM of restorers: the paper's Tables 1, 3 and 4."),
        "attention": ("paper:attention", "Show attention weights by distortion: the paper's Figures 7 and 8."),
    },
}
COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class Lazy(Group):
    """A group whose commands live in modules that are imported when needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        return getattr(importlib.import_module(f"vocbench.benchmarks.cli.{module}"), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()])


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vocbench")
def cli() -> None:
    """Restores degraded photos in front of an unchanged detector and measures the detections that come back."""
    with_notices = logging.getLogger("vocbench")
    if not any(isinstance(handler, Notices) for handler in with_notices.handlers):
        with_notices.addHandler(Notices())


def main() -> None:
    """Run the command line; an error that the user can fix becomes one line on stderr."""
    try:
        code = cli(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reading end of the pipe is closed: not an error
        sys.exit(0)
    except (ValueError, OSError, ArithmeticError) as error:
        if os.environ.get("VOCBENCH_DEBUG"):
            raise
        click.echo(f"Error: {in_options(str(error))}", err=True)
        sys.exit(1 if isinstance(error, ArithmeticError) else 2)
