import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from vocbench.restorer.networks.owan_files import build, load_owan
from vocbench.restorer.training.trainer import Process, Trainer, Training, schedule
from vocbench.restorer.weight_files import save_weights

from tests.support.commands import ROOT


class Tiny(nn.Module):
    """Learns to undo a distortion a little, fast."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, image):
        return image + self.conv(image)


def settings(photos, **given):
    defaults = {"network": "tiny", "clean": (str(photos),), "mixture": (("moderate", 1.0),), "patch": (32,), "batch": 4,
                "validate": 4, "held": 3, "steps": 8}  # fmt: skip
    return Training(**(defaults | given))


def save(path, state, row):
    save_weights(path, state, "tiny", "whole")


def trained(photos, out, **given):
    trainer = Trainer(Tiny(), settings(photos, **given), out, save)
    return trainer, list(trainer.run())


def test_training_lowers_the_error_on_held_out_patches(folder, tmp_path):
    _, rows = trained(folder, tmp_path / "out", steps=60, validate=60, learning_rate=3e-3)
    assert rows[-1]["raw_psnr_moderate"] > rows[0]["raw_psnr_moderate"] + 0.3
    for name in (
        "tiny.safetensors",
        "tiny-raw.safetensors",
        "tiny-last.safetensors",
        "curve.csv",
        "curve.png",
        "checkpoint.pt",
    ):
        assert (tmp_path / "out" / name).is_file()


def test_a_network_that_changes_nothing_does_not_win_by_its_clean_patches(folder, tmp_path):
    class Identity(Tiny):
        def forward(self, image):
            return image + 0 * self.conv(image)

    mixture = (("moderate", 0.5), ("clean", 0.5))
    row = next(Trainer(Identity(), settings(folder, mixture=mixture), tmp_path, save).run())
    assert row["psnr_clean"] == 60
    assert row["score"] == pytest.approx(0.5 * row["psnr_moderate"] + 0.5 * 40)


def test_a_resumed_run_has_the_same_curve(folder, tmp_path):
    _, whole = trained(folder, tmp_path / "whole")
    first = Trainer(Tiny(), settings(folder), tmp_path / "parts", save)
    for row in first.run():
        if row["step"] == 4:
            break  # as if killed after the first checkpoint
    second = Trainer(Tiny(), settings(folder), tmp_path / "parts", save)
    assert second.resume()
    list(second.run())
    timeless = [{k: v for k, v in row.items() if k != "minutes" and v == v} for row in (*whole, *second.rows)]
    assert timeless[: len(whole)] == timeless[len(whole) :]


def test_a_resume_with_other_settings_is_refused(folder, tmp_path):
    trained(folder, tmp_path)
    with pytest.raises(ValueError, match="made with other settings \\(learning_rate\\)"):
        Trainer(Tiny(), settings(folder, learning_rate=1e-4), tmp_path, save).resume()


def test_a_loss_that_is_not_a_number_stops_with_the_step_named(folder, tmp_path):
    trainer = Trainer(Tiny(), settings(folder), tmp_path, save)
    with torch.no_grad():
        trainer.network.conv.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="at step 0"):
        list(trainer.run())


def test_the_learning_rate_falls_by_a_cosine_to_zero():
    given = Training(clean=("x",), steps=100, learning_rate=1.0, warmup=10)
    assert schedule(given, 0, 0) == pytest.approx(0.1)
    assert schedule(given, 50, 0) == pytest.approx(0.5)
    assert schedule(given, 100, 0) == pytest.approx(0.0)
    timed = Training(clean=("x",), minutes=10, learning_rate=1.0)
    assert schedule(timed, 5, 300) == pytest.approx(0.5)


def test_fixed_attention_and_kernels_learn_in_turns(folder, tmp_path):
    network = build("owan-fixed-attention")
    trainer = Trainer(network, settings(folder, batch=1, patch=(16,)), tmp_path, save)

    def changed():
        before = {name: value.clone() for name, value in network.state_dict().items()}
        trainer._train_step()
        return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}

    kernels, attention = changed(), changed()
    assert kernels and not any(name.endswith("attention.logits") for name in kernels)
    assert attention == {name for name in network.state_dict() if name.endswith("attention.logits")}


WORKER = """
import sys, torch
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.restorer.training.test_trainer import Tiny, save, settings
from vocbench.restorer.training.trainer import Process, Trainer
process = Process.start("cpu")
torch.set_num_threads(1)
trainer = Trainer(Tiny(), settings(sys.argv[2], batch=2), Path(sys.argv[3]), save, process)
list(trainer.run())
process.finish()
"""


def test_two_processes_are_one_with_the_doubled_batch(folder, tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29711"]
    arguments = [str(tmp_path / "worker.py"), str(ROOT), str(folder), str(tmp_path / "two")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    one, _ = trained(folder, tmp_path / "one", batch=4)
    two = torch.load(tmp_path / "two" / "checkpoint.pt", weights_only=True)["network"]
    for name, value in one.network.state_dict().items():
        torch.testing.assert_close(two[name], value, atol=1e-6, rtol=1e-4)


def test_a_budget_is_steps_or_minutes():
    for given in ({}, {"steps": 1, "minutes": 1.0}):
        with pytest.raises(ValueError, match="either as steps or as minutes"):
            Training(clean=("x",), **given)


def test_one_process_is_its_own_group():
    assert Process().shared(3.5) == 3.5


def test_the_command_trains_owan_from_given_weights(folder, tmp_path):
    from click.testing import CliRunner
    from vocbench.benchmarks.cli.main import cli

    arguments = [
        "train",
        "owan",
        "--clean",
        str(folder),
        "--recipe",
        "moderate",
        "--out",
        str(tmp_path / "out"),
        "--steps",
        "2",
    ]
    done = CliRunner().invoke(cli, [*arguments, "--batch", "1", "--patch", "16", "--validate", "2"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "patches a second: data" in done.output
    assert load_owan(tmp_path / "out" / "owan.safetensors")


@pytest.mark.parametrize("network", ["owan-no-attention", "owan-fixed-attention"])
def test_the_ablations_train(folder, tmp_path, network):
    trainer = Trainer(build(network), settings(folder, batch=1, patch=(16,), steps=2, validate=2), tmp_path, save)
    assert len(list(trainer.run())) == 2


def test_training_for_minutes_from_the_released_weights_improves_validation(shared, tmp_path):
    """The command's whole path on real photos: two minutes under CI, half a minute elsewhere, which shows the direction."""
    from click.testing import CliRunner
    from vocbench.benchmarks.cli.main import cli

    arguments = ["train", "owan", "--clean", str(shared / "data/clean/train"), "--recipe", "voc=0.5,clean=0.5"]
    arguments += ["--init", str(shared / "weights/owan/model_best.pth"), "--batch", "4"]
    arguments += ["--minutes", "2" if os.environ.get("CI") else "0.5"]
    arguments += ["--learning-rate", "3e-4", "--ema", "0.9", "--out", str(tmp_path), "--validate", "1000"]
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    import csv

    with open(tmp_path / "curve.csv") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["score"]) > float(rows[0]["score"]) + 0.3


def test_a_fresh_dncnn_changes_nothing_and_learns_to_denoise_at_once():
    from vocbench.restorer.training.trainable import TRAINABLE

    torch.manual_seed(0)
    network = TRAINABLE["dncnn"].build().train()
    optimizer, ratios = torch.optim.Adam(network.parameters(), 3e-4), []
    for _ in range(12):
        clean = torch.rand(4, 3, 1, 1).expand(-1, -1, 16, 16) * 0.6 + 0.2
        noise = 0.1 * torch.randn(4, 3, 16, 16)
        loss = (network(clean + noise) - clean).abs().mean()
        ratios.append(loss.item() / noise.abs().mean().item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert ratios[0] == pytest.approx(1)
    assert ratios[-1] < 0.9
