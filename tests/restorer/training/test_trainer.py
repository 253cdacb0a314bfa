import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn
from vocbench.restorer.networks.owan_files import build
from vocbench.restorer.training.process import Process
from vocbench.restorer.training.settings import Training, schedule
from vocbench.restorer.training.trainer import Trainer
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
    defaults: dict[str, Any] = {
        "network": "tiny", "clean": (str(photos),), "mixture": (("moderate", 1.0),), "patch": (32,), "batch": 4,
        "validate": 4, "held": 3, "steps": 8,
    }  # fmt: skip
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
    second.resume()
    list(second.run())
    timeless = [{k: v for k, v in row.items() if k != "minutes" and v == v} for row in (*whole, *second.rows)]
    assert timeless[: len(whole)] == timeless[len(whole) :]


def test_a_checkpoint_from_before_a_buffer_is_resumed(folder, tmp_path):
    """As OWAN's ceilings, which version 0.1 did not have."""

    class Held(Tiny):
        def __init__(self):
            super().__init__()
            self.register_buffer("ceilings", torch.full((3,), 7.0))

    trained(folder, tmp_path / "out")
    trainer = Trainer(Held(), settings(folder, steps=12), tmp_path / "out", save)
    trainer.resume()
    assert [row["step"] for row in trainer.run()] == [12]
    for state in (trainer.network.state_dict(), trainer.average.state):
        assert state["ceilings"].tolist() == [7, 7, 7]


def test_a_checkpoint_of_another_network_is_refused(folder, tmp_path):
    class Wide(Tiny):
        def __init__(self):
            super().__init__()
            self.more = nn.Conv2d(3, 3, 3)

    trained(folder, tmp_path / "out")
    with pytest.raises(ValueError, match=r"checkpoint\.pt: damaged, or of another version"):
        Trainer(Wide(), settings(folder), tmp_path / "out", save).resume()


def test_a_resume_with_settings_that_change_what_was_learnt_is_refused(folder, tmp_path):
    trained(folder, tmp_path / "out")
    for given in ({"ema": 0.5}, {"batch": 2}, {"drawn": 0.1}, {"scales": (1.0,)}):
        with pytest.raises(
            ValueError, match=f"made with other settings \\({next(iter(given))}\\); give the same ones or another"
        ):
            Trainer(Tiny(), settings(folder, **given), tmp_path / "out", save).resume()


def test_a_resumed_run_may_have_another_budget_rate_clipping_and_path(folder, tmp_path):
    trained(folder, tmp_path / "out")
    moved = folder.rename(folder.with_name(folder.name + "-moved"))
    given = settings(moved, steps=12, learning_rate=1e-4, clip=0.5, validate=6)
    trainer = Trainer(Tiny(), given, tmp_path / "out", save)
    trainer.resume()
    rows = list(trainer.run())
    assert [row["step"] for row in rows] == [12]
    assert [row["step"] for row in trainer.rows] == [0, 4, 8, 12]
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(schedule(given, 11, 0))


def test_a_resumed_run_holds_out_the_photos_that_it_did(folder, tmp_path):
    first, _ = trained(folder, tmp_path / "out")
    names = first.patches.photos.names
    (folder / "another.png").write_bytes((folder / "0.png").read_bytes())
    again = Trainer(Tiny(), settings(folder), tmp_path / "out", save)
    again.resume()
    assert again.patches.photos.names == names
    assert not set(again.patches.held) & set(again.patches.photos.train)


def test_a_checkpoint_of_version_0_1_goes_on_with_the_photos_that_it_held_out(folder, tmp_path):
    """Every third photo from the first, by place; it knew neither drawn pictures nor the memory's bound."""
    trained(folder, tmp_path / "out")
    path = tmp_path / "out" / "checkpoint.pt"
    kept = torch.load(path, weights_only=True)
    del kept["held_names"], kept["settings"]["memory"], kept["settings"]["drawn"], kept["settings"]["scales"]
    torch.save(kept, path)
    again = Trainer(Tiny(), settings(folder), tmp_path / "out", save)
    again.resume()
    assert [photo.name for photo in again.patches.held] == ["0.png"]


def test_a_broken_photo_is_named_before_the_first_step(folder, tmp_path):
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:500])
    with pytest.raises(ValueError, match=r"1 of 3 clean photos cannot be used; replace or remove them: .*1\.png: damaged"):
        Trainer(Tiny(), settings(folder), tmp_path / "out", save)


def test_a_training_does_not_write_among_the_photos(folder):
    """Its own curve would be the next photo."""
    with pytest.raises(ValueError, match=r"out: lies inside the clean photos' folder .*photos; choose another `out`"):
        Trainer(Tiny(), settings(folder), folder / "out", save)


def test_a_score_chooses_the_best_weights_in_place_of_psnr(folder, tmp_path):
    given = iter([0.2, 0.9, 0.5])
    asked = []

    def score(network, photos):
        asked.append([photo.name for photo in photos])
        return next(given)

    trainer = Trainer(Tiny(), settings(folder), tmp_path / "out", save, score=score)
    bests = []
    for row in trainer.run():
        assert row["score"] == row["task_score"]
        bests.append((tmp_path / "out" / "tiny.safetensors").read_bytes())
    assert trainer.best == 0.9
    assert bests[0] != bests[1] == bests[2]
    assert asked == [trainer.patches.photos.names] * 3


