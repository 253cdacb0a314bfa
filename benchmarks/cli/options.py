"""Options that several commands share, and what they mean where the user leaves them open.

Nothing here is slow to import, so that help and typing errors answer at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import click


def choose_device(device: str, elsewhere: bool = False) -> str:
    """`auto` is CUDA where there is a GPU; a device that is not there is refused, unless it is to be found `elsewhere`."""
    import torch

    if elsewhere and device.startswith("cuda"):
        return "cuda"  # the one that Ray gives to a worker
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", device):
        raise ValueError(f"--device {device}: expected auto, cpu, cuda or cuda:N")
    boards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.startswith("cuda") and not boards:
        raise ValueError(f"--device {device}: PyTorch sees no CUDA GPU here; use --device cpu")
    if int(device.partition(":")[2] or 0) >= max(boards, 1):
        raise ValueError(f"--device {device}: PyTorch sees {boards} CUDA GPUs here, counted from 0")
    return device


def model_options(command: Callable) -> Callable:
    """Options of every command that builds a restorer."""
    options = [
        click.option(
            "--tile",
            metavar="SIZE:STRIDE|whole",
            help="Cutting policy of OWAN, DnCNN and spandrel's, in pixels; default: the weights' own.",
        ),
        click.option("--engine", default="auto", show_default=True, help="How OWAN is executed."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."),
        click.option("--batch", default=0, help="Tiles at a time; default: the fastest here, found once."),
        click.option("--trust-weights", is_flag=True, help="Allow models that may run code when loaded."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def read_config(context: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    """Take defaults of the command's options from a YAML file; what the command line gives overrides them."""
    if path is None:
        return
    import yaml

    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise click.BadParameter(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from None
    if not isinstance(given, dict):
        raise click.BadParameter(f"{path}: expected lines OPTION: VALUE, such as recipe: voc")
    options = {
        flag.removeprefix("--"): option
        for option in context.command.params
        for flag in option.opts
        if flag.startswith("--") and option.name != "config"
    }
    defaults = {}
    for name, value in given.items():
        option = options.get(str(name))
        if option is None:
            raise click.BadParameter(f"{path}: unknown option {name!r}; there are {', '.join(sorted(options))}")
        if isinstance(value, list) and not option.multiple:  # type: ignore[attr-defined]
            raise click.BadParameter(f"{path}: {name} takes one value, got a list of {len(value)}; give one")
        defaults[option.name] = [value] if option.multiple and not isinstance(value, list) else value  # type: ignore[attr-defined]
    context.default_map = {**(context.default_map or {}), **defaults}


def only_split(data: str) -> str:
    """The image set of a VOC20xx folder that has one; where it has several, the user must say which."""
    from vocbench.detection.datasets.voc import list_splits, read_voc

    names = list_splits(Path(data))
    if not names:
        read_voc(data, "val")  # which says what the folder lacks
    if len(names) == 1:
        return names[0]
    raise click.UsageError(f"--split is needed: {data} has {', '.join(names)}")
