"""docs/commands.md names every command, option and exit code, and none that there is not."""

import re
import shlex

import click
import pytest
from vocbench.benchmarks.cli import main
from vocbench.benchmarks.cli.options import Command
from vocbench.benchmarks.cli.reference import commands

from tests.support.commands import ROOT

PAGE = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
SECTIONS = {
    name: text for name, _, text in (part.partition("\n") for part in PAGE.split("\n### vocbench ")[1:])
}  # fmt: skip
COMMANDS = dict(commands())


def test_every_command_has_its_section():
    assert list(SECTIONS) == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented(name):
    options = [one for one in COMMANDS[name].params if isinstance(one, click.Option) and not one.hidden]
    documented = {
        flag for row in re.findall(r"^\| `([^`]*)`", SECTIONS[name], re.M) for flag in re.findall(r"--[a-z][\w-]*", row)
    }
    there = {flag for one in options for flag in (*one.opts, *one.secondary_opts) if flag.startswith("--")}
    assert documented == there, "python -m vocbench.benchmarks.cli.reference prints the sections of docs/commands.md"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_ends_with_examples_whose_options_there_are(name):
    command = COMMANDS[name]
    assert isinstance(command, Command)
    flags = {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)}
    own = [shlex.split(line)[1:] for line in command.examples if line.startswith(f"vocbench {name}")]
    assert own
    for words in own:
        assert {word for word in words if word.startswith("--")} <= flags


def test_exit_codes_are_those_of_the_command_line():
    documented = set(re.findall(r"^\| (\d+) \|", PAGE, re.M))
    said = set(re.findall(r"\b(\d+) (?:done|a check|bad input|interrupted)", main.__doc__))
    assert documented == said == {"0", "1", "2", "130"}
