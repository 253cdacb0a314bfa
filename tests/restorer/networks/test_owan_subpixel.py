"""The network at a fraction of the resolution: see also `test_owan_beginnings`."""

import pytest
import torch
from vocbench.restorer.networks.owan_files import load_owan
from vocbench.restorer.networks.owan_subpixel import SubpixelOwan, measure_ceilings
from vocbench.restorer.weight_files import save_weights


def test_a_block_mean_that_has_left_the_range_learns_its_way_back():
    """A clamp without gradients would keep a wrongly painted colour for ever."""
    network = SubpixelOwan(2)
    with torch.no_grad():
        network.tail.weight.mul_(1e3)  # block means far beyond black and white
    restored = network(torch.full((1, 3, 16, 16), 0.8))
    assert restored.abs().max() < 2  # what comes out is held all the same
    (restored - 0.8).abs().mean().backward()
    gradient = network.tail.weight.grad
    assert gradient is not None
    assert gradient[:3].abs().sum((1, 2, 3)).min() > 0  # for each colour


def test_a_groups_features_are_kept_at_its_ceiling():
    network = SubpixelOwan(2)
    network.ceilings.copy_(torch.arange(1, 11))
    features = torch.tensor([0.5, 3.0, 1e6, float("nan")])
    assert network.hold(2, features)[:3].tolist() == [0.5, 3.0, 3.0]
    assert network.hold(2, features)[3].isnan()  # a broken input stays visible


@pytest.mark.parametrize("group", range(10))
def test_every_groups_ceiling_is_part_of_the_function(group):
    network, image = SubpixelOwan(2), torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        free = network(image)
        network.ceilings[group] = 0
        assert not torch.equal(network(image), free)


def test_ceilings_are_measured_on_features_that_none_holds():
    network = SubpixelOwan(2)
    with torch.no_grad():
        network.ceilings.zero_()  # of an earlier measuring
        images = list(torch.rand(3, 1, 3, 8, 8))
        most = max(network.groups[0](network.head(network.enter(image)))[0].max() for image in images)
        found = measure_ceilings(network, images, margin=2.0)
    assert found[0] == 2 * most
    assert (found > 0).all()
    assert torch.equal(found, network.ceilings)


def test_ceilings_are_kept_with_the_weights_and_weights_without_them_load(tmp_path):
    network = SubpixelOwan(2)
    network.ceilings[3] = 7
    save_weights(tmp_path / "new.safetensors", network.state_dict(), "owan-half", "whole")
    assert load_owan(tmp_path / "new.safetensors", "owan-half").get_buffer("ceilings")[3] == 7
    state = {name: tensor for name, tensor in network.state_dict().items() if name != "ceilings"}
    save_weights(tmp_path / "old.safetensors", state, "owan-half", "whole")
    assert torch.equal(load_owan(tmp_path / "old.safetensors", "owan-half").get_buffer("ceilings"), SubpixelOwan(2).ceilings)
