"""The tables of every command's options in docs/commands.md: `python -m vocbench.benchmarks.cli.reference` prints them."""

from __future__ import annotations

from collections.abc import Iterator

import click
from vocbench.benchmarks.cli.main import cli


def commands(command: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its name in full, those inside groups included."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            subcommand = command.get_command(context, name)
            if subcommand is not None:
                yield from commands(subcommand, (*path, name))
    else:
        yield " ".join(path), command


def reference() -> str:
    """Return a heading, what it does and a table of options for each command, as Markdown."""
    return "\n".join(_section(name, command) for name, command in commands())


def _section(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"vocbench {name}")
    usage = " ".join(["vocbench", name, *command.collect_usage_pieces(context)])
    lines = [f"### vocbench {name}", "", command.get_short_help_str(200), "", "```", usage, "```", ""]
    options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    if options:
        lines += ["| option | meaning |", "| --- | --- |", *(_row(option, context) for option in options), ""]
    return "\n".join(lines)


def _row(option: click.Option, context: click.Context) -> str:
    shown, text = (part.replace("|", "\\|") for part in option.get_help_record(context) or ("", ""))
    return f"| `{shown}` | {text} |"


if __name__ == "__main__":
    click.echo(reference())
