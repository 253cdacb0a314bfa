"""Weights in the forms in which training programs save them."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from vocbench.restorer.weight_files import WeightsFacts, open_weights, read_facts

PLAIN = {"head.weight": torch.arange(6.0).reshape(2, 3), "tail.bias": torch.ones(4)}
OTHER = {name: tensor + 1 for name, tensor in PLAIN.items()}
CHECKPOINTS = {
    "as it is": PLAIN,
    "DataParallel": {f"module.{name}": tensor for name, tensor in PLAIN.items()},
    "torch.compile": {f"_orig_mod.{name}": tensor for name, tensor in PLAIN.items()},
    "compiled in DistributedDataParallel": {f"module._orig_mod.{name}": tensor for name, tensor in PLAIN.items()},
    "BasicSR": {"params": PLAIN},
    "BasicSR with an average": {"params": OTHER, "params_ema": PLAIN},
    "with an optimizer": {"epoch": 3, "state_dict": PLAIN, "optimizer": {"lr": 1e-4, "betas": [0.9, 0.99]}},
    "PyTorch's tutorial": {"epoch": 3, "model_state_dict": PLAIN, "loss": 0.1},
    "model": {"model": PLAIN, "step": 9},
    "net": {"net": PLAIN},
    "wrapped twice": {"state_dict": {"model": {f"module.{name}": tensor for name, tensor in PLAIN.items()}}},
}


@pytest.mark.parametrize("form", CHECKPOINTS)
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt"])
def test_a_checkpoint_gives_its_network(tmp_path, form, suffix):
    torch.save(CHECKPOINTS[form], tmp_path / f"w{suffix}")
    state = open_weights(tmp_path / f"w{suffix}").state
    assert list(state) == list(PLAIN)
    assert all(torch.equal(state[name], tensor) for name, tensor in PLAIN.items())


@pytest.mark.parametrize("facts", ['["owan"]', '{"network": 3}', '{"tiling": null}', '"owan"'])
def test_a_file_whose_facts_are_no_facts_is_named(tmp_path, facts):
    save_file({"weight": torch.ones(2)}, tmp_path / "w.safetensors", {"vocbench": facts})
    for read in (read_facts, open_weights):
        with pytest.raises(ValueError, match=r"w\.safetensors: not a readable safetensors file .*'vocbench' should"):
            read(tmp_path / "w.safetensors")


def test_files_of_other_programs_say_what_they_say(tmp_path):
    save_file({"weight": torch.ones(2)}, tmp_path / "w.safetensors", {"format": "pt"})
    assert read_facts(tmp_path / "w.safetensors") == WeightsFacts(more={"format": "pt"})
    torch.save(PLAIN, tmp_path / "w.pth")
    assert read_facts(tmp_path / "w.pth") == open_weights(tmp_path / "w.pth").facts == WeightsFacts()


def test_a_network_whose_own_names_begin_with_model_keeps_them(tmp_path):
    """As KAIR's DnCNN: `model` there is a part of the name, not a wrapper."""
    torch.save({"model.0.weight": torch.ones(2)}, tmp_path / "w.pth")
    assert list(open_weights(tmp_path / "w.pth").state) == ["model.0.weight"]


@pytest.mark.parametrize("state", [{"state_dict": {"weight": [1.0]}}, {"params": {"weight": {"a": torch.ones(1)}}}])
def test_a_wrapper_around_something_else_is_refused_by_the_name_of_what_is_no_tensor(tmp_path, state):
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth: expected a state dict of tensors, but 'weight' is none"):
        open_weights(tmp_path / "w.pth")


def test_names_that_are_no_text_are_refused(tmp_path):
    torch.save({0: torch.ones(1)}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth: expected a state dict of tensors, but 0 is none"):
        open_weights(tmp_path / "w.pth")


def test_a_checkpoint_that_holds_itself_is_refused(tmp_path):
    knot: dict = {}
    knot["model"] = knot
    torch.save(knot, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth: expected a state dict of tensors, but 'model' is none"):
        open_weights(tmp_path / "w.pth")


def test_a_whole_module_under_a_wrapper_is_refused_unopened(tmp_path):
    torch.save({"model": nn.Linear(2, 2)}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="it holds objects that could run code"):
        open_weights(tmp_path / "w.pth")
