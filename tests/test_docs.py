"""The documents agree with each other and with the files they name."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from tests.support.commands import ROOT

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib  # type: ignore[no-redef]

DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), *(ROOT / "restorer" / "weights").glob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def linked(page: Path) -> set[Path]:
    """The files of this project that a page links to, resolved."""
    targets = [target.partition("#")[0] for target in LINK.findall(read(page)) if "://" not in target]
    return {(page.parent / target).resolve() for target in targets if target}


def test_the_index_links_every_page():
    wanted = set(PAGES) - {DOCS / "README.md"}
    assert len(wanted) >= 10
    assert wanted <= linked(DOCS / "README.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_to_a_file(page):
    assert [target for target in linked(page) if not target.exists()] == []


def test_the_architecture_names_every_package():
    named = set(re.findall(r"^\| `([a-z_/]+)/`", read(DOCS / "architecture.md"), re.M))
    listed = tomllib.loads(read(ROOT / "pyproject.toml"))["tool"]["setuptools"]["packages"]
    assert named == {name.removeprefix("vocbench.").replace(".", "/") for name in listed} | {"tests"}


COMMAND = re.compile(r"^(?:docker run .* )?vocbench(?::cuda)? ([a-z].*)$")


def command_lines() -> list[str]:
    """The lines of vocbench in the fenced blocks of the documents, without the program's name."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^```(?:bash)?\n(.*?)^```", read(page), re.M | re.S):
            lines = block.replace("\\\n", " ").splitlines()
            parts = [part.strip() for line in lines for part in line.partition(" #")[0].split("&&")]
            found += [match[1] for part in parts if (match := COMMAND.match(part))]
    return sorted(set(found))


@pytest.mark.parametrize("line", command_lines())
def test_every_command_line_of_the_documents_has_options_that_there_are(line):
    from click import Option
    from vocbench.benchmarks.cli.reference import commands

    words = shlex.split(line.replace("[OPTIONS]", ""))
    name, command = max((one for one in commands() if words[: len(one[0].split())] == one[0].split()), key=lambda one: one[0])
    flags = {flag for option in command.params if isinstance(option, Option) for flag in (*option.opts, *option.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= flags | {"--help"}, name


def test_the_documents_show_commands():
    assert len(command_lines()) > 15


def test_the_notebooks_cells_run(tmp_path, monkeypatch, mobilenet_weights):
    monkeypatch.setattr("tempfile.mkdtemp", lambda: str(tmp_path))
    cells = json.loads(read(DOCS / "notebook.ipynb"))["cells"]
    scope: dict = {"__name__": "__main__"}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "notebook.ipynb", "exec"), scope)
    assert scope["restored"].shape == scope["clean"].shape
    assert (tmp_path / "run" / "report.html").is_file()


def test_the_tests_named_as_evidence_exist():
    """docs/reliability.md says of each fault which test injects it."""
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", read(DOCS / "reliability.md")))
    there = {name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", read(path))}
    assert len(named) > 15
    assert named - there == set()


def test_the_citation_has_the_version_and_the_licence_of_the_package():
    citation = yaml.safe_load(read(ROOT / "CITATION.cff"))
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])


def test_the_paper_has_one_title():
    (cited,) = yaml.safe_load(read(ROOT / "CITATION.cff"))["references"]
    (title,) = re.findall(r"^\s*title\s*= \{(.+)\}", read(ROOT / "README.md"), re.M)
    assert cited["title"] == title


def test_the_public_workflow_runs_the_gate():
    workflow = yaml.safe_load(read(ROOT / ".github" / "workflows" / "checks.yml"))
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]
