"""What works where the system lacks POSIX's modules, as Windows does: they are hidden from a process and all that it starts."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

from vocbench.benchmarks.running.clock import peak_memory

from tests.support.commands import PYTHONPATH, ROOT

POSIX = ("fcntl", "resource", "pwd", "grp", "termios")
HIDE = f"import sys\nsys.modules.update(dict.fromkeys({POSIX}))\n"
CODE = """
import json, sys
from vocbench.benchmarks.cli.main import main
codes = []
for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    try:
        main()
    except SystemExit as ended:
        codes.append(ended.code)
print("\\n" + json.dumps([codes, [name for name in %r if sys.modules.get(name)]]))
"""


def without_posix(lines, folder):
    """Return exit codes of command lines in one process, the hidden modules that were imported all the same, and its stderr."""
    (folder / "hide").mkdir()
    (folder / "hide" / "sitecustomize.py").write_text(HIDE)
    variables = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder / "hide"), PYTHONPATH]), "OMP_NUM_THREADS": "1"}
    given = [sys.executable, "-c", CODE % (POSIX,), json.dumps([[*map(str, line)] for line in lines])]
    done = subprocess.run(given, capture_output=True, text=True, check=False, env=variables, cwd=folder)
    assert done.returncode == 0, done.stderr
    return *json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_a_run_says_what_it_needs(tmp_path):
    (code,), _, told = without_posix([["run", "--data", "sample", "--limit", "1", "--out", "out"]], tmp_path)
    assert code == 2
    assert "runs lock their folder by fcntl, which this system lacks; use Linux, macOS or WSL" in told
    assert not (tmp_path / "out").exists()


def test_memory_that_the_system_does_not_tell_is_left_out(monkeypatch):
    assert 5e7 < peak_memory()["peak_memory_bytes"] < 1e12
    monkeypatch.setitem(sys.modules, "resource", None)
    assert "peak_memory_bytes" not in peak_memory()


def at_the_top(path):
    """Return the modules that a file imports as soon as it is imported itself."""
    found: set[str | None] = set()
    waiting = list(ast.parse(path.read_text()).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            waiting.extend(ast.iter_child_nodes(node))
    return found


FILES = sorted(path for folder in ("restorer", "detection", "pipeline", "benchmarks") for path in (ROOT / folder).rglob("*.py"))


def test_posixs_modules_are_imported_only_where_they_are_needed():
    assert len(FILES) > 100
    assert {"os", "sys", "json"} <= at_the_top(Path(__file__))
    assert [path for path in FILES if at_the_top(path) & set(POSIX)] == []
