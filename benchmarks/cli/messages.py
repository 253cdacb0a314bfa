"""Messages of the library, rewritten for the command line.

Errors and notices of the library name Python's arguments in backquotes: `out`, `resume=True`. Here they become options.
"""

from __future__ import annotations

import logging
import re

import click

# Arguments of the library whose options have another name.
RENAMED = {
    "restorers": "restorer",
    "detectors": "detector",
    "address": "ray-address",
}
SAME = (
    "accept_changes", "batch", "betas", "classes", "clip", "cpus_per_worker", "data", "device", "do_no_harm", "draws", "ema",
    "engine", "examples", "fix_into", "gpus_per_worker", "guard", "init", "learning_rate", "limit", "max_megapixels", "minutes",
    "on_error", "out", "pairs", "patch", "protocol", "quality", "recipe", "resume", "runner", "score", "seed", "share",
    "skip", "split", "steps", "store", "tile", "track", "trust_weights", "unit", "upright", "validate", "workers",
)  # fmt: skip
OPTIONS = {name: "--" + name.replace("_", "-") for name in SAME} | {name: f"--{flag}" for name, flag in RENAMED.items()}
ARGUMENT = re.compile(r"`(\w+)(?:=([^`]*))?`")


def in_options(text: str) -> str:
    """Return a message on one line, the arguments that it names in backquotes written as options."""

    def option(match: re.Match) -> str:
        name, value = match[1], match[2]
        if name not in OPTIONS:
            return match[0]
        if value == "False":
            return f"--no-{OPTIONS[name].removeprefix('--')}"
        return OPTIONS[name] if value in (None, "", "True") else f"{OPTIONS[name]} {value.strip(chr(34) + chr(39))}"

    return ARGUMENT.sub(option, " ".join(text.split()))


class Notices(logging.Handler):
    """Writes what the library logs to standard error, one line each."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"notice: {in_options(record.getMessage())}", err=True)
