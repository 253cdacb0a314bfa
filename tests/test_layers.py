"""What holds the layers and the packaging together."""

import ast
import subprocess
import sys
import zipfile
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.commands import ROOT

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib  # type: ignore[no-redef]

MAY_IMPORT = {
    "restorer": {"restorer"},
    "detection": {"detection"},
    "pipeline": {"pipeline", "restorer", "detection"},
    "benchmarks": {"benchmarks", "pipeline", "restorer", "detection"},
}
# Inside a folder: its modules and folders from the lowest layer up. Those of one layer may import each other.
LAYERS = {
    "restorer": [
        {"contract", "web", "files", "cutting", "weight_files", "images", "tiling", "quality"},
        {"guard"},
        {"degradations"},
        {"networks"},
        {"engines"},
        {"training"},
    ],
    "detection": [
        {"detections", "columns", "drawing", "coco"},
        {"datasets", "detectors"},
        {"average_precision", "changes", "error_types", "exchange", "exports"},
        {"confusion", "object_sizes"},
    ],
    "pipeline": [
        {"names", "specs", "chain", "gate", "own", "scale", "videos", "weights"},
        {"integrations", "task_loss", "task_score"},
        {"models"},
        {"photos"},
    ],
    "benchmarks": [
        {"settings", "variants", "sample", "classes", "copies", "voc_folder", "data_check", "repaired_copy", "memory", "words"},
        {"storage"},
        {"running"},
        {"results"},
        {"reporting"},
        {"experiments"},
        {"cli"},
        {"__main__"},
    ],
}
UPWARDS: dict[tuple[str, str], str] = {  # file and what it imports from a layer above: why
}


def modules(folder: str) -> list[Path]:
    """Every module of a folder, however deep."""
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """What of this project a file imports, at its top or inside functions: modules, or the names taken out of them, in full."""
    names = set[str]()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports by a relative name"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    assert not any(name.partition(".")[0] in MAY_IMPORT for name in names), f"{path} imports a second copy of a folder"
    return {name for name in names if name.startswith("vocbench.")}


def layer(name: str) -> int:
    """The layer of a module inside its folder, by its full name; what a folder itself holds is below all."""
    _, folder, inner, *_ = [*name.split("."), "__init__"]
    if inner == "__init__":
        return -1
    return next(i for i, together in enumerate(LAYERS[folder]) if inner in together)


def upward_imports(folder: str) -> set[tuple[str, str]]:
    found = set()
    for path in modules(folder):
        if path == ROOT / folder / "__init__.py":
            continue  # the public face: it stands above all, and imports by name when it is asked
        own = ".".join(["vocbench", *path.relative_to(ROOT).with_suffix("").parts])
        for name in imported(path):
            if name.split(".")[1] == folder and layer(name) > layer(own):
                found.add((path.relative_to(ROOT).as_posix(), name))
    return found


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_run_one_way(folder):
    assert len(modules(folder)) > 5
    for path in modules(folder):
        assert {name.split(".")[1] for name in imported(path)} <= MAY_IMPORT[folder], path


@pytest.mark.parametrize("folder", LAYERS)
def test_imports_run_one_way_inside_a_folder(folder):
    assert upward_imports(folder) == {(path, name) for path, name in UPWARDS if path.startswith(folder)}


def test_no_modules_import_each_other_in_a_circle():
    """Inside a layer too, at whatever depth, and for types alone."""
    paths = {".".join(["vocbench", *path.relative_to(ROOT).with_suffix("").parts]): path for f in LAYERS for path in modules(f)}
    graph = {}
    for module, path in paths.items():
        whence = {name if name in paths else name.rpartition(".")[0] for name in imported(path)}
        graph[module] = {name for name in whence if name in paths}
    assert sum(map(len, graph.values())) > 500
    assert len(list(TopologicalSorter(graph).static_order())) == len(paths)  # or CycleError, which names the circle


@pytest.mark.parametrize("folder", LAYERS)
def test_every_module_has_one_layer(folder):
    there = {path.stem for path in (ROOT / folder).glob("*.py")} | {p.parent.name for p in (ROOT / folder).glob("*/*.py")}
    listed = [name for together in LAYERS[folder] for name in together]
    assert sorted(listed) == sorted(there - {"__init__"})


