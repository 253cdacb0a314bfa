"""Shared by all commands: command classes, option types, options, and how `auto` and missing values are resolved.

Nothing here is slow to import, so that help and messages about typing errors appear at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from vocbench.pipeline.names import DETECTORS, ENGINES, NETWORKS, RESTORERS, SCALES
from vocbench.pipeline.specs import OWN as OWN_FACTORY
from vocbench.pipeline.specs import parse_spec
from vocbench.restorer.cutting import Tiling
from vocbench.restorer.files import closest_name


def did_you_mean(given: str, known: Sequence[str]) -> str:
    """Return a question that suggests the closest of the known names, empty where none is close."""
    close = get_close_matches(given.lower(), known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""


def unknown(kind: str, given: str, names: Sequence[str], known: str) -> str:
    """Return the message for an unknown name, with the known ones and the closest of them."""
    question = did_you_mean(given, names)
    return f"unknown {kind} {given!r}; {f'{question} Choose' if question else 'choose'} one of {known}"


# heading in a command's help: its options, in this order; all others stand below "Options"
HEADINGS = {
    "What": ("data", "split", "skip", "limit", "upright", "classes", "degradations", "recipe", "draws", "seed", "restorer",
             "restorers", "guard", "restore_at", "gate", "do_no_harm", "detector", "detectors", "protocol", "score", "seconds",
             "config"),
    "Results": ("out", "form", "quality", "skip_existing", "compare", "as_json", "examples", "track", "store", "quiet",
                "verbose"),
    "How it is computed": ("device", "engine", "tile", "batch", "workers", "unit", "runner", "ray_address", "gpus_per_worker",
                           "cpus_per_worker", "resume", "accept_changes", "on_error", "trust_weights", "max_megapixels"),
}  # fmt: skip
FEW = 10  # options, up to which they stand in one list


class Command(click.Command):
    """A command whose help ends with examples and has headings where there are many options."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **given: Any):
        super().__init__(*args, **given)
        self.examples = tuple(examples)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.MissingParameter as error:
            about = [getattr(error.param, "help", None), f"An example: {self.examples[0]}" if self.examples else None]
            error.message = error.message or " ".join(filter(None, about))  # type: ignore[misc]  # click leaves it empty
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        records = {option.name: record for option in options if (record := option.get_help_record(ctx))}
        if len(records) <= FEW:
            super().format_options(ctx, formatter)
            return
        sections = {title: [records.pop(name) for name in names if name in records] for title, names in HEADINGS.items()}
        for title, rows in (sections | {"Other options": list(records.values())}).items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in self.examples))


class Group(click.Group):
    """A group that suggests the command a mistyped one is close to."""

    command_class = Command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            known = self.list_commands(ctx)
            if args[0] == "help":
                ctx.fail(f"use `{ctx.command_path} --help`, or `{ctx.command_path} COMMAND --help` for one command")
            ctx.fail(unknown("command", args[0], known, ", ".join(known)))
        return super().resolve_command(ctx, args)


class Named(click.Choice):
    """A choice of names; the message for an unknown one lists them and suggests the closest."""

    def __init__(self, kind: str, names: Sequence[str]):
        super().__init__(list(names))
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value not in self.choices:
            self.fail(unknown(self.kind, str(value), self.choices, ", ".join(self.choices)), param, ctx)
        return value


