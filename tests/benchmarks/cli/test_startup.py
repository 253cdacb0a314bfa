"""Help, listings and messages about typing errors appear before anything heavy is imported, as sys.modules shows."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from typing import get_args

import pytest
from vocbench.benchmarks.cli.main import COMMANDS, cli
from vocbench.pipeline import names

from tests.support.commands import PYTHONPATH, ROOT

HEAVY = ("torch", "torchvision", "ray", "ultralytics", "openvino", "matplotlib", "pandas")
CODE = """
import json, sys
from vocbench.benchmarks.cli.main import main
told = []
for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    try:
        main()
    except SystemExit as ended:
        told.append([arguments, ended.code, sorted(set(%r) & set(sys.modules))])
print("\\n" + json.dumps(told))
"""


def started(lines, folder):
    """Exit code and heavy modules imported so far after each command line, all in one process."""
    given = [sys.executable, "-c", CODE % (HEAVY,), json.dumps(lines)]
    variables = {"PYTHONPATH": PYTHONPATH, "PATH": "/usr/bin:/bin", "VOCBENCH_CACHE": str(folder / "cache")}
    done = subprocess.run(given, capture_output=True, text=True, check=False, env=variables, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def leaves(command, path=()):
    """The names of every command, groups and what is in them included."""
    yield path
    for name in getattr(command, "list_commands", lambda context: [])(None):
        yield from leaves(command.get_command(None, name), (*path, name))


def test_every_help_imports_nothing_heavy(tmp_path):
    lines = [[*path, "--help"] for path in leaves(cli)]
    assert len(lines) > len(COMMANDS) + 5
    assert started(lines, tmp_path) == [[line, 0, []] for line in lines]


def test_help_has_every_option_once_under_a_heading():
    import click
    from click.testing import CliRunner

    for name in ("run", "video", "train", "report"):
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        told = CliRunner().invoke(cli, [name, "--help"]).output
        flags = [option.opts[0] for option in command.params if isinstance(option, click.Option)]
        assert all(len(re.findall(rf"^  {flag}\b", told, re.M)) == 1 for flag in flags), name
        assert ("\nHow it is computed:\n" in told) == (name in ("run", "video")) or name == "train"
    assert "Other options:\n  -h, --help" in CliRunner().invoke(cli, ["run", "--help"]).output


def test_listings_import_nothing_heavy(tmp_path):
    (tmp_path / "runs").mkdir()
    lines = [["weights", "list"], ["weights", "verify"], ["doctor"], ["doctor", "--json"], ["runs", "--root", str(tmp_path)]]
    assert started(lines, tmp_path) == [[line, 0, []] for line in lines]


def test_runs_that_are_there_are_listed_without_torch(tmp_path):
    from dataclasses import asdict

    from vocbench.benchmarks.settings import RunSettings

    settings = asdict(RunSettings("sample", "all", "voc", ("owan",), ("mobilenet-ssd",)))
    record = {"settings": settings, "dataset": {"name": "s", "images": 8, "sha256": "0"}, "weights_sha256": {}, "execution": {},
              "started": "2026-01-01T00:00:00+0000"}  # fmt: skip
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "run.json").write_text(json.dumps(record))
    line = ["runs", "--root", str(tmp_path)]
    assert started([line], tmp_path) == [[line, 0, []]]


def test_typing_errors_import_nothing_heavy(tmp_path):
    lines = [
        ["rum"], ["weights", "lst"], ["data", "chek"], ["run", "--recipee", "voc"], ["run", "--recipe", "vox"],
        ["run", "--restorer", "owam"], ["run", "--detector", "mobilnet"], ["run", "--protocol", "voc08"],
        ["run", "--limit", "0"],
        ["run", "--draws", "none"], ["run", "--engine", "warp"], ["run", "--tile", "abc"], ["run", "--device", "gpu"],
        ["run", "--resume"], ["run", "--data", "none"], ["run", "--restorer", "owan:none.safetensors"],
        ["run", "--track", "mlfow"],
        ["run", "--config", "none.yaml"], ["run", "--gpus-per-worker", "1"], ["run", "--unit", "0"],
        ["sweep"], ["sweep", "--degradation", "nois=3"], ["sweep", "--degradation", "noise=a"],
        ["restore"], ["restore", "a.png"], ["restore", "none.png", "--out", "x"], ["restore", "none.png", "--restorer", "owam"],
        ["detect", "none.png"], ["detect", "a.png", "--score", "high"],
        ["video"], ["video", "none.mp4"], ["video", "none.mp4", "--restorer", "owam"],
        ["evaluate"], ["report"], ["compare", "a"],
        ["export", "owan", "--format", "onx", "--out", "a"], ["export", "dncnn", "--format", "onnx", "--out", "a"],
        ["speed", "--size", "big"], ["speed", "--tile", "wide"], ["quality"], ["quality", "--clean", "a", "--recipe", "vox"],
        ["attention"], ["train"], ["train", "owam", "--clean", "a", "--out", "b"], ["weights", "fetch", "owam"],
        ["weights", "average", "a", "b", "--share", "2", "--out", "c"],
        ["export-predictions", "a", "--format", "x", "--out", "b"],
    ]  # fmt: skip
    assert started(lines, tmp_path) == [[line, 2, []] for line in lines]


def test_names_are_those_of_the_tables():
    from vocbench.detection.average_precision import PROTOCOLS
    from vocbench.pipeline.models import DETECTORS, RESTORERS
    from vocbench.pipeline.scale import Scale
    from vocbench.restorer.degradations.recipes import DEGRADATIONS, RECIPES
    from vocbench.restorer.engines.export import FORMATS
    from vocbench.restorer.engines.select import ENGINES
    from vocbench.restorer.networks.owan_files import NETWORKS
    from vocbench.restorer.training.trainable import TRAINABLE

    tables: dict[str, Iterable[str]] = {
        "RESTORERS": RESTORERS, "DETECTORS": DETECTORS, "ENGINES": ENGINES, "EXPORTS": FORMATS, "NETWORKS": NETWORKS,
        "TRAINABLE": TRAINABLE, "RECIPES": RECIPES, "DEGRADATIONS": DEGRADATIONS, "PROTOCOLS": PROTOCOLS,
        "SCALES": get_args(Scale),
    }  # fmt: skip
    there = {name: value for name, value in vars(names).items() if name.isupper()}
    assert there.pop("DEFAULT_RESTORER") in RESTORERS
    assert there == {name: tuple(table) for name, table in tables.items()}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["rum"], "unknown command 'rum'; did you mean 'run'?"),
        (["weights", "lst"], "unknown command 'lst'; did you mean 'list'?"),
        (["run", "--recipe", "sever"], "unknown recipe 'sever'; did you mean 'severe'? Choose one of voc, voc-blur,"),
        (["run", "--restorer", "x=owam"], "unknown restorer 'owam'; did you mean 'owan'?"),
        (["run", "--detector", "mobilenet_ssd"], "unknown detector 'mobilenet_ssd'; did you mean 'mobilenet-ssd'?"),
        (["run", "--engine", "warp"], "unknown engine 'warp'; choose one of auto, native"),
        (["run", "--device", "gpu"], "gpu: expected auto, cpu, cuda or cuda:N"),
        (
            ["run", "--restorer", "owan:none.pth"],
            "none.pth: no such weights file; `vocbench weights list` names the known ones",
        ),
        (["sweep", "--degradation", "nois=3"], "unknown degradation 'nois'; did you mean 'noise'?"),
        (["sweep", "--degradation", "noise=a"], "'noise=a': expected NAME=LEVEL,… such as noise=10,20,30"),
        (["train", "owen", "--clean", "a", "--out", "b"], "unknown network 'owen'; did you mean 'owan'?"),
        (["help"], "COMMAND --help` for one command"),
        (["run", "--config", "none.yaml"], "none.yaml: no such file"),
        (["restore", "a.png"], "Missing option '--out'. Folder of the restored photos. An example: vocbench restore photo.jpg"),
        (["detect"], "An example: vocbench detect street.jpg --compare"),
        (["restore", "a.png", "--out", "b", "--format", "jpg"], "unknown format 'jpg'; did you mean 'jpeg'?"),
        (["detect", "a.png", "--restore-at", "detektor"], "unknown size 'detektor'; did you mean 'detector'?"),
        (["data", "fetch", "voc2008", "--root", "a"], "unknown data set 'voc2008'; did you mean 'voc200"),
        (["run", "--runner", "rai"], "unknown runner 'rai'; did you mean 'ray'?"),
        (["run", "--restorer", "mine.py"], "mine.py: add the function that returns the restorer: mine.py:FUNCTION"),
        (
            ["run", "--restorer", "m.safetensors"],
            "is a weights file; write the name of the restorer before it, such as owan:m.safetensors",
        ),
        (["run", "--detector", "yolo11n"], "an ultralytics model is named by its file, such as yolo11n.pt"),
        (["run", "--detector", "mask"], "ssd300-voc, FILE.pt or FILE.onnx of ultralytics, or FILE.py:factory for your own"),
        (["detect", "a.png", "--score", "30"], "30.0 is not in the range 0<=x<=1"),
        (["weights", "fetch", "owan-2018"], "unknown weights 'owan-2018'; did you mean 'owan-2019'?"),
    ],
)
def test_a_mistyped_name_is_told_with_the_closest(line, message):
    from click.testing import CliRunner

    done = CliRunner().invoke(cli, line)
    assert done.exit_code == 2
    assert message in done.output
    assert done.stdout == ""