def test_no_file_of_code_is_above_400_lines():
    kinds = (".py", ".cpp", ".h", ".html", ".css", ".js")
    files = [path for folder in (*MAY_IMPORT, "tests") for path in (ROOT / folder).rglob("*") if path.suffix in kinds]
    assert len(files) > 250
    assert {path: lines for path in files if (lines := len(path.read_text().splitlines())) > 400} == {}


def test_computing_imports_no_reporting():
    """What a unit computes is drawn by whom the driver is handed, so a worker needs no page, table or chart."""
    computing = [*modules("benchmarks/running"), *modules("benchmarks/storage")]
    assert len(computing) > 12
    for path in computing:
        assert not {"results", "reporting"} & {name.split(".")[2] for name in imported(path)}, path


def test_only_its_adapter_imports_ultralytics():
    for folder in MAY_IMPORT:
        for path in modules(folder):
            if path.name not in ("ultralytics_adapter.py",):
                assert "import ultralytics" not in path.read_text(), path
                assert "from ultralytics" not in path.read_text(), path


def test_the_packages_listed_are_the_folders():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    with_code = {path.parent for folder in MAY_IMPORT for path in modules(folder)}
    assert sorted(listed["packages"]) == sorted(".".join(["vocbench", *path.relative_to(ROOT).parts]) for path in with_code)
    assert listed["package-dir"] == {f"vocbench.{folder}": folder for folder in MAY_IMPORT}  # subfolders go with them
    for path in with_code:
        assert (path / "__init__.py").is_file(), path
    for folder in MAY_IMPORT:
        assert (ROOT / folder / "py.typed").is_file(), folder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the tracked files, so that building leaves nothing here."""
    source = tmp_path_factory.mktemp("source")
    tracked = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("needs a git checkout")
    for name in tracked.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    return source


def pip(*arguments):
    command = [sys.executable, "-m", "pip", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", out, source)
    return next(out.glob("*.whl"))


def test_every_tracked_file_of_the_packages_is_in_the_wheel(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(["git", "-C", str(ROOT), "ls-files", *MAY_IMPORT], capture_output=True, text=True, check=True)
    for name in tracked.stdout.splitlines():
        assert f"vocbench/{name}" in held


INSIDE = """
import sys
from importlib.metadata import entry_points
from importlib.resources import files
from vocbench.benchmarks import sample
from vocbench.benchmarks.reporting.page import environment
from vocbench.pipeline.weights import find
from vocbench.restorer.engines import native

assert sample.__file__.startswith(sys.argv[1]), sample.__file__
assert len(sample.sample_split().objects("bus").labels) == 6
assert native.SOURCE.is_file()
assert environment().get_template("sweep.html") and environment().get_template("report.html")
assert str(find("owan")).startswith(sys.argv[1])
assert all((files(f"vocbench.{folder}") / "py.typed").is_file() for folder in sys.argv[2:])
(command,) = entry_points(group="console_scripts", name="vocbench")
assert callable(command.load())
"""


def test_an_installed_wheel_opens_its_data_files(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    path = {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"}
    for given in (["-c", INSIDE, str(tmp_path), *MAY_IMPORT], ["-m", "vocbench.benchmarks", "--help"]):
        command = [sys.executable, *given]
        done = subprocess.run(command, capture_output=True, text=True, env=path, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr


def test_an_editable_install_of_links_opens_its_data_files(source, tmp_path):
    """`editable_mode=strict`, which editors and type checkers follow, puts a folder of links on the path."""
    strict = ("--config-settings", "editable_mode=strict", "--editable", source)
    pip("install", "--quiet", "--no-deps", "--ignore-installed", "--prefix", tmp_path, *strict)
    (path,) = tmp_path.rglob("__editable__*.pth")
    links = path.read_text().strip()
    assert links.startswith(str(source / "build"))
    environment = {"PYTHONPATH": f"{links}:{path.parent}", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", INSIDE, links, *MAY_IMPORT]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr


def test_nothing_of_this_machine_is_tracked():
    tracked = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True).stdout.split()
    for name in tracked:
        path = ROOT / name
        if path.is_file() and path.suffix in (".py", ".md", ".toml", ".cpp", ".json"):
            assert str(ROOT.parent) + "/" not in path.read_text(encoding="utf-8"), name