def test_a_best_by_psnr_does_not_stand_against_a_score(folder, tmp_path):
    trained(folder, tmp_path / "out")
    again = Trainer(Tiny(), settings(folder, steps=9), tmp_path / "out", save, score=lambda network, photos: 0.3)
    again.resume()
    list(again.run())
    assert again.best == 0.3
    assert "task_score" in (tmp_path / "out" / "curve.csv").read_text().splitlines()[0]


def test_a_loss_that_is_not_a_number_stops_with_the_step_named_and_nothing_is_kept_of_it(folder, tmp_path):
    network = Tiny()
    trainer = Trainer(network, settings(folder, learning_rate=1e30, clip=0.0, steps=40, validate=20), tmp_path, save)
    rows = iter(trainer.run())
    next(rows)
    with torch.no_grad():
        network.conv.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="the loss was not finite at step 0; lower `learning_rate` or `clip`"):
        next(rows)
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["network"]
    assert all(tensor.isfinite().all() for tensor in kept.values())


def test_weights_that_are_not_finite_are_never_kept(folder, tmp_path, monkeypatch):
    """The last step before a validation may break them, whose own loss was finite."""
    network = Tiny()
    trainer = Trainer(network, settings(folder, validate=1), tmp_path, save)
    step = trainer.optimizer.step

    def breaking(*given):
        step(*given)
        with torch.no_grad():
            network.conv.weight.fill_(float("inf"))

    monkeypatch.setattr(trainer.optimizer, "step", breaking)
    with pytest.raises(FloatingPointError, match="weights were not finite after step 1; lower `learning_rate`"):
        list(trainer.run())
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert kept["step"] == 0


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
from vocbench.restorer.training.process import Process
from vocbench.restorer.training.trainer import Trainer
process = Process.start("cpu")
torch.set_num_threads(1)
trainer = Trainer(Tiny(), settings(sys.argv[2], batch=2), Path(sys.argv[3]), save, process)
list(trainer.run())
process.finish()
"""


def test_two_processes_are_one_with_the_doubled_batch(folder, tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    arguments = [str(tmp_path / "worker.py"), str(ROOT), str(folder), str(tmp_path / "two")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    one, _ = trained(folder, tmp_path / "one", batch=4)
    two = torch.load(tmp_path / "two" / "checkpoint.pt", weights_only=True)["network"]
    for name, value in one.network.state_dict().items():
        torch.testing.assert_close(two[name], value, atol=1e-6, rtol=1e-4)


def test_a_budget_is_steps_or_minutes():
    either: list[dict[str, Any]] = [{}, {"steps": 1, "minutes": 1.0}]
    for given in either:
        with pytest.raises(ValueError, match="either as steps or as minutes"):
            Training(clean=("x",), **given)


def test_one_process_is_its_own_group():
    assert Process().shared(3.5) == 3.5


def test_only_the_named_part_of_a_network_is_trained(folder, tmp_path):
    network = build("owan-half")
    begun = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    list(Trainer(network, settings(folder, steps=2, validate=2, batch=1, only="gates."), tmp_path / "out", save).run())
    moved = {name.split(".")[0] for name, tensor in network.state_dict().items() if not torch.equal(tensor, begun[name])}
    assert moved == {"gates"}


def test_a_part_that_a_network_lacks_is_told_with_those_it_has(folder, tmp_path):
    with pytest.raises(ValueError, match="no parameter's name begins with 'gates'; they begin with conv"):
        Trainer(Tiny(), settings(folder, only="gates"), tmp_path / "out", save)


def test_a_gpu_for_several_processes_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(ValueError, match="give the device cuda without a number, got cuda:1"):
        Process.start("cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="more processes than GPUs: PyTorch sees 1 here"):
        Process.start("cuda")


def test_batches_are_made_on_the_gpu_of_their_own_process(monkeypatch, folder):
    """PyTorch's current GPU is per thread, and the batches are made in another one."""
    import threading

    from vocbench.restorer.training.batches import Patches

    told = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: told.append((device, threading.current_thread())))
    patches = Patches(settings(folder), Process(device=torch.device("cuda", 3)))
    patches._worker.submit(int).result()
    assert [device for device, _ in told] == [torch.device("cuda", 3)]
    assert told[0][1] is not threading.main_thread()


@pytest.mark.parametrize("network", ["owan-no-attention", "owan-fixed-attention"])
def test_the_ablations_train(folder, tmp_path, network):
    """Every tensor that learns has moved after two steps: attention and kernels take turns."""
    made = build(network)
    before = {name: tensor.clone() for name, tensor in made.named_parameters()}
    given = settings(folder, network=network, batch=1, patch=(32,), steps=2, validate=2)
    rows = list(Trainer(made, given, tmp_path, save).run())
    assert [row["step"] for row in rows] == [0, 2]
    moved = sum(not torch.equal(before[name], tensor) for name, tensor in made.named_parameters())
    assert moved > 0.9 * len(before)


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