class Model(click.ParamType):
    """A specification `[LABEL=]NAME[:WEIGHTS]` of a restorer or a detector, checked and passed on as text."""

    name = "[LABEL=]NAME[:WEIGHTS]"

    def __init__(self, kind: str, names: Sequence[str]):
        self.kind, self.names = kind, tuple(names)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            spec = parse_spec(str(value), self.names)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if spec.name not in self.names and not OWN_FACTORY.fullmatch(spec.name):
            self.fail(self._unknown(spec.name), param, ctx)
        if spec.weights and spec.name != "ultralytics" and not Path(spec.weights).is_file():
            question = closest_name(Path(spec.weights)) or "; `vocbench weights list` names the known ones"
            self.fail(f"{spec.weights}: no such weights file{question}", param, ctx)
        return str(value)

    def _unknown(self, name: str) -> str:
        """Return the message for a name that is not in the table, with what was probably meant."""
        files = ", FILE.pt or FILE.onnx of ultralytics" if "ultralytics" in self.names else ""
        known = f"{', '.join(one for one in self.names if one != 'ultralytics')}{files}, or FILE.py:factory for your own"
        if name.endswith(".py"):
            return f"{name}: add the function that returns the {self.kind}: {name}:FUNCTION"
        if name.endswith((".safetensors", ".pth", ".pt", ".ckpt")):
            return f"{name}: is a weights file; write the name of the {self.kind} before it, such as {self.names[0]}:{name}"
        if files and re.match(r"(yolo|rtdetr)", name, re.I):
            return f"unknown detector {name!r}; an ultralytics model is named by its file, such as {name}.pt"
        return unknown(self.kind, name, self.names, known)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list:
        from click.shell_completion import CompletionItem

        return [CompletionItem(name) for name in self.names if name.startswith(incomplete)]


RESTORER = Model("restorer", RESTORERS)
DETECTOR = Model("detector", DETECTORS)
OWAN = Model("network of OWAN", (*NETWORKS, "owan-2019"))


class Cutting(click.ParamType):
    """A tiling, SIZE:STRIDE in pixels or `whole`, checked and passed on as text."""

    name = "SIZE:STRIDE|whole"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return str(Tiling.parse(str(value)))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Device(click.ParamType):
    """A device: auto, cpu, cuda or cuda:N. Only `specs.choose_device` checks that it exists."""

    name = "auto|cpu|cuda[:N]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", str(value)):
            self.fail(f"{value}: expected auto, cpu, cuda or cuda:N", param, ctx)
        return str(value)


device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    type=Device(),
    metavar="auto|cpu|cuda[:N]",
    help="Where networks are computed.",
)
tile_option = click.option(
    "--tile", type=Cutting(), metavar="SIZE:STRIDE", help="Tiling in pixels; default: that of the weights."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON in place of the table.")


restore_at_option = click.option(
    "--restore-at", default="native", show_default=True, type=Named("size", SCALES),
    help="Restore at the photo's own size or, faster, at the size that the detector sees.",
)  # fmt: skip


score_option = click.option(
    "--score",
    default=0.3,
    show_default=True,
    type=click.FloatRange(0, 1),
    metavar="N",
    help="Leave out boxes with a lower score.",
)


def model_options(command: Callable) -> Callable:
    """Add the options of every command that builds a restorer."""
    options = [
        click.option(
            "--tile",
            type=Cutting(),
            metavar="SIZE:STRIDE|whole",
            help="Tiling for OWAN, DnCNN, spandrel's networks and your own; default: that of the weights.",
        ),
        click.option(
            "--engine", default="auto", show_default=True, type=Named("engine", ENGINES), help="How OWAN is executed."
        ),
        device_option,
        click.option(
            "--batch", default=0, type=click.IntRange(0), help="Tiles per batch; default: the fastest here, measured once."
        ),
        click.option(
            "--guard/--no-guard",
            default=True,
            show_default=True,
            help="Undo colour changes by OWAN, DnCNN and RL-Restore that no degradation can explain.",
        ),
        click.option("--trust-weights", is_flag=True, help="Allow models that may run code when loaded."),
    ]  # fmt: skip
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
    except FileNotFoundError:
        raise click.BadParameter(f"{path}: no such file{closest_name(path)}") from None
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
    """Return the image set of a data set that has one; where it has several, the user must say which."""
    if not Path(data).exists():
        expected = "expected a VOC20xx folder, COCO's JSON or a YOLO data.yaml"
        raise FileNotFoundError(f"{data}: no such folder or file; {expected}{closest_name(Path(data))}")
    from vocbench.detection.datasets.read import find_splits, read_dataset

    names = find_splits(data)
    if not names:
        read_dataset(data)  # which says what is missing
    if len(names) == 1:
        return names[0]
    raise click.UsageError(f"--split is needed: {data} has {', '.join(names)}")
