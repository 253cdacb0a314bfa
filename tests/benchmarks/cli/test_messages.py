"""The library neither prints nor names options; the command line puts what it says into its own words."""

import ast
import logging
import re

import pytest
from click.testing import CliRunner
from vocbench.benchmarks.cli.main import cli
from vocbench.benchmarks.cli.messages import OPTIONS, Notices, in_options

from tests.support.commands import ROOT, vocbench

FOLDERS = ("restorer", "detection", "pipeline", "benchmarks")
# Programs of their own, started by `python -m`, end so: their options are theirs.
PROGRAM = 'if __name__ == "__main__":'
OTHERS = {"--quiet", "--version", "--size"}  # pip's, which brings a wheel, a compiler's, and a page's style's
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*(=\S+)?")


def library():
    """Every module of the library with what it holds."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if path.parent.name != "cli" and not (path.parent.name == "experiments" and PROGRAM in text):
                yield path.relative_to(ROOT).as_posix(), ast.parse(text)


def test_the_library_never_prints():
    assert len(list(library())) > 60
    for name, module in library():
        called = [node.func for node in ast.walk(module) if isinstance(node, ast.Call)]
        assert not [one.lineno for one in called if isinstance(one, ast.Name) and one.id == "print"], name
        assert not [one.lineno for one in called if isinstance(one, ast.Attribute) and one.attr == "echo"], name
        imported = [node for node in ast.walk(module) if isinstance(node, (ast.Import, ast.ImportFrom))]
        assert "click" not in [alias.name for node in imported for alias in node.names], name


def test_the_library_names_no_options():
    ours = {"--version", *options_of(cli)}
    assert "--restorer" in ours
    for name, module in library():
        texts = [node.value for node in ast.walk(module) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        named = {found[0] for text in texts for found in OPTION.finditer(text)}
        assert named & ours <= OTHERS, name


def options_of(command):
    for name in getattr(command, "list_commands", lambda context: [])(None):
        yield from options_of(command.get_command(None, name))
    yield from (flag for option in command.params for flag in option.opts if flag.startswith("--"))


def test_arguments_are_translated_into_options_that_there_are():
    assert set(OPTIONS.values()) <= set(options_of(cli))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: there; go on with `resume=True` or choose another `out`", "a: there; go on with --resume or choose another --out"),
        ("`guard=False` goes on with its runs", "--no-guard goes on with its runs"),
        ("use `engine='torch'` here", "use --engine torch here"),
        ("`learning_rate` or\n  `clip`", "--learning-rate or --clip"),
        ("see `vocbench weights list`", "see `vocbench weights list`"),
        ("the class `dog`", "the class `dog`"),
    ],
)  # fmt: skip
def test_messages_name_options_in_place_of_arguments(text, told):
    assert in_options(text) == told


def test_what_the_library_logs_is_a_notice(capsys):
    logger = logging.Logger("vocbench.tried")
    logger.addHandler(Notices())
    logger.warning("%s: not used; give another `engine`", "triton")
    logger.info("nothing to say")
    assert capsys.readouterr().err == "notice: triton: not used; give another --engine\n"


def test_an_error_of_the_library_is_one_line_in_the_commands_words(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"no model")
    (tmp_path / "a.png").write_bytes(b"")
    done = vocbench("detect", tmp_path / "a.png", "--detector", tmp_path / "model.pt")
    assert done.returncode == 2
    assert "may run code when it is loaded; allow it by --trust-weights if you trust it" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_nothing_is_printed_before_a_refusal(tmp_path):
    done = CliRunner().invoke(cli, ["run", "--data", str(tmp_path / "none")])
    assert done.exit_code == 1  # main() makes 2 of what is raised here
    assert done.output == ""
