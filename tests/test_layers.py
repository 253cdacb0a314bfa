"""What holds the layers and the packaging together."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib  # type: ignore[no-redef]

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "restorer": {"restorer"},
    "detection": {"detection"},
    "pipeline": {"pipeline", "restorer", "detection"},
    "benchmarks": {"benchmarks", "pipeline", "restorer", "detection"},
}


def imported(path: Path) -> set[str]:
    """The folders of this project that a file imports, by their names."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    assert not any(name.partition(".")[0] in MAY_IMPORT for name in names), f"{path} imports a second copy of a folder"
    return {name.split(".")[1] for name in names if name.startswith("vocbench.")}


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_run_one_way(folder):
    for path in (ROOT / folder).glob("*.py"):
        assert imported(path) <= MAY_IMPORT[folder], path


def test_only_its_adapter_imports_ultralytics():
    for folder in MAY_IMPORT:
        for path in (ROOT / folder).glob("*.py"):
            if path.name not in ("ultralytics_adapter.py",):
                assert "import ultralytics" not in path.read_text(), path
                assert "from ultralytics" not in path.read_text(), path


def test_the_packages_listed_are_the_folders():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert set(listed["packages"]) == {f"vocbench.{folder}" for folder in MAY_IMPORT}
    assert listed["package-dir"] == {f"vocbench.{folder}": folder for folder in MAY_IMPORT}
    for folder in MAY_IMPORT:
        assert not [path for path in (ROOT / folder).rglob("__init__.py") if path.parent != ROOT / folder]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    source = out / "source"
    tracked = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("needs a git checkout")
    for name in tracked.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.whl"))


def test_every_tracked_file_of_the_packages_is_in_the_wheel(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(["git", "-C", str(ROOT), "ls-files", *MAY_IMPORT], capture_output=True, text=True, check=True)
    for name in tracked.stdout.splitlines():
        assert f"vocbench/{name}" in held


def test_an_installed_wheel_opens_its_data_files(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "import vocbench.benchmarks.sample as s, vocbench.restorer.native as n;"
        f"assert s.__file__.startswith({str(tmp_path)!r}), s.__file__;"
        "assert len(s.sample_split().objects('bus').labels) == 6; assert n.SOURCE.is_file()"
    )
    path = {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=path, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr


def test_nothing_of_this_machine_is_tracked():
    tracked = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True).stdout.split()
    for name in tracked:
        path = ROOT / name
        if path.is_file() and path.suffix in (".py", ".md", ".toml", ".cpp", ".json"):
            assert str(ROOT.parent) + "/" not in path.read_text(encoding="utf-8"), name
