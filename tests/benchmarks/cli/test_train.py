"""`vocbench train`, on tiny patches; and once as people use it."""

import csv
import os
import re
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner
from vocbench.benchmarks.cli.main import cli
from vocbench.restorer.networks.owan_files import build, load_owan
from vocbench.restorer.weight_files import save_weights

from tests.support.photos import write_photos


@pytest.fixture
def folder(tmp_path):
    return write_photos(tmp_path / "photos")


def command(*arguments):
    """`vocbench train` in this process, on tiny patches and L1 alone."""
    given = ["train", *map(str, arguments), "--recipe", "moderate", "--patch", "16", "--task-weight", "0", "--device", "cpu"]
    return CliRunner().invoke(cli, given, catch_exceptions=False)


def test_the_command_trains_owan_from_given_weights(folder, tmp_path):
    """A learning rate of nothing leaves the weights as they were given."""
    given = build("owan")
    save_weights(tmp_path / "given.safetensors", given.state_dict(), "owan", "whole")
    arguments = [
        "--steps",
        2,
        "--batch",
        1,
        "--validate",
        2,
        "--learning-rate",
        1e-12,
        "--init",
        tmp_path / "given.safetensors",
    ]
    done = command("owan", "--clean", folder, "--out", tmp_path / "out", *arguments)
    assert done.exit_code == 0
    assert "patches a second: data" in done.output
    state = load_owan(tmp_path / "out" / "owan-last.safetensors").state_dict()
    for name, value in given.state_dict().items():
        torch.testing.assert_close(state[name], value, atol=1e-9, rtol=1e-6)


def test_the_command_begins_half_the_resolution_from_the_full_one(folder, tmp_path):
    given = build("owan")
    save_weights(tmp_path / "given.safetensors", given.state_dict(), "owan", "whole")
    arguments = ["--steps", 1, "--batch", 1, "--learning-rate", 1e-12, "--init", tmp_path / "given.safetensors"]
    more = ["--drawn", 0.5, "--scales", 1.0, "--held", 3]
    done = command("owan-half", "--clean", folder, "--out", tmp_path / "out", *arguments, *more)
    assert done.exit_code == 0
    head = load_owan(tmp_path / "out" / "owan-half-last.safetensors").state_dict()["head.0.weight"]  # (16, 12, 3, 3)
    torch.testing.assert_close(head.unflatten(1, (3, 4)).sum(2), given.state_dict()["head.0.weight"], atol=1e-7, rtol=1e-5)
    kept = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)["settings"]
    assert (kept["drawn"], kept["scales"], kept["held"]) == (0.5, [1.0], 3)


def test_bad_options_are_told(folder, tmp_path):
    given = ["dncnn", "--clean", folder, "--out", tmp_path / "out", "--steps", "1"]
    for options, told in (
        (["--scales", "half"], "--scales 'half': expected parts of the photos' sides"),
        (["--scales", "2"], "scales of photos must be above 0 and at most 1"),
        (["--drawn", "1.5"], "the share of drawn pictures must be in 0 to 1, got 1.5"),
        (["--task-detector", "a.pt"], "--task-detector a.pt: may run code when it is loaded; add --trust-weights"),
        (["--validate", "0"], "expected at least 1 step between validations, got 0"),
    ):
        with pytest.raises(ValueError, match=re.escape(told)):
            command(*given, *options)
    assert not (tmp_path / "out").exists()


def test_what_holds_no_checkpoint_is_not_gone_on_with(folder, tmp_path):
    """A misspelt folder would begin a training anew, and say so by nothing but a loss."""
    given = ["dncnn", "--clean", folder, "--steps", "1", "--resume", "--out"]
    (tmp_path / "first").mkdir()
    with pytest.raises(FileNotFoundError, match=r"frist: holds no checkpoint to resume from; did you mean '.*first'"):
        command(*given, tmp_path / "frist")
    with pytest.raises(FileNotFoundError, match="first: holds no checkpoint to resume from; correct `out`, or start without"):
        command(*given, tmp_path / "first")
    assert [path.name for path in tmp_path.iterdir() if path != folder] == ["first"]


def torchrun(*arguments):
    """What the command line prints in two processes, which must end well."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", "-m", "vocbench.benchmarks"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_trains_and_goes_on_in_two_processes_under_torchrun(folder, tmp_path):
    given = ["train", "dncnn", "--clean", folder, "--validate", 2, "--held", 3, "--batch", 1, "--out", tmp_path / "two"]
    given += ["--recipe", "moderate", "--patch", "16", "--task-weight", 0, "--device", "cpu"]
    assert torchrun(*given, "--steps", 3).count("patches a second") == 1
    assert torchrun(*given, "--steps", 4, "--resume").count("resumed at step 3") == 1
    rows = torch.load(tmp_path / "two" / "checkpoint.pt", weights_only=True)["rows"]
    assert [row["step"] for row in rows] == [0, 2, 3, 4]
    assert (tmp_path / "two" / "dncnn-last.safetensors").is_file()


def test_training_from_the_released_weights_improves_validation(shared, tmp_path):
    """The command's whole path on real photos."""
    arguments = ["train", "owan", "--clean", str(shared / "data/clean/train"), "--recipe", "voc=0.5,clean=0.5"]
    arguments += ["--init", str(shared / "weights/owan/model_best.pth"), "--batch", "4", "--steps", "24"]
    arguments += ["--learning-rate", "3e-4", "--ema", "0.9", "--out", str(tmp_path), "--validate", "1000"]
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    with open(tmp_path / "curve.csv") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["score"]) > float(rows[0]["score"]) + 0.3
